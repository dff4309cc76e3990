"""Token streams: order, prompt, end, errors, across threads and tasks."""

import asyncio
import queue
import threading

import pytest
import torch

from afterlogits.decoding.search.token_streams import AsyncTokenStream, TokenStream

STEPS = [torch.tensor([[1, 2], [3, 4]]), torch.tensor([5, 6]), torch.tensor([7, 8])]


def feed(stream: TokenStream | AsyncTokenStream, error: BaseException | None = None) -> None:
    for step in STEPS:
        stream.put(step)
    if error is None:
        stream.end()
    else:
        stream.fail(error)


def test_steps_arrive_in_order_without_the_prompt() -> None:
    """Three puts, the first of them the prompt: two steps of a batch of two."""
    stream = TokenStream()
    worker = threading.Thread(target=feed, args=(stream,))
    worker.start()
    assert [step.tolist() for step in stream] == [[5, 6], [7, 8]]
    worker.join()


def test_prompt_can_be_kept() -> None:
    """skip_prompt=False hands on everything."""
    stream = TokenStream(skip_prompt=False)
    feed(stream)
    assert [step.tolist() for step in stream] == [step.tolist() for step in STEPS]


def test_async_stream_gives_the_same() -> None:
    """A thread puts, a task of the loop iterates."""

    async def listen() -> list[list[int]]:
        stream = AsyncTokenStream()
        worker = asyncio.get_running_loop().run_in_executor(None, feed, stream)
        heard = [step.tolist() async for step in stream]
        await worker
        return heard

    assert asyncio.run(listen()) == [[5, 6], [7, 8]]


def test_an_error_reaches_the_listener() -> None:
    """After the tokens that came before it, in both streams."""

    async def listen(heard: list[list[int]]) -> None:
        stream = AsyncTokenStream()
        feed(stream, KeyError("lost"))
        async for step in stream:
            heard.append(step.tolist())

    heard: list[list[int]] = []
    with pytest.raises(KeyError, match="lost"):
        asyncio.run(listen(heard))
    stream = TokenStream()
    feed(stream, KeyError("lost"))
    with pytest.raises(KeyError, match="lost"):
        for step in stream:
            heard.append(step.tolist())
    assert heard == [[5, 6], [7, 8]] * 2


def test_timeout_ends_the_wait() -> None:
    """Nothing comes: queue.Empty after the timeout."""
    with pytest.raises(queue.Empty):
        next(iter(TokenStream(timeout=0.01)))
