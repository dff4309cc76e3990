"""A model's thread: batches of like size, a step of each task in turn, and long calls that nobody has to wait for."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits import pipeline
from afterlogits.adapters.serving.call_in_turns import CallInTurns
from afterlogits.adapters.serving.grouped_engine import Asked, GroupedEngine, best_window
from afterlogits.adapters.serving.model_thread import ModelThread, Ticket
from afterlogits.adapters.serving.settings import Limits
from afterlogits.adapters.serving.text_engine import AskedText, TextEngine

TEXTS = ["Ada Lovelace met Charles Babbage in London.", "Ada", "On Monday the baker went to the market in Paris.", "?"]


@pytest.fixture(scope="module")
def ner():
    return pipeline("ner", device="cpu")


@pytest.fixture(scope="module")
def writer():
    return pipeline("text-generation", device="cpu")


def ticket(engine, *asked, seconds=60.0, kind=Asked, **named):
    return Ticket(engine, kind(*asked, **named), time.monotonic() + seconds)


def run(engine, steps=10_000):
    """Step until there is nothing to do; how many steps it took."""
    for count in range(steps):
        if engine.idle:
            return count
        engine.step()
    pytest.fail("the engine does not end")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_batch_holds_the_oldest_and_what_fits(data):
    lengths = sorted(data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=24)), reverse=True)
    sizes = [(data.draw(st.integers(1, 4)), length) for length in lengths]
    must = data.draw(st.integers(0, len(sizes) - 1))
    budget, most = data.draw(st.integers(1, 300)), data.draw(st.none() | st.integers(1, 8))
    first, last = best_window(sizes, must, budget, most)
    assert first <= must < last <= len(sizes)
    rows, longest = sum(count for count, _ in sizes[first:last]), sizes[first][1]
    fits = rows * max(longest, 1) <= budget and (most is None or rows <= most)
    assert fits or last - first == 1


def test_every_request_is_answered_as_if_alone(ner):
    """Requests of one, several and bad inputs and of two kinds of options, in one pool of batches."""
    engine = GroupedEngine(ner)
    simple = {"aggregation_strategy": "simple"}
    asked = [Asked(text, {}) for text in TEXTS[:3]] + [
        Asked(TEXTS * 9, simple),
        Asked(["Ada", 5], {}),
        Asked(TEXTS, {}),
    ]
    tickets = [ticket(engine, one.inputs, one.options) for one in asked]
    engine.take(tickets)
    assert run(engine) > 2
    for one, each in zip(asked, tickets, strict=True):
        if one.inputs == ["Ada", 5]:
            assert each.answer.exception(0).message == "input 1: text must be a string; got int"
        else:
            found, alone = each.answer.result(0), ner(one.inputs, **one.options)
            assert _rounded(found) == _rounded(alone)


def _rounded(answer):
    if isinstance(answer, list):
        return [_rounded(each) for each in answer]
    return {name: round(float(value), 4) if name == "score" else value for name, value in answer.items()}


def test_a_request_waits_for_its_own_inputs_alone(ner):
    """What comes while others run joins the next batch, and is answered before a request of many batches is."""
    engine = GroupedEngine(ner)
    many, one = ticket(engine, TEXTS[:3] * 20, {}), ticket(engine, TEXTS[0], {})
    engine.take([many])
    engine.step()
    engine.take([one])
    steps = 0
    while not one.answer.done():
        engine.step()
        steps += 1
    assert not many.answer.done() and steps < 8
    run(engine)
    assert len(many.answer.result(0)) == 60


def test_what_nobody_waits_for_is_left_out(ner):
    batches = []
    engine = GroupedEngine(ner, batches.append)
    gone, kept = ticket(engine, TEXTS[:3], {}), ticket(engine, TEXTS[0], {})
    engine.take([gone, kept])
    gone.drop()
    run(engine)
    assert batches == [1] and kept.answer.result(0)


def test_beams_hold_no_row_up(writer):
    """A row joins, runs and ends while a call of beams is under way; both are the pipeline's own."""
    engine = TextEngine(writer, Limits())
    options = {"num_beams": 4, "max_new_tokens": 40, "min_new_tokens": 40, "do_sample": False}
    beams = ticket(engine, "The baker", options, kind=AskedText)
    text = ticket(engine, "Last week", {"max_new_tokens": 6, "do_sample": False}, kind=AskedText)
    engine.take([beams])
    engine.step()
    engine.take([text])
    for _ in range(6):
        engine.step()
    assert text.answer.done() and not beams.answer.done()
    steps = run(engine)
    assert 30 <= steps <= 45
    assert beams.answer.result(0) == writer("The baker", **options)
    own = text.answer.result(0).rows[0]
    assert engine.text_of([*own.prompt_ids, *own.token_ids]) == _text(writer("Last week", **text.request.options))


def _text(answer):
    return answer[0]["generated_text"]


def test_beams_that_nobody_waits_for_end_at_their_next_step(writer):
    engine = TextEngine(writer, Limits())
    beams = ticket(engine, "The baker", {"num_beams": 4, "max_new_tokens": 200, "do_sample": False}, kind=AskedText)
    engine.take([beams])
    engine.step()
    engine.step()
    beams.drop()
    assert run(engine) == 1


def test_a_call_in_turns():
    from afterlogits.adapters.generation.turns import take_turn

    seen = []

    def work():
        for number in range(3):
            seen.append(number)
            take_turn()
        return "whole"

    call = CallInTurns(work)
    assert [call.advance() for _ in range(4)] == [False, False, False, True]
    assert seen == [0, 1, 2] and call.result == "whole" and call.error is None
    failing = CallInTurns(lambda: 1 // 0)
    assert failing.advance() and type(failing.error) is ZeroDivisionError
    take_turn()  # of no call: nothing happens


class Stepper:
    """An engine whose every ticket takes some steps; ``log`` says who stepped."""

    def __init__(self, name, steps, log):
        self.name, self.steps, self.log = name, steps, log
        self.held, self.room, self.backlog = [], None, 0

    @property
    def idle(self):
        return not self.held

    def take(self, tickets):
        self.held += [[one, self.steps] for one in tickets]

    def step(self):
        self.log.append(self.name)
        self.held[0][1] -= 1
        if not self.held[0][1]:
            self.held.pop(0)[0].succeed(self.name)


def test_tasks_of_one_model_take_turns():
    """While one has work, each of two tasks has every second step."""
    log = []
    long, short = Stepper("long", 50, log), Stepper("short", 5, log)
    thread = ModelThread("both", limit=10, most=4, gather=0.0)
    tickets = [ticket(long, None, {}), ticket(long, None, {}), ticket(short, None, {}), ticket(short, None, {})]
    for one in tickets:
        thread.submit(one)
    thread.start()
    for one in tickets:
        one.answer.result(10)
    thread.stop()
    both = log[: 2 * 10]
    assert all(a != b for a, b in pairwise(both)) and log.count("long") == 100


def test_what_an_engine_forgets_or_breaks_on_is_told():
    class Forgetful(Stepper):
        def take(self, tickets):
            if tickets[0].request.inputs == "break":
                raise OSError("out of order")

    engine = Forgetful("x", 1, [])
    thread = ModelThread("one", limit=10, most=4, gather=0.0)
    thread.start()
    told = {}
    for name in ("break", "forget"):
        one = ticket(engine, name, {})
        thread.submit(one)
        told[name] = str(one.answer.exception(10))
    thread.stop()
    assert told == {"break": "OSError: out of order", "forget": "the request was lost"}
