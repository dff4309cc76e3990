"""A forked process waits for no lock that a thread of its parent held."""

import os

import pytest

from afterlogits.decoding.options.forkable_lock import forkable_lock
from tests.builders.forks import held_by_a_thread, status_of_fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")


@pytest.mark.parametrize("reentrant", [False, True])
def test_locks_are_free_in_a_fork_and_held_in_its_parent(reentrant: bool) -> None:
    lock = forkable_lock(reentrant=reentrant)

    def taken() -> None:
        assert lock.acquire(timeout=5)
        lock.release()

    with held_by_a_thread(lock):
        assert status_of_fork(taken) == 0
        assert not lock.acquire(blocking=False)
    assert lock.acquire(blocking=False)
