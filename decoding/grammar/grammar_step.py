"""A grammar a row through a loop: masks made on another thread while the forward runs, rows that part and end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..options.numpy_or_torch import Array
from .bitmask import Kept, inside, mask_tokens_, often_allowed, on_host, prepared, put
from .known_masks import KnownMask
from .token_history import GrammarMatcher, TokenHistory

__all__ = ["GrammarRows", "GrammarStep", "go_on_together"]

Found = TypeVar("Found")


class GrammarRows(Generic[Found]):
    """A matcher a row, None for a row that is free, that goes where the row's tokens go.

    From ``advance`` and ``select_rows`` on, ``_look`` finds what the next step needs, on another thread, while the
    caller runs the model; ``_found`` waits for it. A row whose grammar has ended is free: what follows its end token is
    padding. jumps: whether ``certain`` will be asked after every ``advance``. together: whether this work is put off
    until ``go_on_together`` begins it with that of others: handing over each by itself would take longer than it does.
    """

    def __init__(self, matchers: Sequence[GrammarMatcher | None]) -> None:
        self.rows = [None if matcher is None else TokenHistory(matcher) for matcher in matchers]
        self.jumps = self.together = False
        self._put_off: Callable[[], Found | None] | None = None
        self._coming: Future[Found | None] | None = None
        self._certain: Future[list[int | None] | None] = Future()

    def begin(self) -> None:
        """Begin the work for the first step."""
        self._begin(self._look)

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to every row: token_ids [N]. Reads them; the work for the next step is begun."""
        self._wait()
        self._certain = Future()
        tokens = token_ids.tolist()
        if not (self.jumps and self.together):
            self._begin(partial(self._go_on, tokens, self._certain))
        elif self._accept(tokens, self._certain) is None:  # what is certain is asked before the work begins
            self._begin(self._look)

    def taken_over(self) -> tuple[Callable[[], Found | None], Future[Found | None]] | None:
        """The work that was put off, for who promises to do it and to tell the future what was found."""
        if self._put_off is None:
            return None
        work, self._put_off, self._coming = self._put_off, None, Future()
        return work, self._coming

    def certain(self) -> list[int | None] | None:
        """The next token of each row, None for one that has ended; None where a row has a choice, free rows too.

        Heard as soon as the other thread knows it, which goes on to what else the step needs.
        """
        if not self.jumps:
            return None
        if not self._certain.done():
            _do(self.taken_over())
        return self._certain.result()

    def select_rows(self, rows: Tensor) -> None:
        """Make row i continue what was row ``rows[i]``."""
        # Beams change places between a choice and the tokens it made: what comes next is looked for after those.
        told = self._coming is not None or self._put_off is not None
        self._wait()
        taken: set[int] = set()
        chosen: list[TokenHistory | None] = []
        for row in rows.tolist():
            one = self.rows[row]
            # The first to go on with a row takes its matcher along; only others need a copy.
            chosen.append(one if one is None or row not in taken else one.fork())
            taken.add(row)
        self.rows = chosen
        if told:
            self.begin()

    def forced(self) -> list[Sequence[int]]:
        """The tokens that certainly come next, a row each."""
        self._wait()
        return [() if one is None or not one.constrains else one.forced() for one in self.rows]

    def _look(self) -> Found:
        raise NotImplementedError

    def _begin(self, work: Callable[[], Found | None]) -> None:
        if self.together:
            self._put_off = work
        else:
            self._coming = worker().submit(work)

    def _found(self) -> Found:
        """What ``_look`` found for this step."""
        _do(self.taken_over())
        found = None if self._coming is None else self._coming.result()
        self._coming = None
        return self._look() if found is None else found

    def _wait(self) -> None:
        _do(self.taken_over())
        if self._coming is not None:
            self._coming.result()
            self._coming = None

    def _go_on(self, tokens: Sequence[int], certain: Future[list[int | None] | None]) -> Found | None:
        """Accept the tokens and look further; not where every row's next token is certain, for it will be taken."""
        try:
            following = self._accept(tokens, certain)
        finally:
            # Whatever was raised is raised again by ``_found``; who asks what is certain must not wait for ever.
            if not certain.done():
                certain.set_result(None)
        return self._look() if following is None else None

    def _accept(self, tokens: Sequence[int], certain: Future[list[int | None] | None]) -> list[int | None] | None:
        """Accept a token a row; what follows for certain is told before this returns, a choice where it is met."""
        following: list[int | None] | None = [] if self.jumps else None
        for one, token_id in zip(self.rows, tokens, strict=True):
            if one is not None:
                one.accept(token_id)
            if following is None:
                continue
            if one is not None and one.matcher.ended:
                following.append(None)
            elif one is not None and not one.stray and one.forced():
                following.append(one.forced()[0])
            else:
                following = None
                certain.set_result(None)
        if following is not None:
            certain.set_result(following)
        return following


class GrammarStep(GrammarRows[list[int]]):
    """Masks the logits of each row by its grammar; a step of a loop, see ``chain.LogitsStep``.

    matchers: one a row, None for a row that is free.
    Masks are made on another thread, and what is written into the logits is prepared there. A loop that needs a few
    tokens of each row may ask about them instead, best first (``asks``, ``allows``); where that fails it masks.
    """

    def __init__(self, matchers: Sequence[GrammarMatcher | None], vocab_size: int) -> None:
        super().__init__(matchers)
        self.vocab_size = vocab_size
        self._bitmask = torch.zeros((len(self.rows), (vocab_size + 31) // 32), dtype=torch.int32, device="cpu")
        self._on_host = False  # whether the thread also prepares what is written into the logits
        self._prepared: list[Array | Kept | None] = []
        self._known: list[KnownMask | None] = []
        self._rooms: dict[int, Array] = {}
        self._quick = all(one is None or one.quick for one in matchers)
        self._asked, self._often, self._masked = False, self._quick, False

    def asks(self) -> bool:
        """Whether the rows are to be asked about single tokens: where a good part of all was allowed of late."""
        self._asked = True
        if self._often:
            self._found()
        return self._often

    def allows(self, row: int, token_id: int) -> bool:
        """Whether a row may go on with a token; after ``asks``."""
        one = self.rows[row]
        if one is None or not one.constrains:
            return True
        known = one.matcher.known()
        if known is not None:
            return known.allows(token_id)
        forced = one.forced()
        return token_id == forced[0] if forced else one.matcher.allows(token_id)

    def apply(self, logits: Tensor) -> Tensor:
        """Mask the logits [N, V] in place."""
        rows = self._found()
        if not self._masked:  # the rows were asked, in vain
            self._often = False
            rows = self._look()
        if not rows:
            return logits
        if not on_host(logits):
            return mask_tokens_(logits, self._bitmask[: len(rows)], rows=rows)
        if not self._on_host:
            self._on_host = True
            self._prepare(len(rows))
        # As bits: -inf is written over the float's own memory, without a float operation.
        host = logits.numpy().view(np.uint32)
        for row, mask in zip(rows, self._prepared, strict=True):
            put(host[row], mask)
        return logits

    def _look(self) -> list[int]:
        """Masks for the rows that have a say, one after the other; returns these rows."""
        rows = [row for row, one in enumerate(self.rows) if one is not None and one.constrains]
        self._masked = not (self._asked and self._often)
        if not self._masked:
            return rows
        if self._bitmask.shape[0] < len(rows):
            self._bitmask = self._bitmask.new_zeros((len(rows), self._bitmask.shape[1]))
        self._known = []
        for place, row in enumerate(rows):
            one = self.rows[row]
            assert one is not None
            one.matcher.fill(self._bitmask, place)
            self._known.append(one.matcher.known())
        if self._on_host:
            self._prepare(len(rows))
        if self._asked and self._quick:
            self._often = often_allowed(self._bitmask[: len(rows)].numpy())
        return rows

    def _prepare(self, count: int) -> None:
        """Find what to write into the logits of ``count`` rows, in memory that is used again at every step."""
        bits = inside(self._bitmask[:count].numpy(), self.vocab_size)
        for place in range(len(self._rooms), count):
            self._rooms[place] = np.empty((bits.shape[1] * 4, 8), dtype=np.uint32)
        self._prepared = [
            prepared(bits[place], self._rooms[place], self.vocab_size) if known is None else known.written
            for place, known in enumerate(self._known)
        ]


def go_on_together(rules: Iterable[GrammarRows[Any]]) -> None:
    """Begin the work that ``rules`` have put off, all of it at once."""
    jobs = [job for rule in rules if (job := rule.taken_over()) is not None]
    if jobs:
        worker().submit(_do, *jobs)


def _do(*jobs: tuple[Callable[[], Any], Future[Any]] | None) -> None:
    """Do work and tell who waits for it, of what it raises too."""
    for job in jobs:
        if job is None:
            continue
        work, future = job
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)


def done(found: Found) -> Future[Found]:
    """What was found already, for who waits for it."""
    future: Future[Found] = Future()
    future.set_result(found)
    return future


def has_spare_core() -> bool:
    """Whether torch leaves a core of this process to other threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return torch.get_num_threads() < cores


@cache
def worker() -> ThreadPoolExecutor:
    """The thread that makes masks."""
    # One thread: matchers of a batch share caches of their grammar, and two cores have the forward to run.
    return ThreadPoolExecutor(1, thread_name_prefix="afterlogits-grammar")


if hasattr(os, "register_at_fork"):  # a forked process has no threads but the one that forked
    os.register_at_fork(after_in_child=worker.cache_clear)
