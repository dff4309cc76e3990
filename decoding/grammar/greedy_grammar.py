"""Greedy choice inside a grammar a row, without a pass over the logits for the masks.

The token is that of a mask and an argmax after it, the first of equals; most rows need no mask for it. A forced token
is the only one allowed. Elsewhere the largest logits are tried from the top: first those that lead the groups of
neighbours with the largest maxima, then, where one stands behind a leader or is equal to it, all from some bound up; so
the first one the grammar allows is the best of all that it allows. Only where it allows none of the list is a mask
made; a row that needed one is given one ahead of time, on the other thread, until a listed token serves it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..kernels.large_logits import GroupMaxima
from ..options.numpy_or_torch import Array
from .bitmask import allowed, few_allowed, mask_tokens_, on_host
from .grammar_step import GrammarRows, done, has_spare_core
from .token_history import GrammarMatcher, TokenHistory

__all__ = ["GreedyChoice", "GreedyGrammar", "Outlook"]

_LEADERS = 16  # of the groups of a row, the largest logits of so many are tried first
_LISTED = 32  # of the largest logits of a row, at least so many are tried
_WIDTH, _LARGE = 128, 2**14  # logits to a group, from this vocabulary on


@dataclass(frozen=True)
class Outlook:
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

    def mask(self, vocab_size: int) -> Array:
        """The mask, made now where there is none yet."""
        return mask_of(self.history, vocab_size) if self.bits is None else self.bits


def mask_of(history: TokenHistory, vocab_size: int) -> Array:
    """Which tokens may come next, int32 [W]."""
    bits = torch.zeros((1, (vocab_size + 31) // 32), dtype=torch.int32, device="cpu")
    history.matcher.fill(bits, 0)
    return bits[0].numpy()


class GreedyChoice:
    """The most probable token of each row that its outlook allows; None stands for a row that is free."""

    def __init__(self) -> None:
        self._listing = False  # whether most rows did not take their largest logit at the last step

    def choose(self, logits: Tensor, outlooks: Sequence[Outlook | None]) -> Tensor:
        """The tokens int64 [N] for logits [N, V], which may be written into."""
        logits = logits.contiguous() if logits.device.type == "cpu" else logits
        tokens = self._among_largest(logits, outlooks) if on_host(logits) else None
        if tokens is None:
            return masked_choice(logits, outlooks)
        host: Array = logits.numpy()
        for row, outlook in enumerate(outlooks):
            if outlook is None or tokens[row] is not None:
                continue
            if not outlook.reads:
                tokens[row] = outlook.best(host[row])
            if tokens[row] is None:
                outlook.history.likely = False
                tokens[row] = int(masked_choice(logits[row : row + 1], [outlook]))
        return torch.tensor(tokens, device="cpu")

    def _among_largest(self, logits: Tensor, outlooks: Sequence[Outlook | None]) -> list[int | None] | None:
        """The tokens of the rows that are read and have one among their largest logits.

        None where a row has NaN, an infinite logit, or nothing else than -inf.
        """
        tokens: list[int | None] = [None] * len(outlooks)
        reads = [row for row, outlook in enumerate(outlooks) if outlook is None or outlook.reads]
        if not reads:
            return tokens
        try:
            read = GroupMaxima(logits, _LISTED, width=_WIDTH if logits.shape[1] >= _LARGE else None)
        except ValueError:
            return None
        others = [(row, outlook) for row in reads if (outlook := outlooks[row]) is not None]
        if not self._listing or len(others) < len(reads):
            others = self._take_tops(read, outlooks, reads, tokens)
        deep = 0
        if others and read.maxima.shape[1] > _LEADERS:
            others, deep = _take_leaders(read, others, tokens)
        deep += _take_listed(read, others, tokens) if others else 0
        self._listing = 2 * deep > len(reads)
        return tokens

    def _take_tops(
        self, read: GroupMaxima, outlooks: Sequence[Outlook | None], rows: Sequence[int], tokens: list[int | None]
    ) -> list[tuple[int, Outlook]]:
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


def _take_leaders(
    read: GroupMaxima, others: Sequence[tuple[int, Outlook]], tokens: list[int | None]
) -> tuple[list[tuple[int, Outlook]], int]:
    """Take the first leader that is allowed where nothing can come before it.

    Returns the rows where something may, or no leader is allowed, and in how many of the others a later one was taken.
    """
    rows = torch.tensor([row for row, _ in others], device="cpu")
    maxima, columns = read.maxima[rows].topk(_LEADERS + 1)
    values, found = maxima.numpy(), columns[:, :-1].numpy()
    groups = read.groups(rows.numpy().repeat(_LEADERS), found.reshape(-1))  # [n * L, width]
    places = groups.argmax(1)
    token_ids = (found * read.width + places.reshape(found.shape)).tolist()
    np.put_along_axis(groups, places[:, None], -np.inf, axis=1)
    # What stands behind the leaders so far, and the next leader, must be smaller: equals go by their token ids.
    behind = np.maximum.accumulate(groups.max(1).reshape(found.shape), axis=1)
    sure = (np.maximum(behind, values[:, 1:]) < values[:, :-1]).tolist()
    left, deep = [], 0
    for number, (row, outlook) in enumerate(others):
        place = outlook.first(token_ids[number])
        if place is None or not sure[number][place]:
            left.append((row, outlook))
            continue
        tokens[row], outlook.history.likely = token_ids[number][place], True
        deep += place != 0
    return left, deep


def _take_listed(read: GroupMaxima, others: Sequence[tuple[int, Outlook]], tokens: list[int | None]) -> int:
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


def masked_choice(logits: Tensor, outlooks: Sequence[Outlook | None]) -> Tensor:
    """The tokens of logits [N, V], which are written into, by masks for all rows that have a grammar."""
    rows = [row for row, outlook in enumerate(outlooks) if outlook is not None]
    if rows:
        bits = [one.mask(logits.shape[1]) for one in outlooks if one is not None]
        mask_tokens_(logits, torch.from_numpy(np.stack(bits)), rows=rows)
    return first_argmax(logits)


class GreedyGrammar(GrammarRows[list["Outlook | None"]]):
    """The most probable token that each row's grammar allows: ``first_argmax`` of the masked logits.

    matchers: one a row, None for a row that is free. at_once: whether what costs little is done where tokens come, and
    masks alone on the other thread; so where the model's own threads take every core.
    """

    def __init__(self, matchers: Sequence[GrammarMatcher | None], vocab_size: int) -> None:
        super().__init__(matchers)
        self.vocab_size = vocab_size
        self.at_once = not has_spare_core()
        self._choice = GreedyChoice()

    def choose(self, logits: Tensor) -> Tensor:
        """The tokens int64 [N] for logits [N, V], which may be written into."""
        return self._choice.choose(logits, self.outlooks())

    def outlooks(self) -> list[Outlook | None]:
        """What is known of each row's next token; waited for where it is still being found out."""
        return self._found()

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to every row: token_ids [N]. Reads them; masks for the next step are begun."""
        if not self.at_once or not all(one is None or one.matcher.quick for one in self.rows):
            super().advance(token_ids)
            return
        self._wait()
        self._certain = Future()
        if self._accept(token_ids.tolist(), self._certain) is None:
            outlooks, masked = self._outlooks()
            if masked:
                self._begin(partial(_filled, outlooks, masked, self.vocab_size))
            else:
                self._coming = done(outlooks)

    def _look(self) -> list[Outlook | None]:
        return _filled(*self._outlooks(), self.vocab_size)

    def _outlooks(self) -> tuple[list[Outlook | None], list[int]]:
        """What is known without a mask, and the rows that need one."""
        outlooks: list[Outlook | None] = [None] * len(self.rows)
        masked = []
        for row, history in enumerate(self.rows):
            if history is None or not history.constrains:
                continue
            forced = history.forced()
            outlooks[row] = Outlook(history, forced=forced[0] if forced else None)
            if forced:
                # What follows a forced run, a value behind its key, is unlike what came before it.
                history.likely = False
            elif not (history.likely and history.matcher.quick):
                masked.append(row)
        return outlooks, masked


def _filled(outlooks: list[Outlook | None], masked: Sequence[int], vocab_size: int) -> list[Outlook | None]:
    """The outlooks with masks for the rows ``masked``."""
    for row in masked:
        outlook = outlooks[row]
        assert outlook is not None
        bits = mask_of(outlook.history, vocab_size)
        outlooks[row] = Outlook(outlook.history, bits=bits, tokens=few_allowed(bits, vocab_size))
    return outlooks
