"""An AutoStepModel that reads several tokens at once and takes some of them back, for every row its own number.

Where rows differ, the cache keeps what was taken back and the attention mask hides it; positions are counted per row.
That needs a model that is told its positions and a cache that drops nothing: see ``rows_may_differ``.
"""

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.generation import utils as library

from ...decoding.options.numpy_or_torch import sent
from .model_inputs import CACHE, rows_of
from .step_model import NOT_ROWS, AutoStepModel
from .turns import take_turn

__all__ = ["VerifyingAutoStepModel", "why_not_verifiable"]

# Architectures whose positions are arguments and whose attention asks nothing of a slot but its mask. Others may count
# slots (learned windows, ALiBi, relative biases), so that a hidden slot would shift what follows.
RAGGED = frozenset(
    [
        *("cohere", "gemma", "gpt2", "gpt_neox", "granite", "llama", "mistral", "mixtral", "olmo", "olmo2", "phi"),
        *("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "stablelm", "starcoder2"),
    ]
)


class VerifyingAutoStepModel(AutoStepModel):
    """See ``decoding.search.step_model.VerifyingStepModel``; ``max_length`` bounds the positions it asks the model for.

    Which slots of the cache each row sees is kept on the host, so that no device is asked.
    """

    def __init__(
        self, model: Any, input_ids: Tensor, model_kwargs: dict[str, Any], config: Any, *, max_length: int | None = None
    ):
        super().__init__(model, input_ids, model_kwargs, config)
        self.max_length = max_length
        self._mask_name = self._slots["mask"]
        mask = model_kwargs.get(self._mask_name)
        self._prompt_mask: Tensor | None = mask
        self._sees: NDArray[np.bool_] | None = None  # [N, T], of the slots since the prompt; None: every row sees all
        positions = model_kwargs.get(self._slots["position_ids"])
        self._takes_positions = positions is not None or "position_ids" in _parameters(model)
        if mask is None:
            self._next_position = torch.full_like(input_ids[:, 0], input_ids.shape[1])
        else:
            self._next_position = mask.long().sum(dim=1)
        if positions is not None and positions.ndim == 2:
            self._next_position = positions[:, -1] + 1
        cache = self.cache
        if hasattr(cache, "activate_past_recording"):
            cache.activate_past_recording()

    def rows_may_differ(self) -> bool:
        """Whether rows can keep different numbers of tokens."""
        layers = getattr(self.cache, "layers", None)
        return (
            self.model.config.model_type in RAGGED
            and not self.is_encoder_decoder
            and self._takes_positions
            and hasattr(library, "DynamicCache")
            and type(self.cache) is library.DynamicCache
            and all(type(layer).__name__ == "DynamicLayer" for layer in layers or ())
            and getattr(self.model.config.get_text_config(), "sliding_window", None) is None
            and self.model.config._attn_implementation in ("sdpa", "eager")
        )

    def step(self, token_ids: Tensor) -> Tensor:
        return self.verify(token_ids[:, None])[:, 0]

    def verify(self, token_ids: Tensor) -> Tensor:
        take_turn()
        token_ids = sent(token_ids, self.history.ids.device)
        count = token_ids.shape[1]
        start = self.history.length
        self.history.append(token_ids)
        if self._sees is not None:
            self._sees = np.concatenate((self._sees, np.ones(token_ids.shape, dtype=bool)), axis=1)
        kwargs = dict(self.model_kwargs)
        mask = self._slot_mask()
        if mask is not None:
            kwargs[self._mask_name] = mask
        elif self._mask_name in kwargs and not self.is_encoder_decoder:
            kwargs[self._mask_name] = None
        position_name = self._slots["position_ids"]
        if self._takes_positions and not self.is_encoder_decoder:
            positions = self._next_position[:, None] + torch.arange(count, device=token_ids.device)
            if self.max_length is not None:
                positions = positions.clamp(max=self.max_length - 1)
            kwargs[position_name] = positions
        else:
            kwargs.pop(position_name, None)
        inputs = self._inputs(kwargs, start, count)
        outputs = self.model(**inputs, return_dict=True)
        self._next_position = self._next_position + count
        logits: Tensor = outputs.logits[:, -count:]
        return logits.float().to(token_ids.device)

    def rewind(self, drop: Tensor) -> None:
        drops = drop.numpy()
        least, most = int(drops.min()), int(drops.max())
        if least or hasattr(self.cache, "activate_past_recording"):
            self.cache.crop(-least)
        self._forget(least)
        if most > least:
            self._hide(drops - least)
            self._next_position = self._next_position - sent(drop, self._next_position.device)
        elif least:
            self._next_position = self._next_position - least

    def select_rows(self, rows: Tensor) -> None:
        if self._sees is not None:
            self._sees = self._sees[rows.cpu().numpy()]
        rows = sent(rows, self._next_position.device)
        count = self.history.batch_size
        self.history.select_rows(rows)
        self._select_cache(rows, False)
        self.model_kwargs = {
            name: value if name in NOT_ROWS else rows_of(value, rows, count)
            for name, value in self.model_kwargs.items()
        }
        self._next_position = self._next_position[rows]
        self._prompt_mask = None if self._prompt_mask is None else self._prompt_mask[rows]

    def _slot_mask(self) -> Tensor | None:
        """Which slots each row sees, as the model is told: [N, W], or None where every row sees all."""
        prompt, sees = self._prompt_mask, self._sees
        if prompt is None and sees is None:
            return None
        rows, length = self.history.batch_size, self.history.length
        if prompt is None:
            prompt = torch.ones((rows, self.history.prompt_length), dtype=torch.long, device=self._next_position.device)
        if sees is None:
            return torch.cat((prompt, prompt.new_ones((rows, length - prompt.shape[1]))), dim=1)
        return torch.cat((prompt, sent(torch.from_numpy(sees), prompt.device).to(prompt.dtype)), dim=1)

    def _forget(self, count: int) -> None:
        """Give back the last ``count`` slots, whose place in the cache is free."""
        if not count:
            return
        self.history.crop(self.history.length - count)
        if self._sees is not None:
            self._sees = self._sees[:, : self._sees.shape[1] - count]

    def _hide(self, drop: NDArray[np.int64]) -> None:
        """Mask the last ``drop[i]`` slots that row i still sees; slots that no row sees any more are given back."""
        sees = self._sees
        if sees is None:
            sees = np.ones((len(drop), self.history.length - self.history.prompt_length), dtype=bool)
        from_right = sees[:, ::-1].cumsum(axis=1)[:, ::-1]
        self._sees = sees = sees & (from_right > drop[:, None])
        seen = np.nonzero(sees)[1]
        unseen = sees.shape[1] - (int(seen.max()) + 1 if len(seen) else 0)
        if unseen:
            self.cache.crop(-unseen)
            self._forget(unseen)

    def _inputs(self, kwargs: dict[str, Any], start: int, count: int) -> dict[str, Any]:
        """Inputs of ``count`` tokens from the place ``start`` on, prepared as transformers prepares them."""
        ids = self.history.ids.contiguous()
        if hasattr(self.model, "_prefill"):
            inputs: dict[str, Any] = self.model.prepare_inputs_for_generation(
                ids, next_sequence_length=count, is_first_iteration=False, **kwargs
            )
        else:
            kwargs["cache_position"] = torch.arange(start, start + count, device=ids.device)
            inputs = self.model.prepare_inputs_for_generation(ids, **kwargs)
        if "logits_to_keep" in inputs:
            inputs["logits_to_keep"] = count
        return inputs


def why_not_verifiable(model: Any, model_kwargs: dict[str, Any], input_ids: Tensor) -> str | None:
    """Why speculation cannot run on these inputs here, or None."""
    cache: Any = model_kwargs.get(CACHE)
    if type(cache) not in (library.DynamicCache, library.EncoderDecoderCache):
        return f"its cache is a {type(cache).__name__}"
    if cache.get_seq_length() > 0:
        return "its cache already holds tokens"
    if model_kwargs.get("inputs_embeds") is not None:
        return "its prompt is given as embeddings"
    if model_kwargs.get("token_type_ids") is not None:
        return "its inputs have token types"
    positions = model_kwargs.get("position_ids")
    if positions is not None and positions.ndim != 2:
        return "its positions have more than one dimension"
    known = {"attention_mask", "decoder_attention_mask", "position_ids", "encoder_outputs", CACHE,
             "cache_position", "decoder_position_ids"}  # fmt: skip
    other = [name for name, value in model_kwargs.items() if name not in known and isinstance(value, Tensor)]
    if other:
        return f"its inputs include {other[0]}"
    return None


def _parameters(model: Any) -> set[str]:
    return set(inspect.signature(model.forward).parameters)
