"""A piece of work in a fork of this process, and how it ended."""

import os
import signal
from collections.abc import Callable


def status_of_fork(work: Callable[[], object]) -> int:
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
