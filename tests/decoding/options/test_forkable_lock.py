"""A forked process waits for no lock that a thread of its parent held."""

import os
import threading

import pytest

from afterlogits.decoding.options.forkable_lock import forkable_lock
from tests.builders.status_of_fork import status_of_fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")


@pytest.mark.parametrize("reentrant", [False, True])
def test_locks_are_free_in_a_fork_and_held_in_its_parent(reentrant: bool) -> None:
    lock = forkable_lock(reentrant=reentrant)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def taken() -> None:
        assert lock.acquire(timeout=5)
        lock.release()

    assert status_of_fork(taken) == 0
    assert not lock.acquire(blocking=False)
    over.set()
    thread.join()
    assert lock.acquire(blocking=False)
