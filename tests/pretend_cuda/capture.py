"""CUDA graphs of the pretend device: what a capture refuses, and a replay of what it recorded.

A capture records every operation with the memory it read and wrote; a replay runs them again on that memory, with the
numbers of the host (steps, lengths, penalties) as they were when it was recorded. So a step that waits, that copies
from the host, or whose result depends on a number that moves with the steps shows itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

__all__ = ["CaptureError", "PretendGraph", "captured", "capturing", "record", "refuse"]


class CaptureError(RuntimeError):
    """What is not permitted while a stream is captured."""


class PretendGraph:
    """The operations of a capture: (what runs, its arguments, where its results lie)."""

    def __init__(self) -> None:
        self.operations: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = []

    def replay(self) -> None:
        """Run them again on the memory they were captured with."""
        for operate, args, kwargs, results in self.operations:
            for result, found in zip(results, _tensors(operate(*args, **kwargs)), strict=True):
                if result is not found:
                    result.copy_(found)


_CAPTURING: list[PretendGraph] = []


def capturing() -> bool:
    """Whether a capture is going on, as ``torch.cuda.is_current_stream_capturing`` says."""
    return bool(_CAPTURING)


def refuse(what: str) -> None:
    """Raise for an operation that ends a capture."""
    if _CAPTURING:
        raise CaptureError(f"operation not permitted when stream is capturing: {what}")


def record(operate: Callable[..., Any], args: Any, kwargs: Any, out: Any) -> None:
    """Note an operation of the capture, if there is one; of the host's tensors."""
    if _CAPTURING:
        _CAPTURING[-1].operations.append((operate, args, kwargs, _tensors(out)))


@contextmanager
def captured(graph: PretendGraph) -> Iterator[None]:
    """``with torch.cuda.graph(graph)``."""
    _CAPTURING.append(graph)
    try:
        yield
    finally:
        _CAPTURING.pop()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for each in value for tensor in _tensors(each)] if isinstance(value, list | tuple) else []
