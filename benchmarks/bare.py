"""The loops nobody can beat: forward calls with a cache, the smallest choice of a token, nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.inference_mode()
def greedy(model: Any, prompt_ids: Tensor, max_new_tokens: int) -> Tensor:
    """Prompt and ``max_new_tokens`` argmax tokens: [B, T + max_new_tokens]."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    written, token_ids = [prompt_ids], prompt_ids
    for _ in range(max_new_tokens):
        logits = model(token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        token_ids = logits[:, -1].argmax(-1, keepdim=True)
        written.append(token_ids)
    return torch.cat(written, dim=1)


@torch.inference_mode()
def greedy_alive(model: Any, prompt_ids: Tensor, lengths: list[int]) -> list[Tensor]:
    """The same where row i stops after ``lengths[i]`` tokens, longest row first: each step runs only the rows alive.

    Rows leave from the end, so that dropping them from the cache is a view and costs nothing.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    written: list[list[Tensor]] = [[] for _ in lengths]
    token_ids = prompt_ids
    for step in range(max(lengths)):
        alive = sum(length > step for length in lengths)
        if alive < token_ids.shape[0]:
            token_ids = token_ids[:alive]
            for layer in cache.layers:
                layer.keys, layer.values = layer.keys[:alive], layer.values[:alive]
        logits = model(token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        token_ids = logits[:, -1].argmax(-1, keepdim=True)
        for row in range(alive):
            written[row].append(token_ids[row])
    return [torch.cat(tokens) for tokens in written]


@torch.inference_mode()
def prefill(model: Any, prompt_ids: Tensor) -> Tensor:
    """One forward call over the prompt that fills a cache and gives the last logits."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    logits: Tensor = model(prompt_ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    return logits


@torch.inference_mode()
def tokenise_and_run(
    run: Any,
    tokenizer: Any,
    texts: list[str],
    pairs: list[str] | None = None,
    *,
    budget: int = 4096,
    device: torch.device | str | None = None,
    **options: Any,
) -> list[Any]:
    """The least a task over a file can cost: one tokenizer call, batches by length within a token budget, forwards.

    run: called with the inputs of each batch, on ``device`` (a model's own if None). Outputs are kept, nothing made of
    them.
    """
    encoded = tokenizer(texts, pairs, **options)
    ids = encoded["input_ids"]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True)
    outputs = []
    while order:
        count = max(1, budget // len(ids[order[0]]))
        rows, order = order[:count], order[count:]
        names = [name for name in tokenizer.model_input_names if name in encoded]
        batch = tokenizer.pad({name: [encoded[name][row] for row in rows] for name in names}, return_tensors="pt")
        outputs.append(run(**batch.to(device or getattr(run, "device", "cpu"))))
    return outputs
