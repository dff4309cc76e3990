"""Locks that a forked process finds free: the thread that held one when its parent forked is not there to let it go."""

import os
from threading import Lock, RLock
from typing import Any
from weakref import WeakSet

__all__ = ["forkable_lock"]

_made: WeakSet[Any] = WeakSet()


def forkable_lock(*, reentrant: bool = False) -> Any:
    """A new ``Lock`` (``RLock`` where the thread that holds it may take it again), free in every forked process.

    >>> with forkable_lock() as taken: taken
    True
    """
    lock = RLock() if reentrant else Lock()
    _made.add(lock)
    return lock


def _free_all() -> None:
    for lock in list(_made):
        lock._at_fork_reinit()  # as threading's and logging's own locks are freed


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
