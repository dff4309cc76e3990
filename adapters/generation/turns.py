"""Decoding that lets others take a turn on the same model: asked before every forward after the prompt's.

Only whoever runs several calls on one model at once, a thread each, has something to do there; see
``serving.call_in_turns``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_between: ContextVar[Callable[[], None] | None] = ContextVar("between_steps", default=None)


@contextmanager
def between_steps(act: Callable[[], None]) -> Iterator[None]:
    """Within, in this thread, ``act`` is called before every step of a loop of this engine. What it raises ends it."""
    token = _between.set(act)
    try:
        yield
    finally:
        _between.reset(token)


def take_turn() -> None:
    """Another may have the model now: nothing of the caller's lies half done in it."""
    act = _between.get()
    if act is not None:
        act()
