"""The draw of a CUDA device with triton: the kernels of ``triton_kernels``, one read of the logits.

With seeds nothing is read on the host unless the caller asked for validation. In torch's stream one word is, at once
or, in loops that can go a step back, a step late: where rounding might have decided, the generator goes back and the
rows are left to transformers' operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..kernels.late_flags import LateFlag
from ..options.validation import check_row_maxima
from ..triton_kernels.decide_and_draw import DOUBT
from ..triton_kernels.draw import Drawn, draw_rows, may_run
from ..triton_kernels.row_options import RowOptions
from ..triton_kernels.stream_noise import stream_is_known
from ..triton_kernels.stream_state import StreamDraw, put_back, take_draw

if TYPE_CHECKING:
    from .batch import Batch
    from .plan import Plan

__all__ = ["DoubtCount", "LateDraw", "by_kernels", "kernel_draw", "kernel_options"]

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


class LateDraw:
    """A draw of torch's stream whose doubt is still to be heard, with what it takes to draw it again."""

    def __init__(self) -> None:
        self._flag = LateFlag()
        self._drawn: tuple[Tensor, Tensor | None, StreamDraw, Tensor] | None = None

    def keep(self, drawn: Drawn, logits: Tensor, rows: Tensor | None, stream: StreamDraw) -> None:
        """Send for the doubt about ``drawn``; the logits must stay as they are until it has been heard."""
        self._flag.send(drawn.flags)
        self._drawn = logits, rows, stream, drawn.tokens

    def doubted(self) -> tuple[Tensor, Tensor | None, StreamDraw, Tensor] | None:
        """Logits, rows, place in the stream and tokens of the draw that was kept, where it is in doubt."""
        drawn, self._drawn = self._drawn, None
        flags = self._flag.receive()
        return drawn if flags is not None and bool((flags & DOUBT).any()) else None


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
    late: LateDraw | None = None,
) -> Drawn | None:
    """Every row of ``logits`` [N, V], or None where the kernels do not take these logits or this stream.

    keys: [N, 1], the rows' counters; None draws from ``generator``. rows: [N], which of the plan's batch they are.
    doubts: takes the flags of seeded draws; in torch's stream a draw in doubt is left to transformers' operations, or
    kept in ``late``, where its doubt is heard a step later.
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
    return _stream_draw(plan, logits, options, generator, rows, late)


def _stream_draw(
    plan: Plan,
    logits: Tensor,
    options: RowOptions,
    generator: torch.Generator | None,
    rows: Tensor | None,
    late: LateDraw | None,
) -> Drawn | None:
    """The draw from torch's stream; None, with the generator as it was, where it is unknown or in doubt."""
    device = logits.device
    if device.type != "cuda" or not stream_is_known(device):
        return None
    stream = take_draw(generator, device, plan.batch_size * plan.vocab_size)
    if stream is None:
        return None
    drawn = draw_rows(logits, options, stream=stream)
    if drawn is not None and late is not None:
        late.keep(drawn, logits, rows, stream)
        return drawn
    if drawn is None or bool(drawn.flags.any()):
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
