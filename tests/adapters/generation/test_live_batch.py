"""``LiveBatch``: prompts from many threads at any time, tokens as they come, rows cancelled."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Full
from typing import Any

import pytest
import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import SuppressTokensLogitsProcessor

from afterlogits.adapters import LiveBatch, generate
from afterlogits.adapters.generation.live_batch import Cancelled
from afterlogits.adapters.generation.row_plans import RowPlans
from tests.adapters.generation.test_generate_stream import alone, assert_equal, prompts
from tests.builders.seeded_models import VOCAB_SIZE, seeded_model
from tests.builders.text_models import bytelevel

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ENDS = {"pad_token_id": 0, "eos_token_id": 2}


class Slow:
    """Makes every forward of ``model`` wait for a signal, so that a test decides what runs when."""

    def __init__(self, model: Any):
        self.gate = threading.Semaphore(0)
        own = model.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            self.gate.acquire()
            return own(*args, **kwargs)

        model.forward = forward
        forward.__signature__ = __import__("inspect").signature(own)  # type: ignore[attr-defined]


def test_rows_from_many_threads_are_those_of_a_call_each() -> None:
    """Forty prompts from eight threads, greedy and sampled, with options of their own."""
    model, given = seeded_model("llama", layers=2), prompts(40)
    with LiveBatch(model, max_rows=6, **ENDS) as batch, ThreadPoolExecutor(8) as threads:

        def ask(number: int) -> Any:
            options: dict[str, Any] = {"max_new_tokens": 2 + number % 7, "do_sample": number % 2 == 1}
            row = batch.submit(given[number], seed=number, **options)
            tokens = list(row)
            found = row.result(timeout=60)
            assert tokens == found.new_ids.tolist()
            return found, options

        answers = list(threads.map(ask, range(40)))
    for number, (found, options) in enumerate(answers):
        seeds = {"seeds": [number]} if options["do_sample"] else {}
        expected = alone(model, given[number], **options, **seeds, **ENDS)
        object.__setattr__(found, "index", number)
        assert_equal(model, found, expected, given[number])


def test_tokens_come_before_the_row_has_ended() -> None:
    """Three forwards are let through: three tokens are there, and the row goes on."""
    model = seeded_model("llama", layers=1)
    slow = Slow(model)
    batch = LiveBatch(model, max_rows=2, do_sample=False, pad_token_id=0, eos_token_id=None, max_new_tokens=5)
    row = batch.submit([5, 6, 7])
    slow.gate.release(3)
    stream = iter(row)
    first = [next(stream) for _ in range(3)]
    assert not row.done
    slow.gate.release(100)
    assert [*first, *stream] == row.result(timeout=60).new_ids.tolist()
    batch.close()


def test_a_cancelled_row_leaves_and_the_others_go_on() -> None:
    """One of three is cancelled while it runs, one while it waits."""
    model = seeded_model("llama", layers=1)
    slow = Slow(model)
    told: list[tuple[int, str]] = []
    with LiveBatch(model, max_rows=2, do_sample=False, pad_token_id=0, eos_token_id=None, max_new_tokens=20) as batch:
        rows = [batch.submit([5 + n], on_token=lambda *one: told.append(one)) for n in range(2)]
        waiting = batch.submit([9])
        last = batch.submit([10])
        slow.gate.release(2)
        next(iter(rows[0]))
        rows[0].cancel()
        waiting.cancel()
        slow.gate.release(1000)
        assert last.result(timeout=60).new_ids.shape == (20,)
        assert rows[1].result(timeout=60).new_ids.shape == (20,)
        for row in (rows[0], waiting):
            with pytest.raises(Cancelled, match="the row was cancelled"):
                row.result(timeout=60)
            with pytest.raises(Cancelled, match="the row was cancelled"):
                list(row)
    assert (-1, "cancelled") in told


def test_a_forward_that_fails_is_told_to_its_rows_and_the_next_run() -> None:
    """A token the vocabulary does not hold fails alone; a forward that fails in mid-row ends what runs."""
    model = seeded_model("llama", layers=1)
    own = model.forward
    broken = threading.Event()

    def forward(*args: Any, **kwargs: Any) -> Any:
        if broken.is_set():
            broken.clear()
            raise RuntimeError("no memory")
        return own(*args, **kwargs)

    forward.__signature__ = __import__("inspect").signature(own)  # type: ignore[attr-defined]
    model.forward = forward
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with LiveBatch(model, max_rows=4, max_new_tokens=400, **options) as batch:
        good = batch.submit([5], max_new_tokens=4)
        bad = batch.submit([999])
        with pytest.raises(IndexError):
            bad.result(timeout=60)
        assert good.result(timeout=60).new_ids.shape == (4,)
        long = batch.submit([5])
        next(iter(long))
        broken.set()
        with pytest.raises(RuntimeError, match="no memory"):
            long.result(timeout=60)
        assert batch.submit([6], max_new_tokens=3).result(timeout=60).new_ids.shape == (3,)


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), RuntimeError("device lost")])
def test_where_the_thread_ends_every_row_is_told(error: BaseException) -> None:
    """What no forward may raise, and a batch that not even lets its rows go: nobody waits for ever."""
    model = seeded_model("llama", layers=1)
    batch = LiveBatch(model, max_rows=2, max_new_tokens=4000, pad_token_id=0, eos_token_id=None)

    def raises(*_: Any, **__: Any) -> Any:
        raise error

    rows = [batch.submit([5, number]) for number in range(5)]
    next(iter(rows[0]))
    model.forward = batch._batch.model.select_rows = raises
    for row in rows:
        with pytest.raises(RuntimeError, match=re.escape(str(error))):
            row.result(timeout=60)
    with pytest.raises(RuntimeError, match=re.escape(f"batch must be open; it ended with {error!r}")):
        batch.submit([5])
    assert batch.waiting == batch.running == 0
    batch.close(timeout=60)


def test_rows_that_raise_cost_the_others_nothing() -> None:
    """A criterion and a listener of a row; the batch's thread goes on, and a seed that is none is refused at once."""
    model = seeded_model("llama", layers=1)

    def refuse(*_: Any, **__: Any) -> Any:
        raise KeyError("no")

    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with LiveBatch(model, max_rows=4, max_new_tokens=60, **options) as batch:
        other = batch.submit([5])
        next(iter(other))
        for given in ({"stopping_criteria": [refuse]}, {"on_token": refuse}):
            with pytest.raises(KeyError):
                batch.submit([5], **given).result(timeout=60)
        for seed in (1.5, "x", True, [1]):
            with pytest.raises(TypeError, match=re.escape(f"seed must be an int; got {seed!r}")):
                batch.submit([5], do_sample=True, seed=seed)
        assert other.result(timeout=60).new_ids.shape == (60,)


def test_options_of_a_call_are_not_those_of_the_one_before() -> None:
    """A configuration or a processor of its own for every call, let go of after it; the same one, changed; the model's,
    changed."""
    model = seeded_model("llama", layers=1)
    plain = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with LiveBatch(model, max_rows=2, max_length=50) as batch:
        for count in (2, 5, 9, 3) * 4:
            made = batch.submit([5], generation_config=GenerationConfig(max_new_tokens=count, **plain))
            assert made.result(timeout=60).new_ids.shape == (count,)
        for token_id in (3, 7, 9, 11) * 4:
            rule = SuppressTokensLogitsProcessor([one for one in range(VOCAB_SIZE) if one != token_id])
            made = batch.submit([5], logits_processor=[rule], max_new_tokens=2, **plain)
            assert made.result(timeout=60).new_ids.tolist() == [token_id] * 2
            del rule
        config = GenerationConfig(max_new_tokens=2, **plain)
        for count in (2, 6):
            config.max_new_tokens = count
            assert batch.submit([5], generation_config=config).result(timeout=60).new_ids.shape == (count,)
        for token_id in (3, 7):
            model.generation_config.suppress_tokens = [one for one in range(VOCAB_SIZE) if one != token_id]
            assert batch.submit([5], max_new_tokens=1, **plain).result(timeout=60).new_ids.tolist() == [token_id]


def test_limits_and_the_end() -> None:
    """A full queue, wrong options at once in the caller's thread, and a batch that is closed."""
    model = seeded_model("llama", layers=1)
    slow = Slow(model)
    batch = LiveBatch(model, max_rows=1, max_waiting=1, do_sample=False, pad_token_id=0, max_new_tokens=3)
    running = batch.submit([5])
    deadline = time.monotonic() + 60
    while batch.running == 0 and time.monotonic() < deadline:
        slow.gate.release()
        time.sleep(0.01)
    waits = batch.submit([6])
    with pytest.raises(Full):
        batch.submit([7])
    with pytest.raises(ValueError, match="num_beams"):
        batch.submit([7], num_beams=3)
    slow.gate.release(1000)
    assert running.result(60).new_ids.shape[0] <= 3
    assert waits.result(60).new_ids.shape[0] <= 3
    batch.close()
    with pytest.raises(RuntimeError, match="batch must be open; it was closed"):
        batch.submit([5])


def test_closing_without_draining_cancels_what_runs_and_waits() -> None:
    """Both the row and the prompt behind it."""
    model = seeded_model("llama", layers=1)
    batch = LiveBatch(model, max_rows=1, do_sample=False, pad_token_id=0, eos_token_id=None, max_new_tokens=5000)
    rows = [batch.submit([5]), batch.submit([6])]
    next(iter(rows[0]))
    batch.close(drain=False, timeout=60)
    for row in rows:
        with pytest.raises(Cancelled):
            row.result(timeout=60)


def test_generate_beside_it_is_not_disturbed() -> None:
    """The model itself may be used meanwhile."""
    model = seeded_model("llama", layers=1)
    options = {"do_sample": False, "max_new_tokens": 6, **ENDS}
    expected = generate(model, torch.tensor([[5, 6]]), **options)
    with LiveBatch(model, **options) as batch:
        row = batch.submit([7, 8])
        assert torch.equal(generate(model, torch.tensor([[5, 6]]), **options), expected)
        row.result(timeout=60)


def test_plans_of_unlike_options_keep_one_configuration_between_them() -> None:
    """Its frozen form is most of a key, and thousands of plans are kept."""
    plans = RowPlans(seeded_model("llama"))
    for temperature in (0.5, 0.6):
        plans.row(torch.tensor([5, 6]), {"do_sample": True, "temperature": temperature, "max_new_tokens": 2}, seed=1)
    (one, *_), (two, *_) = plans._plans
    assert one != two and one[2] is two[2]


def test_plans_with_texts_that_end_a_row_are_few() -> None:
    """Each holds a table of the whole vocabulary: 16 of them are kept."""
    tokenizer = bytelevel()
    plans = RowPlans(seeded_model("llama"))
    for number in range(40):
        plans.row(torch.tensor([5, 6]), {"stop_strings": [f"x{number}"], "tokenizer": tokenizer}, seed=1)
        assert len(plans._plans) <= 16
    assert plans._plans
