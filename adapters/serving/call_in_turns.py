"""A long call, such as beams, that gives way after every step: it has a thread of its own, and the model in turns."""

import threading
from collections.abc import Callable
from typing import Any

from ..generation.turns import between_steps


class _GivenUp(BaseException):
    """Ends a call that nobody waits for. Not an Exception: nothing in between may take it for a failed input."""


class CallInTurns:
    """``work()`` in slices: it runs only while ``advance`` waits for it, up to the next step of its decoding.

    So there is never more than one thread in the model, as if ``work`` were a generator. A call whose loop is not this
    engine's own has no steps, and runs in one slice. wanted: asked at every step; where it says no, the call ends there
    with ``given_up``.
    """

    def __init__(self, work: Callable[[], Any], wanted: Callable[[], bool] = lambda: True) -> None:
        self._work, self._wanted = work, wanted
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = self.given_up = False
        self._thread = threading.Thread(target=self._run, name="afterlogits-in-turns", daemon=True)
        self._thread.start()

    def advance(self) -> bool:
        """Let the call go on until it gives way; whether it has ended."""
        if not self.done:
            self._go.release()
            self._back.acquire()
        return self.done

    # The call's thread.

    def _run(self) -> None:
        """The thread: works whenever it has the turn, keeps its result or error, and gives the turn back at the end."""
        self._go.acquire()
        try:
            with between_steps(self._give_way):
                self.result = self._work()
        except _GivenUp:
            self.given_up = True
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self._back.release()

    def _give_way(self) -> None:
        self._back.release()
        self._go.acquire()
        if not self._wanted():
            raise _GivenUp
