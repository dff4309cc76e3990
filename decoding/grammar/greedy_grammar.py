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
            # Where an earlier stage forbids it nothing is left, and the first of all tokens wins: see the mask.
            return None if row[self.forced] == -math.inf else self.forced
        if self.tokens is None or not self.tokens.size:
            return None
        token = int(self.tokens[row.take(self.tokens).argmax()])
        return None if row[token] == -math.inf else token

    def first(self, token_ids: Sequence[int]) -> int | None:
        """The place of the first token that is allowed, or None."""
        if self.bits is not None:
            found = allowed(self.bits, np.asarray(token_ids, dtype=np.int64))
            return int(found.argmax()) if found.any() else None
        allows = self.history.matcher.allows
        for place, token_id in enumerate(token_ids):
            if allows(token_id):
                return place
        return None

    def largest(self, values: Sequence[float], token_ids: Sequence[int]) -> tuple[int | None, int | None]:
        """The place and the token of the largest that is allowed, the first of equals; Nones where none of them is.

        values: largest first, all of the row from some bound up.
        """
        place = self.first(token_ids)
        if place is None:
            return None, None
        if place + 1 == len(values) or values[place + 1] < values[place]:
            return place, token_ids[place]
        equal = sorted(token for value, token in zip(values, token_ids, strict=True) if value == values[place])
        first = self.first(equal)
        assert first is not None
        return place, equal[first]


class GreedyGrammar(GrammarRows[list["_Outlook | None"]]):
    """The most probable token that each row's grammar allows: ``first_argmax`` of the masked logits.

    matchers: one a row, None for a row that is free. masks: how many have been made, by either thread.
    """

    def __init__(self, matchers: Sequence[GrammarMatcher | None], vocab_size: int) -> None:
        super().__init__(matchers)
        self.vocab_size = vocab_size
        self.masks = 0
        self._listing = False  # whether most rows did not take their largest logit at the last step

    def choose(self, logits: Tensor) -> Tensor:
        """The tokens int64 [N] for logits [N, V], which may be written into."""
        outlooks = self._found()
        logits = logits.contiguous() if logits.device.type == "cpu" else logits
        tokens = self._among_largest(logits, outlooks) if on_host(logits) else None
        if tokens is None:
            return self._masked(logits, outlooks)
        host: Array = logits.numpy()
        for row, outlook in enumerate(outlooks):
            if outlook is None or tokens[row] is not None:
                continue
            if not outlook.reads:
                tokens[row] = outlook.best(host[row])
            if tokens[row] is None:
                outlook.history.likely = False
                tokens[row] = int(self._masked(logits[row : row + 1], [outlook]))
        return torch.tensor(tokens)

    def _among_largest(self, logits: Tensor, outlooks: Sequence[_Outlook | None]) -> list[int | None] | None:
        """The tokens of the rows that are read and have one among their largest logits.

        None where a row has NaN, an infinite logit, or nothing else than -inf.
        """
        tokens: list[int | None] = [None] * len(outlooks)
        reads = [row for row, outlook in enumerate(outlooks) if outlook is None or outlook.reads]
        if not reads:
            return tokens
        try:
            read = GroupMaxima(logits, _LISTED, width=_WIDTH if self.vocab_size >= _LARGE else None)
        except ValueError:
            return None
        others = [(row, outlook) for row in reads if (outlook := outlooks[row]) is not None]
        if not self._listing or len(others) < len(reads):
            others = self._take_tops(read, outlooks, reads, tokens)
        deep = self._take_listed(read, others, tokens) if others else 0
        self._listing = 2 * deep > len(reads)
        return tokens

    def _take_tops(
        self, read: GroupMaxima, outlooks: Sequence[_Outlook | None], rows: Sequence[int], tokens: list[int | None]
    ) -> list[tuple[int, _Outlook]]:
        """Take the largest logit of each of ``rows`` where it is allowed; returns the rows where it is not."""
        best, others = read.first().tolist(), []
        for row in rows:
            outlook = outlooks[row]
            if outlook is None:
                tokens[row] = best[row]
            elif outlook.first(best[row : row + 1]) is None:
                others.append((row, outlook))
            else:
                tokens[row], outlook.history.likely = best[row], True
        return others

    def _take_listed(self, read: GroupMaxima, others: Sequence[tuple[int, _Outlook]], tokens: list[int | None]) -> int:
        """Take the largest listed logit that is allowed; returns in how many rows that is not the largest of all."""
        floor, rows = np.full_like(read.top, np.inf), [row for row, _ in others]
        floor[rows] = read.floor()[rows]
        large = read.listed(floor)
        counts = (large.values > -np.inf).sum(1).tolist()
        values, token_ids, deep = large.values.tolist(), large.token_ids.tolist(), 0
        for row, outlook in others:
            count = counts[row]
            place, tokens[row] = outlook.largest(values[row][:count], token_ids[row][:count])
            outlook.history.likely = place is not None
            deep += place != 0
        return deep

    def _look(self) -> list[_Outlook | None]:
        return [None if one is None or not one.constrains else self._outlook(one) for one in self.rows]

    def _outlook(self, history: TokenHistory) -> _Outlook:
        forced = history.forced()
        if forced:
            # What follows a forced run, a value behind its key, is unlike what came before it.
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
