"""``generate`` on the device: every mode's tokens against ``model.generate``, and tokens a second of a small model."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from afterlogits.adapters import generate
from afterlogits.benchmarks import bare, workloads
from afterlogits.benchmarks.gpu.findings import Check

# what model.generate takes too, with the same torch seed
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "repetition penalty": {"repetition_penalty": 1.3},
    "no-repeat n-gram": {"no_repeat_ngram_size": 3},
    "sampling": {"do_sample": True, "top_k": 0},
    "sampling, top-k + top-p": {"do_sample": True, "top_k": 50, "top_p": 0.95, "temperature": 0.8},
    "sampling, min-p": {"do_sample": True, "top_k": 0, "min_p": 0.05},
    "sampling, typical-p": {"do_sample": True, "top_k": 0, "typical_p": 0.9},
    "beam 4": {"num_beams": 4},
    "beam 4, early": {"num_beams": 4, "early_stopping": True, "length_penalty": 0.6},
    "beam sampling": {"do_sample": True, "num_beams": 3, "top_k": 40},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    # transformers 4 asks prompt lookup for an end token.
    "prompt lookup, sampling": {"prompt_lookup_num_tokens": 3, "do_sample": True, "top_k": 30, "eos_token_id": 1},
    "three sequences": {"do_sample": True, "num_return_sequences": 3, "top_k": 20},
    "bad words": {"bad_words_ids": [[5], [6, 7]]},
    "sequence bias": {"sequence_bias": [[[9], 2.0], [[10, 11], -3.0]], "do_sample": True, "top_k": 30},
}


def modes_as_transformers(check: Check) -> None:
    """Each mode of a small Llama, its sequences equal to those of ``model.generate`` here with the same seed.

    A prompt that is read once for its beams goes through matrix products of other shapes, whose sums a device may order
    otherwise: that is shown, and no verdict hangs on it.
    """
    vocab_size = 503 if check.dry else 32_000
    model = workloads.tiny_llama(layers=2, hidden=64, vocab_size=vocab_size).to(check.device)
    prompt = workloads.prompts(1 if check.dry else 4, 12, vocab_size, device=check.device)
    new = 4 if check.dry else 32
    for name, options in MODES.items():
        rows = prompt[:1] if "lookup" in name else prompt
        common: dict[str, Any] = {
            "attention_mask": torch.ones_like(rows),
            "max_new_tokens": new,
            "pad_token_id": 0,
            **options,
        }
        try:
            theirs = partial(model.generate, rows, **common)
            same, found = _same(theirs, partial(generate, model, rows, **common, shared_prefill=False))
            if "num_beams" in options or "num_return_sequences" in options:
                once, unlike = _same(theirs, partial(generate, model, rows, **common))
                check.add(f"{name}, prompts read once", "equal" if once else unlike)
        except Exception as error:  # one mode that fails must not hide the others
            same, found = False, f"{type(error).__name__}: {error}"
        check.equal(name, same, found)


def _same(theirs: Callable[[], Tensor], ours: Callable[[], Tensor]) -> tuple[bool, str]:
    """Whether both give the same ids with the same seed, and how many of them are unlike."""
    answers = []
    for run in (theirs, ours):
        torch.manual_seed(11)
        answers.append(run())
    if answers[0].shape != answers[1].shape:
        return False, f"shapes {[list(answer.shape) for answer in answers]}"
    unlike = int((answers[0] != answers[1]).sum())
    return unlike == 0, f"{unlike} of {answers[0].numel()} ids unlike" if unlike else ""


def model_of_the_goal(check: Check) -> Any:
    """22 layers of 2,048 over 128,256 tokens in bfloat16, made on the device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    small = check.dry
    config = LlamaConfig(
        vocab_size=503 if small else 128_256,
        hidden_size=32 if small else 2048,
        intermediate_size=64 if small else 5632,
        num_hidden_layers=2 if small else 22,
        num_attention_heads=4 if small else 32,
        num_key_value_heads=2 if small else 4,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.device(check.device):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return model.to(torch.bfloat16).eval()


def tokens_per_second(check: Check) -> None:
    """Greedy, sampled, seeded and beam 4 against ``model.generate``; rows that leave; the loop beside the forward."""
    model = model_of_the_goal(check)
    new = 3 if check.dry else 96
    sample: dict[str, Any] = {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.95}
    for rows in (1, 2) if check.dry else (1, 8, 64):
        prompt = workloads.prompts(rows, 16, model.config.vocab_size, device=check.device)
        common: dict[str, Any] = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": new, "pad_token_id": 0}

        def rate(run: Callable[[], Any], count: int = rows * new) -> float:
            return count / _seconds(check, run)

        alone = rate(partial(bare.greedy, model, prompt, new))
        check.add(f"bare forward loop, B={rows}", f"{alone:.0f} tokens/s")
        sides: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
            ("greedy", {}, {}),
            ("sampling", sample, {}),
            ("seeds", sample, {"seeds": list(range(rows))}),
            ("beam 4", {"num_beams": 4}, {}),
        )
        for name, options, own in sides:
            theirs = rate(partial(model.generate, prompt, **common, **options))
            ours = rate(partial(generate, model, prompt, **common, **options, **own))
            found = f"{ours:.0f} tokens/s, {ours / theirs:.2f} x transformers"
            check.add(f"{name}, B={rows}", found, "1 x transformers", ours >= theirs)
            if name in ("greedy", "seeds"):
                cost = 100 * (alone / ours - 1)
                check.add(f"{name} beside the forward, B={rows}", f"{cost:.1f} % of a step", "3 %", cost <= 3)
    _leaving_rows(check, model, new)


def _leaving_rows(check: Check, model: Any, new: int) -> None:
    """64 rows of unlike lengths: those that have finished leave the batch here and stay there."""
    rows = 2 if check.dry else 64
    prompt = workloads.prompts(rows, 16, model.config.vocab_size, device=check.device)
    limits = [max(1, new * (i + 1) // rows) for i in range(rows)]
    common: dict[str, Any] = {"attention_mask": torch.ones_like(prompt), "pad_token_id": 0, "max_new_tokens": new}
    ours = _seconds(check, lambda: generate(model, prompt, **{**common, "max_new_tokens": limits}, compact=True))
    theirs = _seconds(check, lambda: model.generate(prompt, **common))
    rate, its = sum(limits) / ours, sum(limits) / theirs
    check.add(
        f"compact, B={rows}", f"{rate:.0f} tokens/s, {rate / its:.2f} x transformers", "1 x transformers", rate >= its
    )


def _seconds(check: Check, run: Callable[[], Any]) -> float:
    """The shorter of two runs after a first one; one run on the CPU."""
    if check.device.type == "cuda":
        run()
        torch.cuda.synchronize()
    times = []
    for _ in range(1 if check.dry else 2):
        start = time.perf_counter()
        run()
        if check.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
