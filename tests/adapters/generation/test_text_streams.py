"""Text streamers for batches: every row is what transformers' streamer gives for the row alone."""

import asyncio
import threading
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

from afterlogits.adapters import AsyncBatchTextIteratorStreamer, BatchTextIteratorStreamer, generate
from afterlogits.adapters.checkpoints import path

TEXTS = ["The garden was", "Once there", "Every winter the old"]


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(path("language-model"))
    tokenizer.padding_side = "left"
    return AutoModelForCausalLM.from_pretrained(path("language-model")).eval(), tokenizer


def inputs(tokenizer: Any) -> dict[str, Any]:
    encoded = tokenizer(TEXTS, return_tensors="pt", padding=True, return_token_type_ids=False)
    return {**encoded, "max_new_tokens": 24, "do_sample": False}


def heard_in_a_thread(model: Any, streamer: Any, **options: Any) -> list[Any]:
    """Everything the streamer hands on while another thread generates."""
    worker = threading.Thread(target=generate, args=(model,), kwargs={**options, "streamer": streamer})
    worker.start()
    heard = list(streamer)
    worker.join()
    return heard


@pytest.mark.parametrize("skip_prompt", [True, False])
def test_rows_are_the_library_s(loaded: tuple[Any, Any], skip_prompt: bool) -> None:
    """Piece by piece: what transformers' streamer hands on at each step for a row's own tokens."""
    model, tokenizer = loaded
    options = inputs(tokenizer)
    ids = generate(model, **options)
    streamer = BatchTextIteratorStreamer(tokenizer, skip_prompt=skip_prompt, timeout=60, skip_special_tokens=True)
    heard = heard_in_a_thread(model, streamer, **options)
    width = options["input_ids"].shape[1]
    for row in range(len(TEXTS)):
        alone = TextIteratorStreamer(tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
        alone.put(ids[row, :width])
        for token in ids[row, width:].tolist():
            alone.put(torch.tensor([token]))
            if token == tokenizer.eos_token_id:
                break
        alone.end()
        pieces = [piece for piece in alone if piece]
        assert [texts[row] for texts in heard if texts[row]] == pieces
    assert {len(texts) for texts in heard} == {len(TEXTS)}


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("kind", ["thread", "task"])
def test_nothing_follows_a_row_s_end(loaded: tuple[Any, Any], kind: str, shown: bool) -> None:
    """The token after a generated end-of-sequence token is padding, even a word; one in the prompt ends nothing."""
    _, tokenizer = loaded
    word = tokenizer(" old", add_special_tokens=False)["input_ids"][0]
    options = {"skip_special_tokens": True} if shown else {"skip_special_tokens": True, "skip_prompt": True}

    def put(streamer: Any) -> Any:
        streamer.put(torch.tensor([[word], [tokenizer.eos_token_id]]))
        for first, second in ((word, tokenizer.eos_token_id), (word, word), (tokenizer.eos_token_id, word)):
            streamer.put(torch.tensor([first, second]))
        streamer.end()
        return streamer

    async def listen() -> list[list[str]]:
        return [texts async for texts in put(AsyncBatchTextIteratorStreamer(tokenizer, **options))]

    heard = asyncio.run(listen()) if kind == "task" else list(put(BatchTextIteratorStreamer(tokenizer, **options)))
    texts = ["".join(parts) for parts in zip(*heard, strict=True)]
    assert texts == [tokenizer.decode([word] * (3 if shown else 2)), ""]


def test_async_gives_the_same(loaded: tuple[Any, Any]) -> None:
    """A task of the event loop, the generation in a thread."""
    model, tokenizer = loaded
    options = inputs(tokenizer)
    streamer = BatchTextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60, skip_special_tokens=True)
    expected = heard_in_a_thread(model, streamer, **options)

    async def listen() -> list[list[str]]:
        streamer = AsyncBatchTextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        work = lambda: generate(model, **options, streamer=streamer)  # noqa: E731
        worker = asyncio.get_running_loop().run_in_executor(None, work)
        heard = [texts async for texts in streamer]
        await worker
        return heard

    assert asyncio.run(listen()) == expected


def test_an_exception_of_the_generation_reaches_the_listener(loaded: tuple[Any, Any]) -> None:
    """Instead of a wait without end."""
    model, tokenizer = loaded
    streamer = BatchTextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60)

    def fail(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        generate(model, **inputs(tokenizer), streamer=streamer, logits_processor=[fail])
    with pytest.raises(RuntimeError, match="no more"):
        list(streamer)


def test_a_stream_that_ends_before_it_began(loaded: tuple[Any, Any]) -> None:
    """No token came, so there are no rows yet: one empty list, and the iteration ends."""
    streamer = BatchTextIteratorStreamer(loaded[1], timeout=60)
    streamer.end()
    assert list(streamer) == [[]]
