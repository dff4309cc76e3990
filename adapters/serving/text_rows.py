"""A text in the making: its tokens, what of its text is certain, where it ends, and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .heard_model import HeardToken
from .model_thread import Ticket

_FINISHES = {"eos": "eos", "stop": "stop", "length": "length", "time": "length"}
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what the bytes of half a character decode to


@dataclass(frozen=True)
class TextToken:
    """One token of a row: the text it completed, its log-probability, and the most probable ones beside it.

    finish: why the row ended with it, "eos", "length" or "stop"; None where it goes on.
    """

    row: int
    token_id: int
    text: str
    special: bool
    logprob: float | None
    top: Sequence[tuple[int, float]]
    finish: str | None = None


class GrowingText:
    """The text of a row's tokens, a piece a token: put together, the pieces are the decoded whole.

    A piece is empty while a character is incomplete. Cost: a few tokens are decoded at each step, not the whole.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self.decode = decode
        self.text = ""
        self._ids: list[int] = []
        self._start, self._shown = 0, 0  # the tokens decoded together, and those of them whose text was given

    def add(self, token_id: int) -> str:
        """The text that a token completes."""
        self._ids.append(token_id)
        before = self.decode(self._ids[self._start : self._shown])
        now = self.decode(self._ids[self._start :])
        if now.endswith(_UNFINISHED) or len(now) <= len(before) or not now.startswith(before):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return self._give(now[len(before) :])

    def rest(self, whole: str) -> str:
        """What is still to be given of ``whole``, the text of all tokens."""
        return self._give(whole[len(self.text) :]) if whole.startswith(self.text) else ""

    def _give(self, piece: str) -> str:
        self.text += piece
        return piece


@dataclass(eq=False)
class TextRow:
    """One sequence to generate. index: among its ticket's rows; request: its row of a running batch.

    logprobs: how many of the best tokens to tell of beside its own; None: nothing of them.
    """

    ticket: Ticket
    index: int
    prompt_ids: list[int]
    seed: int
    logprobs: int | None = None
    token_ids: list[int] = field(default_factory=list)
    tokens: list[TextToken] = field(default_factory=list)
    finish: str | None = None
    growing: GrowingText | None = None
    request: Any = None

    @property
    def follows_text(self) -> bool:
        """Whether its text must be known at every step."""
        return self.logprobs is not None or self.ticket.emit is not None

    def take(self, heard: HeardToken, *, special: bool) -> TextToken:
        """Add a token, and say what came of it."""
        self.token_ids.append(heard.token_id)
        self.finish = _FINISHES.get(heard.reason)
        piece = ""
        if self.growing is not None:
            piece = self.growing.add(heard.token_id)
            if self.finish is not None:
                piece += self.growing.rest(self.growing.decode(self.token_ids))
        token = TextToken(self.index, heard.token_id, piece, special, heard.logprob, heard.top, self.finish)
        if self.logprobs is not None:
            self.tokens.append(token)
        return token
