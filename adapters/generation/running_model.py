"""The models of a running batch: one that prompts join while it runs, and one whose batches follow each other."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ..running.onednn_products import OneDnnProducts, gains_by_onednn
from .joinable import HELD, why_rows_cannot_join
from .logits_buffer import HeadMemory
from .model_inputs import CACHE
from .packed_step import PackedPlan, added_mask
from .rotary_lengths import longest_in_company
from .row_hooks import sees_rows
from .running_cache import RunningCache
from .shelved_cache import ShelvedCache
from .step_model import AutoStepModel
from .verifying_model import RAGGED

__all__ = ["BatchAfterBatch", "RunningModel"]

# What the forward of a prompt may be told beside its tokens: all of it is made here.
_TOLD = ("attention_mask", "position_ids", "logits_to_keep", "cache_position", "use_cache", "return_dict")


class RunningModel:
    """A decoder-only model whose batch takes prompts in while it runs; see ``AdmittingStepModel``.

    pad_token_id: what fills prompts up on the left; any token, since it is masked out.
    packs: whether tokens of rows and prompts can go through one forward; so where every layer's attention is known to
    ask nothing of a token but its position and what it sees. It is tried with the first prompts: where a layer's
    attention is not torch's, they go through a forward of their own, and later ones too. Rows that are packed stand on
    the shelves of a ``ShelvedCache``, others in a ``RunningCache``.
    Raises ValueError for a model that ``why_rows_cannot_join``.
    """

    joins = True

    def __init__(self, model: Any, *, max_rows: int, pad_token_id: int = 0) -> None:
        reason = why_rows_cannot_join(model)
        if reason is not None:
            raise ValueError(f"model must be one whose rows can join; got {type(model).__name__}: {reason}")
        self.model, self.max_rows, self.pad_token_id = model, max_rows, pad_token_id
        self.device: torch.device = model.device
        self.longest = longest_in_company(model.config)
        self.names = frozenset(inspect.signature(model.forward).parameters)
        self.lengths: list[int] = []  # tokens of each row in the cache
        self._memory, self._by_onednn = HeadMemory.of(model), gains_by_onednn(model)
        self._adds_mask = _adds_mask(model)
        self._shelves = ShelvedCache() if self._adds_mask else None  # None: prompts have forwards of their own
        self._packed = False
        self._held = RunningCache(max_rows)
        self._mask: Tensor | None = None  # [N, columns], the first of them at column ``_mask_start``
        self._mask_start = 0
        self._positions = torch.empty(0, 1, dtype=torch.int64, device=self.device)

    @property
    def packs(self) -> bool:
        """Whether ``advance`` may be called."""
        return self._shelves is not None and self._packed

    @torch.no_grad()
    def admit(self, prompts: Sequence[Tensor]) -> Tensor:
        lengths = [prompt.shape[0] for prompt in prompts]
        logits = self._pack([[]] * len(self.lengths), prompts)
        if logits is not None:
            return logits
        ids, mask = _padded(prompts, self.pad_token_id, self.device)
        prefilled = DynamicCache()
        with self._products(len(prompts)):
            outputs = self._forward(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                cache_position=torch.arange(ids.shape[1], device=self.device),
                logits_to_keep=1,
                **{CACHE: prefilled},
            )
        # A cache that is written and not returned serves as well: an encoder's configuration under a language model.
        kept = prefilled if outputs.get(CACHE) is None and prefilled.get_seq_length() > 0 else outputs.get(CACHE)
        if kept is not prefilled or any(type(layer) not in HELD for layer in prefilled.layers):
            raise ValueError(f"{type(self.model).__name__} must keep keys and values in the cache it is given")
        self._held.join(prefilled.layers, lengths)
        self.lengths += lengths
        self._rows_changed()
        return self._logits(outputs)

    @torch.no_grad()
    def advance(self, token_ids: Sequence[Sequence[int]], prompts: Sequence[Tensor]) -> Tensor:
        logits = self._pack(token_ids, prompts)
        if logits is None:
            raise RuntimeError(f"{type(self.model).__name__} must attend by torch's attention, as it did before")
        return logits

    def _pack(self, token_ids: Sequence[Sequence[int]], prompts: Sequence[Tensor]) -> Tensor | None:
        """One forward for tokens of the rows (or none of any) and for prompts; the logits after each that is read.

        None where rows are not packed, or where a layer did not attend by the plan: they no longer are then. Nothing
        has changed in that case, nor where an error is raised.
        """
        cache = self._shelves
        if cache is None:
            return None
        counts, lengths = [len(tokens) for tokens in token_ids], [prompt.shape[0] for prompt in prompts]
        try:
            plan = cache.open(counts, lengths, self.model.dtype, self.device)
            logits = self._packed_forward(
                cache, plan, [*(torch.tensor(own, device="cpu") for own in token_ids), *prompts]
            )
        except BaseException:
            cache.drop()
            raise
        if not plan.lone and plan.calls != len(cache.layers):
            cache.drop()
            self._leave_shelves(cache)
            return None
        cache.close()
        self._packed = self._packed or not plan.lone
        self.lengths = [*map(sum, zip(self.lengths, counts, strict=True)), *lengths]
        return logits

    def _packed_forward(self, cache: ShelvedCache, plan: PackedPlan, own: Sequence[Tensor]) -> Tensor:
        """The logits after each row that is given tokens, ``own``; one token alone goes as ``generate`` gives it."""
        starts = [*self.lengths, *[0] * (len(own) - len(self.lengths))]
        positions = [starts[row] + place for row in plan.order for place in range(own[row].shape[0])]
        if plan.lone:
            mask = torch.ones((1, plan.seen + 1), dtype=torch.int64, device=self.device)
        else:
            mask = torch.zeros((1, 1, 1, 1), dtype=self.model.dtype, device=self.device)
        with self._products(len(own), memory=True):
            outputs = self._forward(
                input_ids=torch.cat([own[row].to(self.device) for row in plan.order])[None],
                attention_mask=mask,
                position_ids=torch.tensor([positions], device="cpu").to(self.device),
                cache_position=torch.arange(plan.seen, plan.seen + plan.size, device=self.device),
                logits_to_keep=torch.tensor(plan.last, device=self.device),
                **{CACHE: cache},
            )
        logits: Tensor = outputs.logits[0]
        return self._plain(logits if "logits_to_keep" in self.names else logits[plan.last])

    def _leave_shelves(self, cache: ShelvedCache) -> None:
        """Go on with forwards of the prompts' own, and the rows in one buffer."""
        self._shelves = None
        if cache.rows:
            self._held.join(cache.padded(), self.lengths)
        self._rows_changed()

    @torch.no_grad()
    def step(self, token_ids: Tensor) -> Tensor:
        logits = None if self._shelves is None else self._pack(token_ids[:, None].tolist(), [])
        if logits is not None:
            return logits
        cache = self._held
        cache.make_room()
        mask = self._next_mask()
        with self._products(len(self.lengths), memory=True):
            outputs = self._forward(
                input_ids=token_ids.to(self.device)[:, None],
                attention_mask=mask,
                position_ids=self._positions,
                cache_position=torch.arange(cache.width, cache.width + 1, device=self.device),
                **{CACHE: cache},
            )
        cache.advance()
        self.lengths = [length + 1 for length in self.lengths]
        self._positions = self._positions + 1
        return self._logits(outputs)

    @torch.no_grad()
    def select_rows(self, rows: Tensor) -> None:
        order = rows.tolist()
        self.lengths = [self.lengths[row] for row in order]
        if self._shelves is not None:
            self._shelves.keep(order)
            return
        self._held.keep(rows)
        self._rows_changed()

    @contextmanager
    def _products(self, rows: int, *, memory: bool = False) -> Iterator[None]:
        """What the forward of so many rows runs in: products by oneDNN where that is faster and a row has company (one
        alone is computed as ``generate`` does), and memory for the logits where that is worth it."""
        head = self._memory if memory and self._memory is not None and self._memory.serves(rows) else None
        with OneDnnProducts() if self._by_onednn and rows > 1 else nullcontext(), head or nullcontext():
            yield

    def _forward(self, **inputs: Any) -> Any:
        told = {name: value for name, value in inputs.items() if name in self.names or name not in _TOLD}
        optimized = getattr(self.model, "_optimize_model_for_decode", nullcontext)
        with optimized():
            return self.model(**told, use_cache=True, return_dict=True)

    def _logits(self, outputs: Any) -> Tensor:
        return self._plain(outputs.logits[:, -1])

    def _plain(self, logits: Tensor) -> Tensor:
        logits = logits.float() if logits.dtype != torch.float32 else logits
        return logits.contiguous().to(self.device)

    def _rows_changed(self) -> None:
        self._mask = None
        self._positions = torch.tensor(self.lengths, dtype=torch.int64, device=self.device)[:, None]

    def _next_mask(self) -> Tensor:
        """The mask [N, columns and the new one]; made again where rows or columns have moved. Where attention takes it
        so, what is added to its scores, [N, 1, 1, columns and the new one]: every layer then reads it as it is."""
        cache = self._held
        if self._mask is None or self._mask_start != cache.start or self._mask.shape[-1] <= cache.width:
            columns = torch.arange(cache.start, cache.start + cache.width + 64, device=self.device)
            seen = columns[None] >= torch.tensor(cache.first, device=self.device)[:, None]
            self._mask = added_mask(seen[:, None], self.model.dtype) if self._adds_mask else seen.long()
            self._mask_start = cache.start
        return self._mask[..., : cache.width + 1]


class BatchAfterBatch:
    """A model whose rows only leave: prompts are taken in where none runs, as one batch of ``generate``.

    open: an AutoStepModel for left-padded ids and their mask, as ``generate`` prepares it.
    reads_source: whether the prompts are an encoder's, which pads on the right. longest: see ``RunningBatch``.
    """

    joins = False

    def __init__(
        self,
        open_batch: Callable[[Tensor, Tensor], AutoStepModel],
        device: torch.device,
        pad: int,
        *,
        reads_source: bool = False,
        longest: int | None = None,
    ) -> None:
        self.longest = longest
        self.open, self.device, self.pad_token_id, self.reads_source = open_batch, device, pad, reads_source
        self.stepper: AutoStepModel | None = None
        self._alive: list[int] = []  # places in the stepper's batch
        self._count = 0

    @torch.no_grad()
    def admit(self, prompts: Sequence[Tensor]) -> Tensor:
        ids, mask = _padded(prompts, self.pad_token_id, self.device, left=not self.reads_source)
        self.stepper = self.open(ids, mask)
        logits = self.stepper.prefill()
        self._alive, self._count = list(range(len(prompts))), len(prompts)
        return logits

    @torch.no_grad()
    def step(self, token_ids: Tensor) -> Tensor:
        assert self.stepper is not None
        token_ids = token_ids.to(self.device)
        if len(self._alive) == self._count:
            return self.stepper.step(token_ids)
        alive = torch.tensor(self._alive, device=self.device)
        fed = torch.full((self._count,), self.pad_token_id, dtype=torch.int64, device=self.device)
        fed[alive] = token_ids
        return self.stepper.step(fed)[alive]

    @torch.no_grad()
    def select_rows(self, rows: Tensor) -> None:
        stepper = self.stepper
        if stepper is None or not rows.numel():
            self.stepper, self._alive, self._count = None, [], 0
        elif len(self._alive) == self._count and stepper.can_select_rows() and not sees_rows(stepper.model):
            stepper.select_rows(rows.to(self.device))
            self._alive, self._count = list(range(len(rows))), len(rows)
        else:
            self._alive = [self._alive[row] for row in rows.tolist()]


def _adds_mask(model: Any) -> bool:
    """Whether all layers add one mask to their scores and nothing else is read from it. On the CPU alone: elsewhere
    kernels ask for columns that are aligned."""
    config = model.config.get_text_config(decoder=True)
    cache = DynamicCache(config=config)
    return (
        model.device.type == "cpu"
        and model.config.model_type in RAGGED
        and model.config._attn_implementation == "sdpa"
        and all(type(layer) is DynamicLayer for layer in cache.layers)
    )


def _padded(prompts: Sequence[Tensor], pad: int, device: torch.device, *, left: bool = True) -> tuple[Tensor, Tensor]:
    """Ids and mask [M, P] of prompts [P_i] padded on the left, or on the right as encoders read them."""
    width = max(prompt.shape[0] for prompt in prompts)
    ids = torch.full((len(prompts), width), pad, dtype=torch.int64, device=device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        start = width - prompt.shape[0] if left else 0
        ids[row, start : start + prompt.shape[0]] = prompt
        mask[row, start : start + prompt.shape[0]] = 1
    return ids, mask
