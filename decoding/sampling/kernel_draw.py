"""The ladder's way on a CUDA device with triton: the kernels of ``triton_kernels``, one read of the logits.

With seeds nothing is read on the host unless the caller asked for validation. In torch's stream one word is: where
rounding might have decided, the generator goes back and the rows are left to transformers' operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..options.validation import check_row_maxima
from ..triton_kernels.draw import Drawn, draw_rows, may_run
from ..triton_kernels.row_options import RowOptions
from ..triton_kernels.stream_noise import stream_is_known
from ..triton_kernels.stream_state import StreamDraw, put_back, take_draw

if TYPE_CHECKING:
    from .batch import Batch
    from .plan import Plan

__all__ = ["by_kernels", "kernel_options"]


def kernel_options(plan: Plan) -> RowOptions | None:
    """The options of a plan as the kernels take them; None where they do not draw it."""
    if plan.has_steps or plan.params.greedy is True or not may_run(plan.device):
        return None
    return RowOptions.of(plan.params, plan.batch_size, plan.vocab_size, plan.device)


def by_kernels(batch: Batch) -> None:
    """Every row, or none where the kernels do not take these logits or this stream."""
    options = batch.plan.kernel_options
    if options is None:
        return
    if batch.rows is not None:
        options = options.select_rows(batch.rows)
    if batch.keys is not None:
        drawn = draw_rows(batch.logits, options, keys=batch.keys[:, 0])
        if drawn is not None:
            _check(batch, drawn)
            batch.put(drawn.tokens)
        return
    stream = _stream(batch)
    drawn = draw_rows(batch.logits, options, stream=stream) if stream is not None else None
    if stream is not None and (drawn is None or bool(drawn.flags.any())):
        put_back(batch.generator, batch.logits.device, stream)
    elif drawn is not None:
        batch.put(drawn.tokens)


def _stream(batch: Batch) -> StreamDraw | None:
    """torch's draw for the whole batch, whose generator has moved on; None where its numbers are not known."""
    device = batch.logits.device
    if device.type != "cuda" or not stream_is_known(device):
        return None
    return take_draw(batch.generator, device, batch.plan.batch_size * batch.plan.vocab_size)


def _check(batch: Batch, drawn: Drawn) -> None:
    """With validation: raise for a row that cannot be drawn, naming it."""
    if batch.plan.validate and bool(drawn.bad.any()):
        check_row_maxima(batch.logits.amax(1).to(torch.float32))
        raise ValueError(f"temperature must leave a finite logit to draw; got row {int(drawn.bad.nonzero()[0, 0])}")
