"""Calls with room for their frames answer, raise and nest as plain calls do."""

import sys
import threading

import pytest

from afterlogits.adapters.generation import generation_mixin
from afterlogits.adapters.running import pipeline_object, roomy_stack
from afterlogits.adapters.running.roomy_stack import with_room
from tests.adapters.running.test_pipeline_object import build


def deep(depth, *, then):
    return then() if depth == 0 else deep(depth - 1, then=then)


def test_arguments_answers_and_errors_pass():
    assert with_room(deep, (5,), {"then": lambda: "found"}) == "found"
    with pytest.raises(ZeroDivisionError) as caught:
        with_room(deep, (5,), {"then": lambda: 1 / 0})
    assert [entry.name for entry in caught.traceback].count("deep") == 6
    with pytest.raises(RecursionError):
        with_room(deep, (10**6,), {"then": int})


def test_calls_nest_beyond_the_room_and_in_threads():
    inner = lambda: with_room(deep, (400,), {"then": lambda: with_room(deep, (200,), {"then": lambda: 7})})  # noqa: E731
    assert deep(3, then=inner) == 7
    found = []
    threads = [threading.Thread(target=lambda: found.append(inner())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [7] * 4


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython 3.10 keeps frames one by one")
def test_the_frame_asks_for_more_than_half_of_a_piece():
    """16 KiB doubled until it fits: 8 x 17,000 bytes open 256 KiB."""
    assert 2**17 < 8 * roomy_stack._roomy.__code__.co_stacksize < 2**17 + 2**14


def test_lists_and_generation_have_room(monkeypatch):
    given = []
    for module in (pipeline_object, generation_mixin):
        monkeypatch.setattr(
            module, "with_room", lambda function, *more: given.append(function) or with_room(function, *more)
        )
    call = build("text-classification")
    expected = call("the river")
    assert not given and call(["the river"] * 2) == expected * 2 and given == [list]
    build("text-generation", do_sample=False, max_new_tokens=2)("the river")
    assert [function.__name__ for function in given[1:]] == ["generate"]
