"""The draw of a CUDA device with triton: the kernels of ``triton_kernels``, one read of the logits.

With seeds nothing is read on the host unless the caller asked for validation. In torch's stream one word is: where
rounding might have decided, the generator goes back and the rows are left to transformers' operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..options.validation import check_row_maxima
from ..triton_kernels.decide_and_draw import DOUBT
from ..triton_kernels.draw import Drawn, draw_rows, may_run
from ..triton_kernels.row_options import RowOptions
from ..triton_kernels.stream_noise import stream_is_known
from ..triton_kernels.stream_state import put_back, take_draw

if TYPE_CHECKING:
    from .batch import Batch
    from .plan import Plan

__all__ = ["DoubtCount", "by_kernels", "kernel_draw", "kernel_options"]

_HELD = 256  # draws whose flags are kept apart before they are added up


class DoubtCount:
    """How many rows the kernels have decided by plain comparison where rounding might have decided otherwise.

    The flags of draws are kept where they were made; nobody waits until somebody asks.
    """

    def __init__(self) -> None:
        self._flags: list[Tensor] = []
        self._total: Tensor | None = None

    def add(self, doubtful: Tensor) -> None:
        """Take the flags [N] int32 of a draw along."""
        self._flags.append(doubtful)
        if len(self._flags) == _HELD:
            self._fold()

    def read(self) -> int:
        """The count so far; waits for the device."""
        self._fold()
        return 0 if self._total is None else int(self._total)

    def _fold(self) -> None:
        if self._flags:
            doubtful = ((torch.cat(self._flags) & DOUBT) != 0).sum()
            self._total = doubtful if self._total is None else self._total + doubtful
            self._flags = []


def kernel_options(plan: Plan) -> RowOptions | None:
    """The options of a plan as the kernels take them; None where they do not draw it."""
    if plan.has_steps or plan.params.greedy is True or not may_run(plan.device):
        return None
    return RowOptions.of(plan.params, plan.batch_size, plan.vocab_size, plan.device)


def kernel_draw(
    plan: Plan,
    logits: Tensor,
    keys: Tensor | None,
    generator: torch.Generator | None,
    rows: Tensor | None,
    doubts: DoubtCount | None = None,
) -> Drawn | None:
    """Every row of ``logits`` [N, V], or None where the kernels do not take these logits or this stream.

    keys: [N, 1], the rows' counters; None draws from ``generator``. rows: [N], which of the plan's batch they are.
    doubts: takes the flags of seeded draws; in torch's stream a draw in doubt is left to transformers' operations.
    """
    options = plan.kernel_options
    if options is None:
        return None
    if rows is not None:
        options = options.select_rows(rows)
    if keys is not None:
        found = draw_rows(logits, options, keys=keys[:, 0])
        if found is not None and doubts is not None:
            doubts.add(found.flags)
        return found
    device = logits.device
    if device.type != "cuda" or not stream_is_known(device):
        return None
    stream = take_draw(generator, device, plan.batch_size * plan.vocab_size)
    drawn = draw_rows(logits, options, stream=stream) if stream is not None else None
    if stream is not None and (drawn is None or bool(drawn.flags.any())):
        put_back(generator, device, stream)
        return None
    return drawn


def by_kernels(batch: Batch) -> None:
    """The way of the ladder, which is tried in Triton's interpreter on the CPU: every row, or none."""
    drawn = kernel_draw(batch.plan, batch.logits, batch.keys, batch.generator, batch.rows)
    if drawn is None:
        return
    if batch.plan.validate and bool(drawn.bad.any()):
        check_row_maxima(batch.logits.amax(1).to(torch.float32))
        raise ValueError(f"temperature must leave a finite logit to draw; got row {int(drawn.bad.nonzero()[0, 0])}")
    batch.put(drawn.tokens)
