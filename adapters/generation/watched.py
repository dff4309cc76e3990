"""Greedy decoding and sampling that someone looks on at: told each row's tokens and log-probabilities as they come, and
able to end a row from outside. Rows that end leave the batch, whoever ended them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ...decoding.sampling.logprobs import Sampled, with_logprobs
from ...decoding.search.decode_loop import decode
from ...decoding.search.history import History
from ...decoding.search.step_model import StepModel
from ...decoding.search.stopping import Criterion, Stopping
from .install import engine_view
from .modes.prepared_call import open_call
from .modes.sample import MODE, rows_may_leave
from .request import Request, split_request
from .selection import build_selection

__all__ = ["RowWatcher", "generate_watched"]


class RowWatcher(Protocol):
    """Who looks on. ``top``: the most probable tokens to be told of at each step; None where nothing of
    log-probabilities is asked."""

    top: int | None

    def step(
        self, rows: Sequence[int], token_ids: Sequence[int], done: Sequence[bool], logprobs: Sampled | None
    ) -> Any:
        """Hear of one step; returns the rows that shall end, by their numbers in the batch.

        rows [N]: the rows alive, by their numbers; token_ids [N]: their new tokens; done [N]: which of them ended with
        it (an end token, a length). logprobs: under the model's own logits, before any processor. Rows that have ended
        may be told of again where rows cannot leave.
        """
        ...


def generate_watched(model: Any, watcher: RowWatcher, *, seeds: Any = None, **options: Any) -> Tensor:
    """``generate(model, **options)`` for greedy decoding and sampling with ``watcher`` looking on; [B, T] with prompts.

    options: as ``generate`` takes them, per row where that does, with ``input_ids`` and ``attention_mask``. Raises
    ValueError for beams and every other mode.
    """
    request, options = split_request(seeds, True, options)

    def run(model: Any, input_ids: Tensor, **prepared: Any) -> Any:
        prepared.pop("synced_gpus", None)
        return _run(model, input_ids, watcher, request, prepared)

    found: Tensor = engine_view(model).generate(**options, custom_generate=run)
    return found


def _run(model: Any, input_ids: Tensor, watcher: RowWatcher, request: Request, prepared: dict[str, Any]) -> Tensor:
    config = prepared["generation_config"]
    if int(config.num_beams or 1) > 1 or int(config.num_return_sequences or 1) > 1:
        raise ValueError("num_beams and num_return_sequences must be 1 for rows that are watched")
    call = open_call(MODE, model, input_ids, request=request, **prepared)
    stages, select = build_selection(
        call.config, call.processors, call.stepper.history, request, batch_size=len(call.input_ids), scores_wanted=False
    )
    heard = _Heard(call.stepper, keep=watcher.top is not None)
    stopping = _watched(call.stopping, watcher, heard)
    sequences = decode(
        heard,
        History(call.input_ids),
        select,
        stopping,
        processors=stages,
        pad_token_id=call.pad_token_id,
        compact=rows_may_leave(call),
    )
    output: Tensor = call.output(sequences)
    return output


class _Heard:
    """A step model whose last logits can be read again after the processors wrote into them."""

    def __init__(self, inner: StepModel, *, keep: bool) -> None:
        self.inner, self.keep = inner, keep
        self.logits: Tensor | None = None

    def prefill(self) -> Tensor:
        return self._kept(self.inner.prefill())

    def step(self, token_ids: Tensor) -> Tensor:
        return self._kept(self.inner.step(token_ids))

    def select_rows(self, rows: Tensor) -> None:
        self.inner.select_rows(rows)

    def _kept(self, logits: Tensor) -> Tensor:
        if self.keep:
            self.logits = logits.clone()
        return logits


@dataclass
class _WatchedStopping(Stopping):
    """A Stopping that tells a watcher of every step, and ends what it says."""

    watcher: Any = None
    heard: Any = None
    criteria: Sequence[Criterion] = field(default=())

    def finished(self, token_ids: Tensor, length: int, *, rows: Tensor | None = None, **others: Any) -> Tensor:
        done = super().finished(token_ids, length, rows=rows, **others)
        logprobs = None
        if self.watcher.top is not None:
            logprobs = with_logprobs(self.heard.logits, token_ids, self.watcher.top)
        alive = list(range(len(token_ids))) if rows is None else rows.tolist()
        ended = set(self.watcher.step(alive, token_ids.tolist(), done.tolist(), logprobs))
        if not ended:
            return done
        return done | torch.tensor([row in ended for row in alive], device=done.device)


def _watched(stopping: Stopping, watcher: RowWatcher, heard: _Heard) -> Stopping:
    return _WatchedStopping(**vars(stopping), watcher=watcher, heard=heard)
