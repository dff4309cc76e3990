"""A forked process waits for no lock that a thread of its parent held."""

import os
import signal
import threading

import pytest

from afterlogits import pipeline
from afterlogits.adapters.running.forks import forkable_lock
from afterlogits.adapters.running.tokenising import lock_of
from tests.builders.text_models import tiny_model, wordpiece

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")


def status_of_fork(work) -> int:
    """The exit status of a fork that does ``work``, negative where it was still at it after 30 seconds."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        status = 70
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


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


def test_a_pipeline_answers_in_a_fork_while_a_thread_of_the_parent_encodes() -> None:
    tokenizer = wordpiece()
    pipe = pipeline("token-classification", model=tiny_model("token-classification", tokenizer), tokenizer=tokenizer)
    expected = pipe(["Ada works in Paris."] * 2)
    held, over = threading.Event(), threading.Event()

    def encode() -> None:
        with lock_of(pipe.tokenizer):
            held.set()
            over.wait()

    thread = threading.Thread(target=encode)
    thread.start()
    held.wait()

    def answer() -> None:
        assert pipe(["Ada works in Paris."] * 2) == expected

    status = status_of_fork(answer)
    over.set()
    thread.join()
    assert status == 0
