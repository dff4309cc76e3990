"""Greedy decoding and sampling."""

import os
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from ....decoding.search.decode_loop import decode
from ....decoding.search.history import History
from ..outputs import OutputRecorder
from ..processors import keeps_rows_apart
from ..row_hooks import sees_rows
from ..selection import SamplerSelect, build_selection, known_ahead, may_know_ahead
from .prepared_call import Mode, PreparedCall, open_call

__all__ = ["run_sample"]

MODE = Mode("sampling")


def run_sample(model: Any, input_ids: Tensor, **prepared: Any) -> Any:
    """Greedy decoding or sampling from the inputs that ``generate`` prepared; returns what ``generate`` does."""
    call = open_call(MODE, model, input_ids, **prepared)
    needs_every_row = OutputRecorder.needs_every_row(call.config)
    stages, select = build_selection(
        call.config,
        call.processors,
        call.stepper.history,
        call.request,
        batch_size=call.input_ids.shape[0],
        scores_wanted=needs_every_row,
    )
    # Hooks are looked for in every module: not where no grammar could jump.
    jumps = call.recorder is None and may_know_ahead(stages) and not sees_rows(call.model)
    with _optimized(call, select):
        sequences = decode(
            call.stepper,
            History(call.input_ids),
            select,
            call.stopping,
            processors=stages,
            pad_token_id=call.pad_token_id,
            recorder=call.recorder,
            on_tokens=call.on_tokens,
            compact=call.request.compact and not needs_every_row and _rows_may_leave(call),
            late_stop=call.may_stop_late(),
            ahead=known_ahead(stages, select) if jumps else None,
        )
    return call.output(sequences)


def _rows_may_leave(call: PreparedCall) -> bool:
    """Whether a finished row is needed by nothing that looks on, and everything the model is fed can do without it."""
    return (
        call.pad_token_id is not None
        and not call.stopping.needs_ids
        and keeps_rows_apart(call.processors)
        and call.stepper.can_select_rows()
        and not sees_rows(call.model)
    )


def _optimized(call: PreparedCall, select: Any) -> Any:
    """What transformers does around its own sampling loop: the compiled forward and the experts' implementation.

    With ``AFTERLOGITS_GRAPHS=on`` in the environment the draw beside a compiled forward is a CUDA graph as well.
    """
    compiled = call.stepper.compile_forward()
    if compiled and isinstance(select, SamplerSelect):
        select.in_graph = os.environ.get("AFTERLOGITS_GRAPHS") == "on"
    model = call.model
    return model._optimize_model_for_decode() if hasattr(model, "_optimize_model_for_decode") else nullcontext()
