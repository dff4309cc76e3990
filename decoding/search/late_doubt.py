"""Draws that are looked at again when the model has already been given them: the step is then taken once more.

In torch's stream transformers' token is promised, and triton's kernels say of a draw when rounding might have decided
otherwise: once in thousands of rows. To wait for that word in every step would cost what the kernels save. Here it is
heard while the next forward runs; where other tokens come of transformers' operations, the history, the model and the
ends of rows go one token back and take those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from .jump_ahead import Certain, extend
from .progress import Progress

__all__ = ["LateDoubt", "SettlesLate"]


class SettlesLate(Protocol):
    """A ``Select`` whose draws may be looked at a step late."""

    settles_late: bool

    @property
    def may_doubt(self) -> bool:
        """Whether ``settle`` may have anything to say."""
        ...

    def settle(self) -> Tensor | None:
        """The tokens [N] that should have been drawn last; None where they were."""


class LateDoubt:
    """What a loop asks of ``select``, ``model`` and its ``processors`` around a step.

    select: a ``SettlesLate``, or another that is never asked. model: may step back where its ``may_step_back`` says so.
    progress: may replace a step's tokens. Who listens, processors among them, is told of them once they are settled.
    """

    def __init__(self, select: Any, model: Any, progress: Progress, processors: Sequence[Any]):
        self.model, self.progress, self.processors = model, progress, processors
        may = progress.may_replace and hasattr(model, "step_back") and hasattr(select, "settles_late")
        self.select: SettlesLate | None = select if may else None
        self._open: Tensor | None = None  # what the model is fed, while it may be replaced

    def begin(self, ahead: Certain | None) -> None:
        """Before a draw: say whether it may be settled late, which it may not where tokens are known ``ahead``."""
        if self.select is not None:
            late = ahead is None and self.select.may_doubt
            self.select.settles_late = late and bool(self.model.may_step_back)

    def extend(self, chosen: Tensor, ahead: Certain | None) -> Tensor:
        """``jump_ahead.extend``; of tokens [N] that may be replaced the processors are not told yet."""
        if self.select is None or not self.select.settles_late:
            return extend(chosen, self.progress, self.processors, ahead)
        self._open = self.progress.append(chosen)
        return self._open

    def end(self) -> None:
        """After the last draw: settle it, and let no later one be left open."""
        if self.select is not None:
            self.select.settles_late = False
            self._replaced()

    def settled(self, logits: Tensor) -> Tensor:
        """``logits`` [N, V] of the step that the model has begun, or those of the tokens that should have been fed."""
        if self._open is None:
            return logits
        fed = self._replaced()
        if fed is not None:
            self.model.step_back()
            logits = self.model.step(fed)
        for processor in self.processors:
            processor.advance(self._open if fed is None else fed)
        self._open = None
        return logits

    def _replaced(self) -> Tensor | None:
        token_ids = None if self.select is None else self.select.settle()
        return None if token_ids is None else self.progress.replace(token_ids)
