"""Tokens as they come: a loop puts each step's tokens of the whole batch, another thread or task iterates over them.

Both streams have the two methods that transformers asks of a streamer, ``put`` and ``end``, and take batches.
"""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator

from torch import Tensor

__all__ = ["AsyncTokenStream", "TokenStream"]


class _Prompt:
    """Lets the first ``put``, which is the prompt, pass or not."""

    def __init__(self, skip_prompt: bool):
        self.skip = skip_prompt

    def is_skipped(self) -> bool:
        skipped, self.skip = self.skip, False
        return skipped


class TokenStream:
    """An iterator over the steps of a generation that runs in another thread; each step is [B] int64 on the CPU.

    skip_prompt: drop what is put first, the prompt [B, P]. timeout: seconds to wait for a step before ``queue.Empty``,
    None for ever. Whoever runs the generation calls ``fail`` if it raises, and the iterating thread raises the same.
    >>> import torch
    >>> stream = TokenStream(skip_prompt=False)
    >>> stream.put(torch.tensor([4, 5])); stream.end()
    >>> list(stream)
    [tensor([4, 5])]
    """

    def __init__(self, *, skip_prompt: bool = True, timeout: float | None = None):
        self._prompt = _Prompt(skip_prompt)
        self._queue: queue.SimpleQueue[Tensor | BaseException | None] = queue.SimpleQueue()
        self.timeout = timeout

    def put(self, token_ids: Tensor) -> None:
        """Hand on one step's tokens."""
        if not self._prompt.is_skipped():
            self._queue.put(token_ids.detach().cpu())

    def end(self) -> None:
        """No more tokens will come."""
        self._queue.put(None)

    def fail(self, error: BaseException) -> None:
        """The generation has raised ``error``; the iterating thread raises it too."""
        self._queue.put(error)

    def __iter__(self) -> Iterator[Tensor]:
        while (item := self._queue.get(timeout=self.timeout)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


class AsyncTokenStream:
    """The same for a task of an event loop, with the generation in a thread: ``async for token_ids in stream``.

    To be made inside the running loop. ``put``, ``end`` and ``fail`` may be called from any thread.
    """

    def __init__(self, *, skip_prompt: bool = True):
        self._prompt = _Prompt(skip_prompt)
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Tensor | BaseException | None] = asyncio.Queue()

    def put(self, token_ids: Tensor) -> None:
        """Hand on one step's tokens."""
        if not self._prompt.is_skipped():
            self._send(token_ids.detach().cpu())

    def end(self) -> None:
        """No more tokens will come."""
        self._send(None)

    def fail(self, error: BaseException) -> None:
        """The generation has raised ``error``; the iterating task raises it too."""
        self._send(error)

    def _send(self, item: Tensor | BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def __aiter__(self) -> AsyncIterator[Tensor]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
