"""A grammar a row through a loop: masks made on another thread while the forward runs, rows that part and end."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..options.numpy_or_torch import Array
from .bitmask import inside, mask_tokens_, on_host, prepared, put

__all__ = ["GrammarMatcher", "GrammarStep", "TokenHistory"]


class GrammarMatcher(Protocol):
    """Where one row stands in its grammar."""

    def fill(self, bitmask: Tensor, row: int) -> None:
        """Write which tokens may come next into ``bitmask[row]``, int32 [W] on the CPU, lowest bit first."""
        ...

    def accept(self, token_id: int) -> bool:
        """Go on by a token; False, and no step, where the grammar does not allow it."""
        ...

    def rollback(self, count: int) -> None:
        """Take the last ``count`` accepted tokens back."""
        ...

    def fork(self) -> GrammarMatcher:
        """Another matcher that stands at the same place."""
        ...

    def forced(self) -> Sequence[int]:
        """Tokens that certainly come next, as far as the matcher knows; none where there is a choice."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the end token was accepted: nothing follows."""
        ...


class TokenHistory:
    """A matcher and the tokens it has accepted. Tokens behind the end of the grammar are ignored."""

    def __init__(self, matcher: GrammarMatcher, tokens: Sequence[int] = ()) -> None:
        self.matcher = matcher
        self.tokens = list(tokens)
        self.stray = False  # a token the grammar does not allow has come: from then on the row is free

    def accept(self, token_id: int) -> None:
        """Go on by a token."""
        if self.stray or self.matcher.ended:
            return
        if self.matcher.accept(token_id):
            self.tokens.append(token_id)
        else:
            self.stray = True

    def fork(self) -> TokenHistory:
        """The same for another row."""
        twin = TokenHistory(self.matcher.fork(), self.tokens)
        twin.stray = self.stray
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
            del self.tokens[same:]
        self.stray = False
        for token_id in tokens[same:]:
            self.accept(token_id)

    @property
    def constrains(self) -> bool:
        """Whether the grammar still has a say."""
        return not self.stray and not self.matcher.ended


class GrammarStep:
    """Masks the logits of each row by its grammar; a step of a loop, see ``chain.LogitsStep``.

    matchers: one a row, None for a row that is free. words: int32 words of a row's mask, ceil(V / 32).
    The next masks are made on another thread from ``advance`` on, while the caller runs the model; ``apply`` waits for
    them. A row whose grammar has ended is left alone: what follows its end token is padding.
    """

    def __init__(self, matchers: Sequence[GrammarMatcher | None], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.rows = [None if matcher is None else TokenHistory(matcher) for matcher in matchers]
        self._bitmask = torch.zeros((len(self.rows), (vocab_size + 31) // 32), dtype=torch.int32)
        self._coming: Future[list[int]] | None = None
        self._on_host = False  # whether the thread also prepares what is written into the logits
        self._prepared: list[Array | None] = []
        self._rooms: dict[int, Array] = {}

    def apply(self, logits: Tensor) -> Tensor:
        """Mask the logits [N, V] in place."""
        rows = self._fill() if self._coming is None else self._coming.result()
        self._coming = None
        if not rows:
            return logits
        if not on_host(logits):
            return mask_tokens_(logits, self._bitmask[: len(rows)], rows=rows)
        if not self._on_host:
            self._on_host = True
            self._prepare(len(rows))
        host = logits.numpy().view(np.uint32)
        for row, mask in zip(rows, self._prepared, strict=True):
            put(host[row], mask)
        return logits

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to every row: token_ids [N]. Reads them; the masks that follow are begun."""
        self._wait()
        tokens = token_ids.tolist()
        self._coming = _worker().submit(self._go_on, tokens)

    def select_rows(self, rows: Tensor) -> None:
        """Make row i continue what was row ``rows[i]``."""
        self._wait()
        taken: set[int] = set()
        chosen: list[TokenHistory | None] = []
        for row in rows.tolist():
            one = self.rows[row]
            chosen.append(one if one is None or row not in taken else one.fork())
            taken.add(row)
        self.rows = chosen
        if self._bitmask.shape[0] < len(chosen):
            self._bitmask = self._bitmask.new_zeros((len(chosen), self._bitmask.shape[1]))
        self._coming = _worker().submit(self._fill)

    def forced(self) -> list[Sequence[int]]:
        """The tokens that certainly come next, a row each."""
        self._wait()
        return [() if one is None or not one.constrains else one.matcher.forced() for one in self.rows]

    def _wait(self) -> None:
        if self._coming is not None:
            self._coming.result()
            self._coming = None

    def _go_on(self, tokens: Sequence[int]) -> list[int]:
        for one, token_id in zip(self.rows, tokens, strict=True):
            if one is not None:
                one.accept(token_id)
        return self._fill()

    def _fill(self) -> list[int]:
        """Masks for the rows that have a say, one after the other; returns these rows."""
        rows = [row for row, one in enumerate(self.rows) if one is not None and one.constrains]
        for place, row in enumerate(rows):
            one = self.rows[row]
            assert one is not None
            one.matcher.fill(self._bitmask, place)
        if self._on_host:
            self._prepare(len(rows))
        return rows

    def _prepare(self, count: int) -> None:
        """Find what to write into the logits of ``count`` rows, in memory that is used again at every step."""
        bits = inside(self._bitmask[:count].numpy(), self.vocab_size)
        for place in range(len(self._rooms), count):
            self._rooms[place] = np.empty((bits.shape[1] * 4, 8), dtype=np.uint32)
        self._prepared = [prepared(bits[place], self._rooms[place]) for place in range(count)]


@cache
def _worker() -> ThreadPoolExecutor:
    # One thread: matchers of a batch share caches of their grammar, and two cores have the forward to run.
    return ThreadPoolExecutor(1, thread_name_prefix="afterlogits-grammar")
