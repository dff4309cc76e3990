"""A forward that reads, at once on the host and later on a device; windows and batches in the order of their calls."""

from concurrent.futures import Future
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from afterlogits.adapters import pipeline
from afterlogits.adapters.running import runner, window_run
from afterlogits.adapters.running.reading import InFlight, begun, outputs_of
from afterlogits.postprocess.transfers import Arriving
from tests.builders import text_models
from tests.pretend_cuda.device import on_device, pretend_cuda

TEXTS = ["Paris", "Paris was", "Paris was near", "Paris was near London"]


def _read_twice(first: torch.Tensor) -> Any:
    (seen,) = yield [first]
    (again,) = yield [first + seen.to(first.device)]
    return [*seen.tolist(), *again.tolist()]


def test_on_the_host_a_reading_is_read_at_once() -> None:
    assert begun(_read_twice(torch.tensor([1, 2]))) == [1, 2, 2, 4]
    assert begun([3]) == [3] and outputs_of([3]) == [3]

    def nothing_to_read() -> Any:
        yield from ()
        return [5]

    assert begun(nothing_to_read()) == [5]


def test_on_a_device_a_reading_is_in_flight_until_it_is_asked_for() -> None:
    with pretend_cuda() as counts:
        found = begun(_read_twice(on_device(torch.tensor([1, 2]))))
        assert isinstance(found, InFlight) and counts.late == 0
        assert outputs_of(found) == [1, 2, 2, 4] and counts.late == 2


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the host did: batches launched and read, windows answered."""
    done: list[str] = []

    def noted(owner: Any, name: str, word: str) -> None:
        plain = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **named: (done.append(word), plain(*given, **named))[1])

    noted(window_run, "launch", "launch")
    noted(window_run.WindowRun, "answers", "answer")
    noted(Arriving, "received", "read")
    return done


def _answer(happened: list[str], items: Any, **options: Any) -> list[Any]:
    tokenizer = text_models.wordpiece()
    model = text_models.tiny_model("text-classification", tokenizer)
    expected = list(pipeline("text-classification", model=model, tokenizer=tokenizer)(items, **options))
    with pretend_cuda(), sdpa_kernel(SDPBackend.MATH):  # what attention without a kernel of a device's own does
        pipe = pipeline("text-classification", model=on_device(model), tokenizer=tokenizer, device="cuda:0")
        happened.clear()
        found = list(pipe(items, **options))
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    return found


def test_a_batch_is_launched_before_the_one_ahead_of_it_is_waited_for(happened: list[str]) -> None:
    _answer(happened, TEXTS, batch_size=1)
    assert happened == ["launch", "launch", "read", "launch", "read", "launch", "read", "read", "answer"]


def test_the_next_window_is_launched_before_the_answers_of_this_one_are_written(
    happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is encoded by then, for which this test waits; a window is four texts here."""
    monkeypatch.setattr(Future, "done", lambda future: future.exception() is None)
    monkeypatch.setattr(runner, "windows", lambda items, *_, **__: (TEXTS for _ in range(2)))
    found = _answer(happened, TEXTS * 2, batch_size=2)
    assert len(found) == 8
    first, second = ["launch", "launch", "read"], ["read", "answer"]
    assert happened == [*first, "launch", *second, "launch", "read", *second]


def test_a_batch_that_fails_when_it_is_read_costs_its_neighbours_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is seen on the host only: the batch is run again in halves, until the failing text is alone."""
    tokenizer = text_models.wordpiece()
    model = text_models.tiny_model("text-classification", tokenizer)
    with pretend_cuda(), sdpa_kernel(SDPBackend.MATH):  # what attention without a kernel of a device's own does
        pipe = pipeline("text-classification", model=on_device(model), tokenizer=tokenizer, device="cuda:0")
        plain = Arriving.received

        def spoiled(arriving: Any) -> list[torch.Tensor]:
            (logits,) = plain(arriving)
            return [torch.where((logits - worst).abs() < 1e-5, torch.nan, logits)]

        worst = min(
            float(pipe.model(**on_device(dict(tokenizer(text, return_tensors="pt")))).logits.min()) for text in TEXTS
        )
        monkeypatch.setattr(Arriving, "received", spoiled)
        found = pipe(TEXTS, batch_size=4, on_error="record")
    assert ["error" in each for each in found].count(True) == 1
