"""Greedy choice inside a grammar a row, without a pass over the logits for the masks.

The token is that of a mask and an argmax after it, the first of equals; most rows need no mask for it. A forced token
is the only one allowed. Elsewhere the largest logits are tried from the top: in the groups of neighbours with the
largest maxima stands every logit above the maximum of the next group, so the first of these that the grammar allows is
the best of all that it allows. Only where it allows none of them is a mask made; a row that needed one is given one
ahead of time, on the other thread, until one of these serves it again. Where a mask is known from before, the best of
what it allows is taken straight from these logits, or from among the largest where they are many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

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

_LEADERS = (16, 64)  # groups with the largest maxima, whose largest logits are tried; more where few are allowed
_WIDTH, _LARGE = 128, 2**14  # logits to a group, from this vocabulary on


class Outlook(NamedTuple):
    """What is known of a row's next token before its logits: the only one, or a mask, or nothing but the matcher.

    bits: the mask, int32 [W]. tokens: what it allows, where that is little. floor: the mask as what each
    logit's bits must be at least, uint32 [V], where it stays.
    """

    history: TokenHistory
    forced: int | None = None
    bits: Array | None = None
    tokens: Array | None = None
    floor: Array | None = None

    @property
    def reads(self) -> bool:
        """Whether the row's largest logits are looked at."""
        return self.forced is None and self.tokens is None and self.floor is None

    def best(self, row: Array) -> int | None:
        """The token of logits [V], or None where nothing that is known says it."""
        if self.forced is not None:
            # Where an earlier stage forbids it nothing is left, and the first of all tokens wins: see the mask.
            return None if row[self.forced] == -math.inf else self.forced
        if self.tokens is None or not self.tokens.size:
            return None
        token = int(self.tokens[row.take(self.tokens, mode="clip").argmax()])
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
        self._floors = _Floors()
        self._listing = False  # whether most rows did not take their largest logit at the last step

    def choose(self, logits: Tensor, outlooks: Sequence[Outlook | None]) -> Tensor:
        """The tokens int64 [N] for logits [N, V], which may be written into."""
        logits = logits.contiguous() if logits.device.type == "cpu" else logits
        tokens = self._among_largest(logits, outlooks) if on_host(logits) else None
        if tokens is None:
            return masked_choice(logits, outlooks)
        host: Array = logits.numpy()
        self._floors.take(host, outlooks, tokens)
        for row, outlook in enumerate(outlooks):
            if outlook is None or tokens[row] is not None:
                continue
            if not outlook.reads:
                tokens[row] = outlook.best(host[row])
            if tokens[row] is None:
                outlook.history.likely = False
                tokens[row] = int(masked_choice(logits[row : row + 1], [outlook]))
        return torch.from_numpy(np.array(tokens, dtype=np.int64))  # torch.tensor takes 60 us for a list

    def _among_largest(self, logits: Tensor, outlooks: Sequence[Outlook | None]) -> list[int | None] | None:
        """The tokens of the rows that are read and have one among their largest logits.

        None where a row has NaN, an infinite logit, or nothing else than -inf.
        """
        tokens: list[int | None] = [None] * len(outlooks)
        reads = [row for row, outlook in enumerate(outlooks) if outlook is None or outlook.reads]
        if not reads:
            return tokens
        try:
            read = GroupMaxima(logits, _LEADERS[0], width=_WIDTH if logits.shape[1] >= _LARGE else None)
        except ValueError:
            return None
        others = [(row, outlook) for row in reads if (outlook := outlooks[row]) is not None]
        if not self._listing or len(others) < len(reads):
            others = self._take_tops(read, outlooks, reads, tokens)
        deep = _take_leading(read, others, tokens) if others else 0
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


class _Floors:
    """Largest logits above floors, in a room that stays: a large array that is freed at every step has the allocator
    give the memory of the logits back too, and each step fetch its pages anew."""

    def __init__(self) -> None:
        self._room: Array = np.empty(0, dtype=np.float32)

    def take(self, host: Array, outlooks: Sequence[Outlook | None], tokens: list[int | None]) -> None:
        """Take the tokens of rows of logits [N, V] that have floors.

        One row after the other, which stays in the cache between the two operations. On one thread: another one takes
        turns with those that torch keeps busy waiting, and was slower.
        """
        floors = {row: outlook.floor for row, outlook in enumerate(outlooks) if outlook and outlook.floor is not None}
        if floors and len(self._room) != host.shape[1]:
            self._room = np.empty(host.shape[1], dtype=np.float32)
        bits, largest = self._room.view(np.uint32), host.view(np.uint32)
        for row, floor in sorted(floors.items(), key=lambda one: id(one[1])):  # rows of one mask find it in the cache
            np.maximum(largest[row], floor, out=bits)  # as ``bitmask.put``
            best = int(self._room.argmax())
            # A NaN may be a forbidden one; where nothing is allowed the first of all tokens wins: see the mask.
            tokens[row] = best if self._room[best] > -math.inf else None


def _take_leading(read: GroupMaxima, others: Sequence[tuple[int, Outlook]], tokens: list[int | None]) -> int:
    """Take the first token that is allowed among a row's largest; returns in how many rows that is not the largest."""
    deep, asked = 0, [0] * len(others)
    for most in _LEADERS:
        left, begins = [], []
        for (row, outlook), begin, listed in zip(others, asked, _leading(read, others, most), strict=True):
            found = outlook.first(listed[begin:])
            outlook.history.likely = found is not None
            if found is None:
                left.append((row, outlook))
                begins.append(len(listed))  # a longer list begins with this one
            else:
                tokens[row] = listed[begin + found]
                deep += begin + found > 0
        others, asked = left, begins
        if not others:
            break
    return deep + len(others)


def _leading(read: GroupMaxima, others: Sequence[tuple[int, Outlook]], most: int) -> list[list[int]]:
    """The largest logits' tokens of some rows, largest first, equals by their token ids: of the ``most`` groups that
    lead, what is above the largest logit of the next group, and so of all groups behind them."""
    rows, count = np.array([row for row, _ in others]), min(most, read.maxima.shape[1] - 1)
    maxima, columns = (part.numpy() for part in read.maxima[torch.from_numpy(rows)].topk(count + 1))
    groups = read.groups(rows.repeat(count), columns[:, :-1].reshape(-1)).reshape(len(rows), -1)
    # On one axis numpy finds what is set five times faster.
    line, place = np.divmod((groups > maxima[:, -1:]).ravel().nonzero()[0], max(groups.shape[1], 1))
    token_ids = columns[line, place // read.width] * read.width + place % read.width
    token_ids = token_ids[np.lexsort((token_ids, -groups[line, place], line))]
    ends = np.bincount(line, minlength=len(rows)).cumsum().tolist()
    listed = token_ids.tolist()
    return [listed[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


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
            known = history.matcher.known()
            if known is not None:
                outlooks[row] = Outlook(history, bits=known.bits, tokens=known.tokens, floor=known.floor)
                continue
            forced = history.forced()
            outlooks[row] = Outlook(history, forced=forced[0] if forced else None)
            if forced:
                # What follows a forced run, a value behind its key, is unlike what came before it.
                history.likely = False
            elif not (history.likely and history.matcher.quick) or history.matcher.learns:
                masked.append(row)
        return outlooks, masked


def _filled(outlooks: list[Outlook | None], masked: Sequence[int], vocab_size: int) -> list[Outlook | None]:
    """The outlooks with masks for the rows ``masked``."""
    for row in masked:
        outlook = outlooks[row]
        assert outlook is not None
        bits = mask_of(outlook.history, vocab_size)
        known = outlook.history.matcher.known()  # made a moment ago, as far as it is kept
        tokens = few_allowed(bits, vocab_size) if known is None else known.tokens
        outlooks[row] = Outlook(outlook.history, bits=bits, tokens=tokens)
    return outlooks
