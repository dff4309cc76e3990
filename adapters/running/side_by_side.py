"""Batches of pictures side by side on the CPU, each on a thread that computes alone.

torch shares every operation out to its threads, which wait for each other at the end of each: 500 times in a pass of a
small model, thousands of times while the classes of its pixels are compared. Where something else runs on the machine
one of them always comes late, and all wait. A batch on a thread of its own waits for nobody.
"""

import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import groupby, pairwise
from threading import Barrier
from typing import Any, TypeVar

import torch

from ...decoding.options.forkable_lock import forkable_lock
from .loaded import Loaded
from .plain_models import passes_side_by_side
from .task import Task

T = TypeVar("T")

MOST_AT_ONCE = 8  # batches; each has its share of torch's threads, and of the machine's memory what a batch takes
LEAST_WORK = 1 << 37  # pixels of a batch * numbers of the model: from some ten milliseconds on
UNEVEN = 1.15  # how much longer than an even share the fullest thread may take

_setting = forkable_lock()


class SideBySide:
    """The threads of one call; they are started when batches are first shared out to them."""

    def __init__(self, task: Task, loaded: Loaded) -> None:
        self._possible = task.side_by_side and loaded.device.type == "cpu"
        self._model = loaded.model
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> "SideBySide":
        return self

    def __exit__(self, *error: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def share(
        self, batches: list[list[int]], pixels: Sequence[int], kinds: Callable[[int], Any]
    ) -> tuple[list[list[int]], int]:
        """The batches to run, and how many of them, the first ones, are better off side by side.

        pixels: of each row. kinds: what rows must have in common to share a batch, by their numbers.
        """
        at_once = min(torch.get_num_threads(), MOST_AT_ONCE)
        if not self._possible or at_once < 2 or not batches or _modes_are_on():
            return batches, 0
        evened = even(batches, kinds, at_once)
        sizes = [sum(pixels[row] for row in batch) for batch in evened]
        number = len(evened) - len(evened) % at_once
        chosen = sizes[:number]
        if not chosen or _fullest(chosen, at_once) * at_once > UNEVEN * sum(chosen):
            return batches, 0
        numbers = sum(each.numel() for each in self._model.parameters())
        if min(chosen) * numbers < LEAST_WORK or not passes_side_by_side(self._model):
            return batches, 0
        return evened, number

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """``work`` on one of the threads, with the caller's context variables."""
        if self._threads is None:
            self._threads = _threads_alone()
        return self._threads.submit(copy_context().run, work)


def _threads_alone() -> ThreadPoolExecutor:
    """Threads that have been started and share torch's threads out among them; those of others have as many as before.

    torch keeps the number for each thread, and the last one that was set for threads that have not asked yet.
    """
    with _setting:
        whole = torch.get_num_threads()
        count = min(whole, MOST_AT_ONCE)
        together = Barrier(count)

        def take_share() -> None:
            torch.get_num_threads()  # a thread takes the common number at its first question, and would lose its own
            torch.set_num_threads(whole // count)
            together.wait()  # so that each is asked of a thread of its own

        threads = ThreadPoolExecutor(count, "afterlogits-batch")
        try:
            for started in [threads.submit(take_share) for _ in range(count)]:
                started.result()
        except BaseException:
            together.abort()
            raise
        finally:
            torch.set_num_threads(whole)
    return threads


def even(batches: Sequence[list[int]], kinds: Callable[[int], Any], at_once: int) -> list[list[int]]:
    """The same rows in batches no larger, those of one kind in as many times ``at_once`` as their rows allow.

    >>> even([[0, 1, 2], [3], [4, 5]], lambda row: row > 3, 2)
    [[0, 1], [2, 3], [4], [5]]
    """
    found = []
    for _, run in groupby(batches, key=lambda batch: kinds(batch[0])):
        alike = list(run)
        rows = [row for batch in alike for row in batch]
        count = min(-(-len(alike) // at_once) * at_once, len(rows))
        ends = [len(rows) * part // count for part in range(count + 1)]
        found += [rows[first:last] for first, last in pairwise(ends)]
    return found


def _fullest(pixels: Sequence[int], threads: int) -> int:
    """What the thread with the most gets where each batch goes to the thread that is free first."""
    shares = [0] * threads
    for each in pixels:
        heapq.heapreplace(shares, shares[0] + each)
    return max(shares)


def _modes_are_on() -> bool:
    """Whether the caller's thread computes in a way that another thread would not know of."""
    stacks = torch._C._len_torch_function_stack() + torch._C._len_torch_dispatch_stack()
    return bool(stacks) or torch.is_autocast_enabled("cpu")
