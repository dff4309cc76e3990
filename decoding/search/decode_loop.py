"""The loop of greedy decoding and sampling: forward, process, select, append, stop.

It knows a StepModel, a history, a function that picks tokens and a Stopping; everything else (what the logits go
through, what is recorded, who listens) is an argument. Finished rows either stay and are fed the pad token, which is
what transformers does, or leave the batch (``compact``).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from .history import History
from .step_model import StepModel
from .stopping import Stopping

__all__ = ["Recorder", "Select", "decode", "greedy"]


class Select(Protocol):
    """Picks a token per row of ``logits`` [N, V]; ``step`` counts from 0, ``rows`` [N] are the original rows alive."""

    def __call__(self, logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor: ...


class Process(Protocol):
    """One stage between the model's logits and the choice; see ``chain.LogitsStep``."""

    def apply(self, logits: Tensor) -> Tensor: ...

    def advance(self, token_ids: Tensor) -> None: ...

    def select_rows(self, rows: Tensor) -> None: ...


class Recorder(Protocol):
    """Keeps what a caller asked to get back beside the tokens. ``scores`` is what criteria are shown."""

    scores: object

    def logits(self, logits: Tensor) -> Tensor:
        """See the raw logits [N, V]; return the tensor that processing may write into."""
        ...

    def step(self, scores: Tensor) -> None:
        """See the processed logits of this step, and whatever the model kept of its last forward."""
        ...


def greedy(logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor:
    """The most probable token of each row of ``logits`` [N, V]; the first of equals on the CPU. NaN wins, as in torch.

    >>> greedy(torch.tensor([[0.0, 2.0, 2.0]]), step=0)
    tensor([1])
    """
    return first_argmax(logits)


def decode(
    model: StepModel,
    history: History,
    select: Select,
    stopping: Stopping,
    *,
    processors: Sequence[Process] = (),
    pad_token_id: Tensor | None = None,
    recorder: Recorder | None = None,
    on_tokens: Callable[[Tensor], None] | None = None,
    compact: bool = False,
) -> Tensor:
    """Append tokens to ``history`` until every row is finished; return its ids, [B, T].

    pad_token_id: what finished rows are given; None lets them go on with real tokens, as transformers does without an
    EOS criterion. on_tokens: called with each step's tokens [B]. compact: finished rows leave the model, the
    processors and the selection; their tokens are pads from then on.
    Reads one device value a step: whether any row is still unfinished.
    """
    unfinished = torch.ones(history.batch_size, dtype=torch.bool, device=history.ids.device)
    rows: Tensor | None = None  # the original rows still in the model, once some have left
    some_finished = False
    step = 0
    logits = model.prefill()
    while True:
        if recorder is not None:
            logits = recorder.logits(logits)
        for processor in processors:
            logits = processor.apply(logits)
        if recorder is not None:
            recorder.step(logits)
        token_ids = select(logits, step=step, rows=rows)
        alive = unfinished if rows is None else unfinished[rows]
        if pad_token_id is not None and some_finished and rows is None:
            token_ids = torch.where(alive, token_ids, pad_token_id)
        appended = token_ids if rows is None else _with_pads(token_ids, rows, history.batch_size, pad_token_id)
        history.append(appended)
        if on_tokens is not None:
            on_tokens(appended)
        done = stopping.finished(
            token_ids, history.length, ids=_ids(history), scores=getattr(recorder, "scores", None), rows=rows
        )
        alive = alive & ~done
        if rows is None:
            unfinished = alive
        else:
            unfinished[rows] = alive
        step += 1
        if stopping.everywhere(history.length):
            break
        num_alive = int(alive.sum())
        if num_alive == 0:
            break
        some_finished = some_finished or num_alive < alive.shape[0]
        for processor in processors:
            processor.advance(token_ids)
        if compact and num_alive < alive.shape[0]:
            keep = alive.nonzero().squeeze(1)
            rows = keep if rows is None else rows[keep]
            token_ids = token_ids[keep]
            model.select_rows(keep)
            for processor in processors:
                processor.select_rows(keep)
        logits = model.step(token_ids)
    return history.ids


def _ids(history: History) -> Callable[[], Tensor]:
    return lambda: history.ids.contiguous()


def _with_pads(token_ids: Tensor, rows: Tensor, batch_size: int, pad_token_id: Tensor | None) -> Tensor:
    """The alive rows' tokens [N] among pads, [B]."""
    if pad_token_id is None:
        raise ValueError("pad_token_id must be given when finished rows leave the batch; got None")
    full = pad_token_id.to(token_ids.dtype).expand(batch_size).clone()
    full[rows] = token_ids
    return full
