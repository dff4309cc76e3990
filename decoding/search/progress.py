"""How far a batch has come: which rows go on, and the end of every step of a loop: append, tell, stop."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ..kernels.late_flags import LateFlag
from ..options.numpy_or_torch import sent
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
    EOS criterion. on_tokens: called with each step's tokens [B], late with a copy on the host.
    late: on CUDA, which rows are still unfinished is read one step late, by ``hear``, once the next forward is on its
    way, and so are the step's tokens for ``on_tokens``; what leaves then leaves a batch whose size is a power of two,
    some finished rows among it.
    ``rows`` [N] are the original rows still in the model once some have left, None before; ``num_alive`` how many go
    on; ``over`` says that none does. Else reads one device value a step: how many rows are still unfinished; none where
    only a length or a moment ends them.
    """

    def __init__(
        self,
        history: History,
        stopping: Stopping,
        *,
        pad_token_id: Tensor | None = None,
        recorder: Recorder | None = None,
        on_tokens: Callable[[Tensor], None] | None = None,
        late: bool = False,
    ):
        self.history, self.stopping, self.recorder = history, stopping, recorder
        self.pad_token_id, self.on_tokens = pad_token_id, on_tokens
        self._untold = LateFlag() if late and on_tokens is not None and history.ids.device.type == "cuda" else None
        self.rows: Tensor | None = None
        self.over = False
        self._alive = torch.ones(history.batch_size, dtype=torch.bool, device=history.ids.device)  # [N], in the model
        self.num_alive = history.batch_size
        self._some_finished = False
        self.late = late and history.ids.device.type == "cuda" and stopping.may_end_rows
        self._before = self._alive
        self._flag = LateFlag()
        self._heard: Tensor | None = None  # on the host, which rows were alive a step ago

    def append(self, token_ids: Tensor) -> Tensor:
        """Append the chosen tokens [N] and see which rows end with them; returns what the model is to be fed, [N]."""
        self._before = self._alive
        if self.pad_token_id is not None and (self.late or (self._some_finished and self.rows is None)):
            token_ids = torch.where(self._alive, token_ids, self.pad_token_id)
        appended = token_ids if self.rows is None else self._with_pads(token_ids, self.rows)
        self.history.append(appended)
        if self._untold is not None:
            self.tell()  # of a token before it in the same step
            self._untold.send(appended)
        elif self.on_tokens is not None:
            self.on_tokens(appended)
        if self.stopping.may_end_rows:
            self._end(token_ids)
        self._count()
        return token_ids

    @property
    def may_replace(self) -> bool:
        """Whether ``replace`` can be asked for: who is told of a step's tokens and their ends hears of them late."""
        told = self.on_tokens is not None and self._untold is None
        told = told or (bool(self.stopping.criteria) and not self.stopping.repeatable)
        return not told and (self.late or not self.stopping.may_end_rows)

    def replace(self, token_ids: Tensor) -> Tensor:
        """Append other tokens [N] in the place of the last ones, of which nobody has heard; see ``append``."""
        for flag in (self._flag, self._untold):
            if flag is not None:
                flag.receive()
        self.history.crop(self.history.length - 1)
        self._alive = self._before
        return self.append(token_ids)

    def going_on(self) -> list[bool]:
        """Which of the N rows in the model go on."""
        alive: list[bool] = self._alive.tolist()
        return alive

    def hear(self) -> None:
        """Hear late whether a row goes on, and tell of its tokens; called when the model has been given these."""
        self.tell()
        self._heard = self._flag.receive()
        if self._heard is not None:
            self.num_alive = int(self._heard.sum())
            self.over = self.num_alive == 0

    def tell(self) -> None:
        """Tell of the last step's tokens, where that was left for later."""
        token_ids = None if self._untold is None else self._untold.receive()
        if token_ids is not None and self.on_tokens is not None:
            self.on_tokens(token_ids)

    def leave(self) -> Tensor | None:
        """Let finished rows leave: the places [M] among the N rows that stay, or None where all stay."""
        if self.num_alive == self._alive.shape[0]:
            return None
        keep = self._power_of_two() if self.late else self._alive.nonzero().squeeze(1)
        if keep is None:
            return None
        self.rows = keep if self.rows is None else self.rows[keep]
        self._alive = self._alive[keep]
        return keep

    def _power_of_two(self) -> Tensor | None:
        """The rows that were alive, filled up with finished ones; None where that is not half of the batch."""
        size = 1 << max(self.num_alive - 1, 0).bit_length()
        if self._heard is None or size >= self._alive.shape[0]:
            return None
        order = self._heard.to(torch.int8).argsort(descending=True, stable=True)
        return sent(order[:size].sort().values, self._alive.device)

    def _count(self) -> None:
        self.over = self.stopping.everywhere(self.history.length)
        if self.over or not self.stopping.may_end_rows:
            return
        if self.late:
            self._flag.send(self._alive)
        else:
            self.num_alive = int(self._alive.sum())
            self.over = self.num_alive == 0
            self._some_finished = self._some_finished or self.num_alive < self._alive.shape[0]

    def _end(self, token_ids: Tensor) -> None:
        """See which rows end with these tokens [N]."""
        scores = getattr(self.recorder, "scores", None)
        done = self.stopping.finished(token_ids, self.history.length, ids=self._ids, scores=scores, rows=self.rows)
        self._alive = self._alive > done  # and not done, in one operation

    def _ids(self) -> Tensor:
        return self.history.ids.contiguous()

    def _with_pads(self, token_ids: Tensor, rows: Tensor) -> Tensor:
        """The alive rows' tokens [N] among pads, [B]."""
        if self.pad_token_id is None:
            raise ValueError("pad_token_id must be given when finished rows leave the batch; got None")
        full = self.pad_token_id.to(token_ids.dtype).expand(self.history.batch_size).clone()
        full[rows] = token_ids
        return full
