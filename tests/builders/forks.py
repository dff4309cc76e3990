"""A command of the command line in a fork of this process: as alone as a process of its own, started in no time."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from afterlogits.adapters.cli.commands import main


class Fork:
    """A child process. ``stdin``, ``stdout``, ``stderr``: file descriptors to give it in their place, each optional."""

    def __init__(
        self, work: Callable[[], object], stdin: int | None = None, stdout: int | None = None, stderr: int | None = None
    ) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                status = _run(work, [stdin, stdout, stderr])
            finally:
                os._exit(status)

    def wait(self) -> int:
        """The exit status, negative for the signal that killed it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _run(work: Callable[[], object], handles: Sequence[int | None]) -> int:
    torch.set_num_threads(1)  # the parent's threads are not here
    for number, handle in enumerate(handles):
        if handle is not None:
            os.dup2(handle, number)
    os.closerange(3, 256)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: SIM115
    status = work()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status if isinstance(status, int) else 0


def command(*arguments: object, **handles: int) -> Fork:
    """``afterlogits ...`` in a fork."""
    return Fork(lambda: main([str(argument) for argument in arguments]), **handles)


def status_of_fork(work: Callable[[], object]) -> int:
    """The exit status of a fork that does ``work``, negative where it was still at it after 30 seconds."""

    def in_time() -> None:
        signal.alarm(30)
        work()

    return Fork(in_time).wait()


@contextmanager
def held_by_a_thread(lock: AbstractContextManager[Any]) -> Iterator[None]:
    """Within it another thread of this process holds ``lock``."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()
