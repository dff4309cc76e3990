"""Greedy choice inside a grammar a row, without a pass over the logits for the masks.

The token is that of a mask and an argmax after it, the first of equals; most rows need no mask for it. A forced token
is the only one allowed. Elsewhere the largest logits are tried from the top: all of them from some bound up are listed,
so that the first one the grammar allows is the best of all that it allows. Only where it allows none of the list is a
mask made; a row that needed one is given one ahead of time, on the other thread, until a listed token serves it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..kernels.large_logits import GroupMaxima
from ..options.numpy_or_torch import Array
from .bitmask import allowed, few_allowed, mask_tokens_, on_host
from .grammar_step import GrammarRows
from .token_history import GrammarMatcher, TokenHistory

__all__ = ["GreedyGrammar"]

_LISTED = 32  # of the largest logits of a row, at least so many are tried
_WIDTH, _LARGE = 128, 2**14  # logits to a group, from this vocabulary on


@dataclass(frozen=True)
class _Outlook:
    """What is known of a row's next token before its logits: the only one, or a mask, or nothing but the matcher.

    bits: the mask, int32 [W]. tokens: what it allows, where that is little.
    """

    history: TokenHistory
    forced: int | None = None
    bits: Array | None = None
    tokens: Array | None = None

    @property
    def reads(self) -> bool:
        """Whether the row's largest logits are looked at."""
        return self.forced is None and self.tokens is None

    def best(self, row: Array) -> int | None:
        """The token of logits [V], or None where nothing that is known says it."""
        if self.forced is not None:
            return None if row[self.forced] == -math.inf else self.forced
        if self.tokens is None or not self.tokens.size:
            return None
        token = int(self.tokens[row.take(self.tokens).argmax()])
        return None if row[token] == -math.inf else token

    def first(self, token_ids: Array) -> int | None:
        """The place of the first token that is allowed, or None."""
        if self.bits is not None:
            found = allowed(self.bits, token_ids)
            return int(found.argmax()) if found.any() else None
        allows = self.history.matcher.allows
        return next((place for place, token_id in enumerate(token_ids.tolist()) if allows(token_id)), None)


class GreedyGrammar(GrammarRows[list["_Outlook | None"]]):
    """The most probable token that each row's grammar allows: ``first_argmax`` of the masked logits.

    matchers: one a row, None for a row that is free. masks: how many have been made, by either thread.
    """

    def __init__(self, matchers: Sequence[GrammarMatcher | None], vocab_size: int) -> None:
        super().__init__(matchers)
        self.vocab_size = vocab_size
        self.masks = 0

    def choose(self, logits: Tensor) -> Tensor:
        """The tokens int64 [N] for logits [N, V], which may be written into."""
        outlooks = self._found()
        logits = logits.contiguous() if logits.device.type == "cpu" else logits
        if not on_host(logits):
            return self._masked(logits, outlooks)
        reads = [row for row, outlook in enumerate(outlooks) if outlook is None or outlook.reads]
        tokens: list[int | None] = [None] * len(outlooks)
        if reads:
            try:
                read = GroupMaxima(logits, _LISTED, width=_WIDTH if self.vocab_size >= _LARGE else None)
            except ValueError:  # a row of infinite logits or with NaN
                return self._masked(logits, outlooks)
            self._try_largest(read, outlooks, reads, tokens)
        host: Array = logits.numpy()
        for row, outlook in enumerate(outlooks):
            if outlook is not None and not outlook.reads:
                tokens[row] = outlook.best(host[row])
        self._choose_masked(logits, outlooks, tokens)
        return torch.tensor(tokens)

    def _choose_masked(self, logits: Tensor, outlooks: Sequence[_Outlook | None], tokens: list[int | None]) -> None:
        """By their masks, the tokens of the rows that have none yet: none of their largest logits was allowed."""
        for row, outlook in enumerate(outlooks):
            if tokens[row] is None:
                assert outlook is not None
                outlook.history.likely = False
                tokens[row] = int(self._masked(logits[row : row + 1], [outlook]))

    def _try_largest(
        self,
        read: GroupMaxima,
        outlooks: Sequence[_Outlook | None],
        reads: Sequence[int],
        tokens: list[int | None],
    ) -> None:
        """The tokens of the rows ``reads`` that are among their largest logits."""
        best = read.first().numpy()
        others: list[tuple[int, _Outlook]] = []
        for row in reads:
            outlook = outlooks[row]
            if outlook is None or outlook.first(best[row : row + 1]) is not None:
                tokens[row] = int(best[row])
            else:
                others.append((row, outlook))
            if outlook is not None:
                outlook.history.likely = True
        if not others:
            return
        floor, places = np.full_like(read.top, np.inf), [row for row, _ in others]
        floor[places] = read.floor()[places]
        large = read.listed(floor)
        for row, outlook in others:
            count = int(np.count_nonzero(large.values[row] > -np.inf))
            values, token_ids = large.values[row, :count], large.token_ids[row, :count]
            place = outlook.first(token_ids)
            if place is not None:
                equal = np.sort(token_ids[values == values[place]])  # all of them are listed
                tokens[row] = int(equal[outlook.first(equal)] if equal.size > 1 else equal[0])

    def _look(self) -> list[_Outlook | None]:
        return [None if one is None or not one.constrains else self._outlook(one) for one in self.rows]

    def _outlook(self, history: TokenHistory) -> _Outlook:
        forced = history.forced()
        if forced:
            history.likely = False
            return _Outlook(history, forced=forced[0])
        if history.likely and history.matcher.quick:
            return _Outlook(history)
        bits = self._bits(history)
        return _Outlook(history, bits=bits, tokens=few_allowed(bits, self.vocab_size))

    def _bits(self, history: TokenHistory) -> Array:
        self.masks += 1
        bits = torch.zeros((1, (self.vocab_size + 31) // 32), dtype=torch.int32)
        history.matcher.fill(bits, 0)
        return bits[0].numpy()

    def _masked(self, logits: Tensor, outlooks: Sequence[_Outlook | None]) -> Tensor:
        """The tokens of logits [N, V] by masks for all rows that have a grammar."""
        rows = [row for row, outlook in enumerate(outlooks) if outlook is not None]
        if rows:
            bits = [self._bits(one.history) if one.bits is None else one.bits for one in outlooks if one is not None]
            mask_tokens_(logits, torch.from_numpy(np.stack(bits)), rows=rows)
        return first_argmax(logits)
