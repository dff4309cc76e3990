"""Tokens as they come: a loop puts each step's tokens of the whole batch, another thread or task iterates over them.

All streams have the two methods that transformers asks of a streamer, ``put`` and ``end``, and take batches. What they
hand on is ``read`` from the tokens: the tokens themselves, unless a subclass makes something else of them.
"""

import asyncio
import queue
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

from torch import Tensor

__all__ = ["AsyncStream", "AsyncTokenStream", "Stream", "TokenStream"]

Item = TypeVar("Item")


class _Prompt:
    """Lets the first ``put``, which is the prompt, pass or not."""

    def __init__(self, skip_prompt: bool):
        self.skip = skip_prompt

    def is_skipped(self) -> bool:
        skipped, self.skip = self.skip, False
        return skipped


class Stream(ABC, Generic[Item]):
    """An iterator over what ``read`` makes of each step of a generation that runs in another thread.

    timeout: seconds to wait for a step before ``queue.Empty``, None for ever. ``generate`` calls ``fail`` if it raises,
    and the iterating thread raises the same.
    """

    def __init__(self, *, skip_prompt: bool, timeout: float | None):
        self._prompt = _Prompt(skip_prompt)
        self._queue: queue.SimpleQueue[Item | BaseException | None] = queue.SimpleQueue()
        self.timeout = timeout

    @abstractmethod
    def read(self, token_ids: Tensor) -> Item:
        """What is handed on for one step's tokens."""

    def put(self, token_ids: Tensor) -> None:
        """Hand on one step's tokens."""
        if not self._prompt.is_skipped():
            self._queue.put(self.read(token_ids.detach().cpu()))

    def end(self) -> None:
        """No more tokens will come."""
        self._queue.put(None)

    def fail(self, error: BaseException) -> None:
        """The generation has raised ``error``; the iterating thread raises it too."""
        self._queue.put(error)

    def __iter__(self) -> Iterator[Item]:
        while (item := self._queue.get(timeout=self.timeout)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


class AsyncStream(ABC, Generic[Item]):
    """The same for a task of an event loop, with the generation in a thread: ``async for item in stream``.

    To be made inside the running loop. ``put``, ``end`` and ``fail`` may be called from any thread.
    """

    def __init__(self, *, skip_prompt: bool):
        self._prompt = _Prompt(skip_prompt)
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Item | BaseException | None] = asyncio.Queue()

    @abstractmethod
    def read(self, token_ids: Tensor) -> Item:
        """What is handed on for one step's tokens."""

    def put(self, token_ids: Tensor) -> None:
        """Hand on one step's tokens."""
        if not self._prompt.is_skipped():
            self._send(self.read(token_ids.detach().cpu()))

    def end(self) -> None:
        """No more tokens will come."""
        self._send(None)

    def fail(self, error: BaseException) -> None:
        """The generation has raised ``error``; the iterating task raises it too."""
        self._send(error)

    def _send(self, item: Item | BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def __aiter__(self) -> AsyncIterator[Item]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


class TokenStream(Stream[Tensor]):
    """An iterator over the steps of a generation that runs in another thread; each step is [B] int64 on the CPU.

    skip_prompt: drop what is put first, the prompt [B, P]. timeout: seconds to wait for a step before ``queue.Empty``,
    None for ever.
    >>> import torch
    >>> stream = TokenStream(skip_prompt=False)
    >>> stream.put(torch.tensor([4, 5])); stream.end()
    >>> list(stream)
    [tensor([4, 5])]
    """

    def __init__(self, *, skip_prompt: bool = True, timeout: float | None = None):
        super().__init__(skip_prompt=skip_prompt, timeout=timeout)

    def read(self, token_ids: Tensor) -> Tensor:
        """What an iteration yields of a step's tokens: the tensor itself."""
        return token_ids


class AsyncTokenStream(AsyncStream[Tensor]):
    """The same for a task of an event loop, with the generation in a thread: ``async for token_ids in stream``."""

    def __init__(self, *, skip_prompt: bool = True):
        super().__init__(skip_prompt=skip_prompt)

    def read(self, token_ids: Tensor) -> Tensor:
        """What an iteration yields of a step's tokens: the tensor itself."""
        return token_ids
