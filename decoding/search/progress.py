"""How far a batch has come: which rows go on, and the end of every step of a loop: append, tell, stop."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .history import History
from .stopping import Stopping

__all__ = ["Progress", "Recorder"]


class Recorder(Protocol):
    """Keeps what a caller asked to get back beside the tokens. ``scores`` is what criteria are shown."""

    scores: object

    def logits(self, logits: Tensor) -> Tensor:
        """See the raw logits [N, V]; return the tensor that processing may write into."""
        ...

    def step(self, scores: Tensor) -> None:
        """See the processed logits of this step, and whatever the model kept of its last forward."""
        ...


class Progress:
    """The rows [B] of a loop over single tokens, and what every step of it does with the tokens it chose.

    pad_token_id: what finished rows are given; None lets them go on with real tokens, as transformers does without an
    EOS criterion. on_tokens: called with each step's tokens [B].
    ``rows`` [N] are the original rows still in the model once some have left, None before; ``over`` says that no row
    goes on. Reads one device value a step: how many rows are still unfinished.
    """

    def __init__(
        self,
        history: History,
        stopping: Stopping,
        *,
        pad_token_id: Tensor | None = None,
        recorder: Recorder | None = None,
        on_tokens: Callable[[Tensor], None] | None = None,
    ):
        self.history, self.stopping, self.recorder = history, stopping, recorder
        self.pad_token_id, self.on_tokens = pad_token_id, on_tokens
        self.unfinished = torch.ones(history.batch_size, dtype=torch.bool, device=history.ids.device)
        self.rows: Tensor | None = None
        self.over = False
        self._alive = self.unfinished  # [N], of the rows in the model
        self._num_alive = history.batch_size
        self._some_finished = False

    def append(self, token_ids: Tensor) -> Tensor:
        """Append the chosen tokens [N] and see which rows end with them; returns what the model is to be fed, [N]."""
        if self.pad_token_id is not None and self._some_finished and self.rows is None:
            token_ids = torch.where(self._alive, token_ids, self.pad_token_id)
        appended = token_ids if self.rows is None else self._with_pads(token_ids, self.rows)
        self.history.append(appended)
        if self.on_tokens is not None:
            self.on_tokens(appended)
        done = self.stopping.finished(
            token_ids, self.history.length, ids=self._ids, scores=getattr(self.recorder, "scores", None), rows=self.rows
        )
        self._alive = self._alive & ~done
        if self.rows is None:
            self.unfinished = self._alive
        else:
            self.unfinished[self.rows] = self._alive
        self._count()
        return token_ids

    def leave(self) -> Tensor | None:
        """Let finished rows leave: the places [M] among the N rows that stay, or None where all stay."""
        if self._num_alive == self._alive.shape[0]:
            return None
        keep = self._alive.nonzero().squeeze(1)
        self.rows = keep if self.rows is None else self.rows[keep]
        self._alive = self._alive[keep]
        return keep

    def _count(self) -> None:
        self.over = self.stopping.everywhere(self.history.length)
        if not self.over:
            self._num_alive = int(self._alive.sum())
            self.over = self._num_alive == 0
            self._some_finished = self._some_finished or self._num_alive < self._alive.shape[0]

    def _ids(self) -> Tensor:
        return self.history.ids.contiguous()

    def _with_pads(self, token_ids: Tensor, rows: Tensor) -> Tensor:
        """The alive rows' tokens [N] among pads, [B]."""
        if self.pad_token_id is None:
            raise ValueError("pad_token_id must be given when finished rows leave the batch; got None")
        full = self.pad_token_id.to(token_ids.dtype).expand(self.history.batch_size).clone()
        full[rows] = token_ids
        return full
