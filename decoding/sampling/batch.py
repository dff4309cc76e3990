"""The rows of one draw on the CPU: what is given, what has been read of it, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..kernels.counter_noise import counter_keys, row_key
from ..kernels.decision import RowFilters
from ..kernels.large_logits import GroupMaxima
from ..kernels.torch_stream import row_exponentials, stream_is_known
from ..options.batch_options import CompiledParams
from ..options.numpy_or_torch import Array, as_tensor, on_host
from ..options.validation import Step, check_row_maxima, steps_of
from .draw_steps import DrawSteps

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["Batch", "keys_of"]

_SHORT = 4096  # below this many logits in a row its whole noise costs less than a list
_COUNT, _COUNT_FOR_MIN_P = 384, 48
_HALF, _SMALL = (torch.float16, torch.bfloat16), 2**16  # 16-bit batches of so many logits are widened at once
_FEW = 4  # up to so many counters are formed in Python


class Batch:
    """Logits [N, V], some or all rows of the batch that ``plan`` is for, and what is drawn of them, on the CPU.

    seeds: [B] int64; None draws from ``generator``, torch's global one if None. rows: [N] int64, which rows of the
    plan's batch these are; None means all. original: the same as numbers. steps: what learns from the draw. covered:
    whether the proofs of the fast ways hold for this type and this stream. left: places of the rows that have no token
    yet. states: of torch's stream where each row's noise begins, once it has moved on. again: gives the whole noise of
    a row that has been raced, [1, V]. fallbacks: how many rows no fast way could prove.
    """

    def __init__(
        self,
        plan: Plan,
        logits: Tensor,
        seeds: Tensor | None,
        generator: torch.Generator | None,
        step: Step,
        rows: Tensor | None = None,
        steps: DrawSteps | None = None,
    ):
        self.plan, self.seeds, self.generator, self.step = plan, seeds, generator, step
        self.rows, self.steps = rows, steps
        self.logits = logits.detach() if logits.requires_grad else logits
        if logits.dtype in _HALF and logits.numel() <= _SMALL:
            self.logits = self.logits.to(torch.float32)
        self.params: CompiledParams = plan.params if rows is None else plan.params.select_rows(rows)
        filters = plan.filters
        self.filters: RowFilters | None = filters if filters is None or rows is None else filters.rows(rows.numpy())
        self.count, self.vocab_size = logits.shape
        self.covered = self.logits.dtype != torch.float64 and (seeds is not None or stream_is_known())
        self.original: Sequence[int] = range(self.count) if rows is None else rows.tolist()
        self.left: Sequence[int] = range(self.count)
        self.tokens: Tensor | None = None
        self.states: Sequence[Tensor] = ()
        self.again: Callable[[int], Tensor] | None = None
        self.fallbacks = 0
        self._known: GroupMaxima | None = None
        self._top: Array | None = None
        self._keys: Tensor | None = None

    @property
    def keys(self) -> Tensor | None:
        """The rows' counters, [N, 1]; None without seeds."""
        if self._keys is None and self.seeds is not None:
            self._keys = keys_of(self.seeds, self.step, self.rows)
        return self._keys

    def known(self) -> GroupMaxima | None:
        """The rows read once, where a list of their largest logits may serve; bad rows raise."""
        filters = self.filters
        if self._known is not None or filters is None or not filters.listable:
            return self._known
        if not self.covered or self.vocab_size < _SHORT:
            return None
        count = _COUNT if filters.border is not None else _COUNT_FOR_MIN_P
        if filters.largest_top_k > 0 and not filters.joint:
            count = max(filters.largest_top_k, filters.keep) + 1
        self._known = GroupMaxima(self.logits, count)
        return self._known

    def top(self) -> Array:
        """The largest logit of each row, [N, 1] float32; bad rows raise."""
        if self._top is None:
            known = self.known()
            self._top = self._read_top() if known is None else known.top
        return self._top

    def _read_top(self) -> Array:
        """The rows' largest logits, [N, 1] float32, from a read of their own; on the CPU rows with NaN or infinities
        raise."""
        top = self.logits.amax(1, keepdim=True)
        if self.logits.dtype not in (torch.float32, torch.float64):
            top = top.to(torch.float32)
        found = top.numpy()
        if not (isfinite(found.item()) if self.count == 1 else np.isfinite(found).all()):
            check_row_maxima(top[:, 0])
        return found

    def put(self, tokens: Array, certain: Array | None = None, among: Sequence[int] | None = None) -> None:
        """Take the tokens that are certain (all if None); both are [N], or of the rows ``among`` [n]."""
        found: Tensor = tokens if isinstance(tokens, Tensor) else torch.from_numpy(tokens)
        whole = among is None and len(self.left) == self.count
        if whole and (certain is None or bool(certain.all())):
            self.tokens, self.left = found, ()
            return
        if self.tokens is None:
            self.tokens = torch.zeros(self.count, dtype=torch.int64, device="cpu")
        places = np.arange(self.count) if among is None else np.array(among)
        good = np.isin(places, self.left)
        if certain is not None:
            good &= np.array(certain.tolist())
        if good.any():
            self.tokens[torch.from_numpy(places[good])] = found[torch.from_numpy(good.nonzero()[0])]
            self.left = sorted(set(self.left).difference(places[good].tolist()))

    def rest(self) -> Batch:
        """The rows that are left, as a batch."""
        if len(self.left) == self.count:
            return self
        some = torch.tensor(self.left, dtype=torch.int64, device="cpu")
        rows = some if self.rows is None else self.rows[some]
        return Batch(self.plan, self.logits[some], self.seeds, self.generator, self.step, rows, self.steps)

    def one(self, place: int) -> tuple[Tensor, CompiledParams]:
        """One row [1, V] and its options."""
        return self.logits[place : place + 1], self.params.select_rows(torch.tensor([place], device="cpu"))

    def noise_of(self, place: int) -> Tensor:
        """The noise of one row in torch's stream, [1, V], which has moved on."""
        return self.again(place) if self.again is not None else row_exponentials(self.states[place], self.vocab_size)


def keys_of(seeds: Tensor, step: Step, rows: Tensor | None) -> Tensor:
    """The rows' counters at a step, [N, 1]: seeds [B], a step for all or one per row of the batch."""
    chosen = seeds if rows is None else seeds[rows]
    if not isinstance(step, int):
        steps = steps_of(step, rows).to(chosen.device, torch.int64)
        return as_tensor(counter_keys(on_host(chosen), on_host(steps.reshape(-1))))
    if chosen.device.type == "cpu" and 0 < chosen.shape[0] <= _FEW:
        few = np.array([row_key(seed, step) for seed in chosen.tolist()], dtype=np.uint64)
        return torch.from_numpy(few.view(np.int64)[:, None])
    return as_tensor(counter_keys(on_host(chosen), int(step)))
