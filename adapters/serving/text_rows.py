"""A text in the making: its tokens, what of its text is certain, where it ends, and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .model_thread import Ticket

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
    """One sequence to generate. options: its arguments of generate, one value each; index: among its ticket's rows.

    stops: texts that end it. logprobs: how many of the best tokens to tell of beside its own; None: nothing of them.
    """

    ticket: Ticket
    index: int
    prompt_ids: list[int]
    options: dict[str, Any]
    seed: int
    max_new_tokens: int
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    token_ids: list[int] = field(default_factory=list)
    tokens: list[TextToken] = field(default_factory=list)
    finish: str | None = None
    growing: GrowingText | None = None

    @property
    def live(self) -> bool:
        """Whether it is still to be generated, and somebody waits for it."""
        return self.finish is None and self.ticket.waited_for

    @property
    def follows_text(self) -> bool:
        """Whether its text must be known at every step."""
        return bool(self.stops) or self.logprobs is not None or self.ticket.emit is not None

    def take(
        self,
        token_id: int,
        ended: bool,
        end_ids: frozenset[int],
        special_ids: frozenset[int],
        score: float | None,
        top: Any,
    ) -> TextToken:
        """Add a token, see whether the row ends with it, and say what came of it."""
        self.token_ids.append(token_id)
        piece = ""
        if self.growing is not None:
            piece = self.growing.add(token_id)
        if token_id in end_ids and ended:
            self.finish = "eos"
        elif piece and self._stopped(piece):
            self.finish = "stop"
        elif ended or len(self.token_ids) >= self.max_new_tokens:
            self.finish = "length"
        if self.finish is not None and self.growing is not None:
            piece += self.growing.rest(self.growing.decode(self.token_ids))
        token = TextToken(self.index, token_id, piece, token_id in special_ids, score, top, self.finish)
        if self.logprobs is not None:
            self.tokens.append(token)
        return token

    def _stopped(self, piece: str) -> bool:
        """Whether a stop text ends within the piece that was just added."""
        text = self.growing.text if self.growing is not None else ""
        return any(stop in text[-len(piece) - len(stop) + 1 :] for stop in self.stops)
