"""CUDA graphs of the pretend device: what a capture refuses, and a replay of what it recorded.

A capture records every operation with the memory it read and wrote; a replay runs them again on that memory, with the
numbers of the host (steps, lengths, penalties) as they were when it was recorded. So a step that waits, that copies
from the host, or whose result depends on a number that moves with the steps shows itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["CURRENT", "CaptureError", "PretendGraph", "captured", "capturing", "refuse", "run"]


class CaptureError(RuntimeError):
    """What is not permitted while a stream is captured."""


class PretendGraph:
    """The operations of a capture: (what runs, its arguments, where its results lie).

    While it is captured nothing has happened: afterwards what was written in place is as it was, so is torch's stream,
    and what the operations made holds anything.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._before: list[tuple[Tensor, Tensor]] = []  # what was written in place, and what stood there
        self._stream: Tensor | None = None

    def replay(self) -> None:
        """Run them again on the memory they were captured with."""
        for operate, args, kwargs, results in self.operations:
            for result, found in zip(results, _tensors(operate(*args, **kwargs)), strict=True):
                if result is not found:
                    result.copy_(found)

    def begin(self) -> None:
        """From here on operations are noted."""
        self._stream = torch.get_rng_state()

    def keep(self, tensor: Tensor) -> None:
        """An operation is about to write to ``tensor``."""
        self._before.append((tensor, tensor.clone()))

    def end(self) -> None:
        """Take back what the capture did."""
        for _, _, _, results in self.operations:
            for result in results:
                result.fill_(float("nan") if result.is_floating_point() else -77)
        for tensor, value in reversed(self._before):
            tensor.copy_(value)
        assert self._stream is not None
        torch.set_rng_state(self._stream)


_CAPTURING: list[PretendGraph] = []
CURRENT = [0]  # the device whose streams are the current ones; every tensor is on device 0


def capturing() -> bool:
    """Whether a capture is going on, as ``torch.cuda.is_current_stream_capturing`` says."""
    return bool(_CAPTURING) and CURRENT[0] == 0


def refuse(what: str) -> None:
    """Raise for an operation that ends a capture."""
    if _CAPTURING:
        raise CaptureError(f"operation not permitted when stream is capturing: {what}")


def run(operate: Any, args: Any, kwargs: Any, *, is_view: bool) -> Any:
    """Run an operation on the host's tensors, and note it where a capture is going on."""
    if not _CAPTURING or is_view:
        return operate(*args, **kwargs)
    graph = _CAPTURING[-1]
    for place, argument in enumerate(operate._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            graph.keep(args[place] if place < len(args) else kwargs[argument.name])
    out = operate(*args, **kwargs)
    graph.operations.append((operate, args, kwargs, _tensors(out)))
    return out


@contextmanager
def captured(graph: PretendGraph) -> Iterator[None]:
    """``with torch.cuda.graph(graph)``: of another device than the tensors' nothing is captured, and all is done."""
    if CURRENT[0] != 0:
        yield
        return
    _CAPTURING.append(graph)
    graph.begin()
    try:
        yield
    finally:
        _CAPTURING.pop()
        graph.end()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for each in value for tensor in _tensors(each)] if isinstance(value, list | tuple) else []
