"""Signals that end a job: all of them like Ctrl-C, so that what is done is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import Stopped

# Set as soon as a signal came: readers that wait for input look at it.
stop_requested = threading.Event()
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def stopping() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise Stopped while this lasts. One that is ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop_requested.clear()
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: Any) -> None:
    stop_requested.set()
    raise Stopped(number)
