"""What one row of a running batch asks for, and what becomes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..sampling.params import SamplingParams
from .history import History
from .jump_ahead import Certain

__all__ = ["FinishedRow", "RowRequest", "RowStage"]

# May a row end here? Called with its ids so far [1, T] and None, as transformers' criteria are.
RowCriterion = Callable[[Tensor, object], Any]


class RowStage(Protocol):
    """A change of one row's logits [1, V] that knows its tokens so far; see ``chain.LogitsStep``."""

    def apply(self, logits: Tensor) -> Tensor:
        """Change one row's logits [1, V], in place or not, and return them."""

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that the row was given, [1]."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RowRequest:
    """A prompt and the options of its row; nothing here depends on the other rows of a batch.

    token_ids: [P] int64, P >= 1, on any device. params: the filters of the draw, every option one number; None takes
    the most probable token. seed: of the row's draws. max_new_tokens: >= 1, None sets no limit. eos_token_ids: any of
    them ends the row. max_time: seconds from the moment the row joins. stages: builds what acts before the filters
    from the row's history. ahead: the one of these stages that knows tokens before the model is asked, or None; they
    are appended without a choice where the model reads several tokens of a row at once. criteria: further reasons to
    end, read after each token. on_token: called with each new token and, at the last one, with why the row ends (""
    before). tag: the caller's own. source_ids: what an encoder reads, [S]; token_ids are then what its decoder begins
    with. None: the model reads token_ids.
    """

    token_ids: Tensor
    params: SamplingParams | None = None
    seed: int = 0
    max_new_tokens: int | None = None
    eos_token_ids: Sequence[int] = ()
    max_time: float | None = None
    stages: Callable[[History], Sequence[RowStage]] | None = None
    ahead: Callable[[Sequence[RowStage]], Certain | None] | None = None
    criteria: Sequence[RowCriterion] = ()
    on_token: Callable[[int, str], None] | None = None
    tag: Any = None
    source_ids: Tensor | None = None

    @property
    def read_ids(self) -> Tensor:
        """What the model is given when the row joins."""
        return self.token_ids if self.source_ids is None else self.source_ids


@dataclass(frozen=True, eq=False)
class FinishedRow:
    """A row that has ended. token_ids: [P + T] int64 on the CPU, the prompt and T new tokens.

    reason: "eos", "length", "stop" (a criterion), "time", "cancelled", or "error"; then ``error`` says what went wrong.
    """

    request: RowRequest
    token_ids: Tensor
    reason: str
    error: Exception | None = None

    @property
    def prompt_length(self) -> int:
        """How many tokens the row's prompt had."""
        return self.request.token_ids.shape[0]

    @property
    def new_ids(self) -> Tensor:
        """The new tokens, [T]; the end token is the last of them where the row ended with one."""
        return self.token_ids[self.prompt_length :]
