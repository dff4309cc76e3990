"""Where one row stands in its grammar: what a matcher must do, and a matcher beside the tokens that it has accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from .known_masks import KnownMask

__all__ = ["GrammarMatcher", "NothingKnown", "TokenHistory"]


class GrammarMatcher(Protocol):
    """Where one row stands in its grammar.

    quick: whether ``allows`` costs much less than a mask.
    """

    quick: bool

    def known(self) -> KnownMask | None:
        """The mask, where it is known without an engine; then nothing is ``forced``."""
        ...

    @property
    def learns(self) -> bool:
        """Whether a mask that is made now will be known where it comes again."""
        ...

    def fill(self, bitmask: Tensor, row: int) -> None:
        """Write which tokens may come next into ``bitmask[row]``, int32 [W] on the CPU, lowest bit first."""
        ...

    def accept(self, token_id: int) -> bool:
        """Go on by a token; False, and no step, where the grammar does not allow it."""
        ...

    def allows(self, token_id: int) -> bool:
        """Whether the token's bit is 1 in the mask; asked only where nothing is ``forced``."""
        ...

    def rollback(self, count: int) -> None:
        """Take the last ``count`` accepted tokens back."""
        ...

    def fork(self) -> GrammarMatcher:
        """Another matcher that stands at the same place."""
        ...

    def forced(self) -> Sequence[int]:
        """Tokens that certainly come next, as far as the matcher knows; none where there is a choice.

        Where there are some, the mask allows the first of them alone.
        """
        ...

    @property
    def ended(self) -> bool:
        """Whether the end token was accepted: nothing follows."""
        ...


class NothingKnown:
    """Of a matcher that makes every mask anew."""

    learns = False

    def known(self) -> None:
        """No mask is known."""


class TokenHistory:
    """A matcher and the tokens it has accepted. Tokens behind the end of the grammar are ignored."""

    def __init__(self, matcher: GrammarMatcher, tokens: Sequence[int] = ()) -> None:
        self.matcher = matcher
        self.tokens = list(tokens)
        self.stray = False  # a token the grammar does not allow has come: from then on the row is free
        self._following: Sequence[int] | None = None
        self.likely = False  # whether the last choice was among the largest logits, as a guess of the next

    def accept(self, token_id: int) -> None:
        """Go on by a token."""
        if self.stray or self.matcher.ended:
            return
        self._following = None
        if self.matcher.accept(token_id):
            self.tokens.append(token_id)
        else:
            self.stray = True

    def fork(self) -> TokenHistory:
        """The same for another row."""
        twin = TokenHistory(self.matcher.fork(), self.tokens)
        twin.stray, twin.likely = self.stray, self.likely
        return twin

    def go_to(self, tokens: Sequence[int]) -> None:
        """Stand behind ``tokens``: take back what is not of them, accept the rest."""
        same = 0
        for mine, theirs in zip(self.tokens, tokens, strict=False):
            if mine != theirs:
                break
            same += 1
        if len(self.tokens) > same:
            self.matcher.rollback(len(self.tokens) - same)
            self._following = None
            del self.tokens[same:]
        self.stray = False
        for token_id in tokens[same:]:
            self.accept(token_id)

    def forced(self) -> Sequence[int]:
        """The tokens that certainly come next, asked once at each place."""
        if self._following is None:
            self._following = self.matcher.forced()
        return self._following

    @property
    def constrains(self) -> bool:
        """Whether the grammar still has a say."""
        return not self.stray and not self.matcher.ended
