"""The loop of greedy decoding and sampling: forward, process, select, append, stop.

It knows a StepModel, a history, a function that picks tokens and a Stopping; everything else (what the logits go
through, what is recorded, who listens) is an argument. Finished rows either stay and are fed the pad token, which is
what transformers does, or leave the batch (``compact``).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from ..kernels.argmax import first_argmax
from .history import History
from .jump_ahead import Certain
from .late_doubt import LateDoubt
from .progress import Progress, Recorder
from .step_model import StepModel
from .stopping import Stopping

__all__ = ["Process", "Recorder", "Select", "decode", "greedy", "process"]


class Select(Protocol):
    """Picks a token per row of ``logits`` [N, V]; ``step`` counts from 0, ``rows`` [N] are the original rows alive."""

    def __call__(self, logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor: ...


class Process(Protocol):
    """One stage between the model's logits and the choice; see ``chain.LogitsStep``."""

    def apply(self, logits: Tensor) -> Tensor:
        """Change the logits [N, V], in place or not, and return them."""

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that each row was given, [N]."""

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""


def greedy(logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor:
    """The most probable token of each row of ``logits`` [N, V]; the first of equals on the CPU. NaN wins, as in torch.

    >>> import torch
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
    late_stop: bool = False,
    ahead: Certain | None = None,
) -> Tensor:
    """Append tokens to ``history`` until every row is finished; return its ids, [B, T].

    pad_token_id: what finished rows are given; None lets them go on with real tokens, as transformers does without an
    EOS criterion. on_tokens: called with each step's tokens [B]. compact: finished rows leave the model, the
    processors and the selection; their tokens are pads from then on. late_stop: on CUDA, whether any row goes on is
    heard while the next forward runs, so that the model reads one token more than it needs to, and ``on_tokens`` is
    called then; see ``Progress``.
    ahead: the one of the processors that knows tokens before the model is asked; where it knows all rows' they are not
    chosen, and the model reads them at once, if it ``takes_several``.
    Reads one device value a step, late or not, where rows may end before all do: whether any is still unfinished.
    A ``select`` with a ``finish`` is told of the end, for what it has not looked at yet; a model with a ``take_back``
    that the last token it has read is to be forgotten. One whose draws may be settled late: see ``LateDoubt``.
    """
    progress = Progress(
        history, stopping, pad_token_id=pad_token_id, recorder=recorder, on_tokens=on_tokens, late=late_stop
    )
    doubt = LateDoubt(select, model, progress, processors)
    logits = model.prefill()
    step = 0
    while True:
        logits = process(logits, processors, recorder)
        several = ahead if getattr(model, "takes_several", False) else None
        doubt.begin(several)
        token_ids = doubt.extend(select(logits, step=step, rows=progress.rows), several)
        if progress.over:
            doubt.end()
            progress.tell()
            break
        step += token_ids[0].numel()
        if compact and not progress.late and (keep := progress.leave()) is not None:
            token_ids = token_ids[keep]
            _select_rows(keep, model, processors)
        logits = doubt.settled(model.step(token_ids))
        progress.hear()
        if progress.over:
            getattr(model, "take_back", lambda: None)()
            break
        if compact and progress.late and (keep := progress.leave()) is not None:
            logits = logits[keep]
            _select_rows(keep, model, processors)
    getattr(select, "finish", lambda: None)()
    return history.ids


def _select_rows(keep: Tensor, model: StepModel, processors: Sequence[Process]) -> None:
    model.select_rows(keep)
    for processor in processors:
        processor.select_rows(keep)


def process(logits: Tensor, processors: Sequence[Process], recorder: Recorder | None) -> Tensor:
    """What a step chooses from: the logits [N, V] after every processor, seen by the recorder before and after."""
    if recorder is not None:
        logits = recorder.logits(logits)
    for processor in processors:
        logits = processor.apply(logits)
    if recorder is not None:
        recorder.step(logits)
    return logits
