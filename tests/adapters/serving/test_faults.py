"""Faults that are no Exception, as panics of Rust are: whoever waits is told, and the thread of the model goes on."""

import http.client
import json
import threading
import time
from contextlib import contextmanager

import pytest

from afterlogits import pipeline
from afterlogits.adapters.generation.running_model import RunningModel
from afterlogits.adapters.serving.call_in_turns import CallInTurns
from afterlogits.adapters.serving.grouped_engine import GroupedEngine
from afterlogits.adapters.serving.model_thread import ModelThread, Ticket
from afterlogits.decoding.search.running_row import RunningRow
from tests.builders.plain_http import get, post
from tests.builders.running_server import running


class Panic(BaseException):
    """What pyo3 makes of a panic in Rust."""


@pytest.fixture(scope="module")
def base():
    with running(pipeline("text-generation", device="cpu"), pipeline("ner", device="cpu"), new_tokens=400) as address:
        yield address


def write(base, text, tokens=6, **parameters):
    parameters = {"do_sample": False, "max_new_tokens": tokens, **parameters}
    return post(base, "/text-generation", {"inputs": text, "parameters": parameters})


@contextmanager
def streaming(base, text):
    """The answer to a long stream; left where the block ends before it does."""
    host, port = base.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    parameters = {"max_new_tokens": 120, "min_new_tokens": 120, "do_sample": False}
    body = {"inputs": text, "stream": True, "parameters": parameters}
    connection.request("POST", "/text-generation", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def left_by_clients(base):
    lines = get(base, "/metrics").body.decode().splitlines()
    return next(int(line.split()[-1]) for line in lines if line.startswith("afterlogits_clients_left_total"))


def panicking(monkeypatch, owner, name, times=1):
    """Let a method panic on its first calls; returns what counts the rest of them."""
    real, left = getattr(owner, name), [times]

    def method(self, *args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise Panic("out of bounds")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, method)
    return left


def test_a_panic_in_a_forward_is_the_error_of_its_rows(base, monkeypatch):
    want = write(base, "The baker").json
    left = panicking(monkeypatch, RunningModel, "_forward")
    first = write(base, "The baker")
    assert (first.status, first.json["error"]) == (500, "Panic: out of bounds") and left == [0]
    assert write(base, "The baker").json == want and get(base, "/health").status == 200


def test_a_panic_while_rows_run_ends_their_streams_with_its_text(base, monkeypatch):
    with streaming(base, "The baker") as answer:
        assert b'"index": 1' in answer.readline()
        left = panicking(monkeypatch, RunningModel, "_forward")
        rest = answer.read()
    assert left == [0] and b'data:{"error": "Panic: out of bounds", "error_type": "generation"}' in rest
    assert write(base, "A dog").status == 200


def test_a_prompt_lost_on_its_way_into_the_batch_is_told(base, monkeypatch):
    left = panicking(monkeypatch, RunningRow, "__init__")
    started = time.monotonic()
    assert write(base, "The baker").json["error"] == "Panic: out of bounds"
    assert time.monotonic() - started < 5 and left == [0] and write(base, "The baker").status == 200


def test_a_panic_of_a_tokenizer_costs_one_request(base, monkeypatch):
    left = panicking(monkeypatch, GroupedEngine, "_read")
    first = post(base, "/ner", {"inputs": "Ada"})
    assert (first.status, first.json["error_type"]) == (500, "generation") and left == [0]
    assert post(base, "/ner", {"inputs": "Ada"}).status == 200


def test_a_panic_of_a_call_in_turns_is_its_error():
    def work():
        raise Panic("x")

    call = CallInTurns(work)
    assert call.advance() and type(call.error) is Panic


def test_a_fault_beside_the_work_of_engines_is_told_to_all_and_the_thread_goes_on():
    class Engine:
        idle, backlog, broken = True, 0, True

        @property
        def room(self):
            if self.broken:
                self.broken = False
                raise Panic("no room")
            return None

        def take(self, tickets):
            for one in tickets:
                one.succeed("whole")

        def step(self):
            raise AssertionError("it is idle")

    engine = Engine()
    thread = ModelThread("one", limit=10, most=4, gather=0.0)
    tickets = [Ticket(engine, None, time.monotonic() + 60) for _ in range(3)]
    for one in tickets:
        thread.submit(one)
    thread.start()
    assert {str(one.answer.exception(10)) for one in tickets} == {"Panic: no room"}
    later = Ticket(engine, None, time.monotonic() + 60)
    thread.submit(later)
    assert later.answer.result(10) == "whole" and thread.alive
    thread.stop()
    assert not thread.alive


def test_streams_that_clients_leave_give_their_rows_back(base):
    """20 of 24 streams at once are left after a token; the others are whole and equal, and the rows are free again."""
    texts, before = [], left_by_clients(base)

    def ask(stays):
        with streaming(base, "The baker") as answer:
            first = answer.readline()
            if stays:
                texts.append(json.loads((first + answer.read()).rstrip().rpartition(b"data:")[2])["generated_text"])

    threads = [threading.Thread(target=ask, args=(number % 6 == 0,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(texts) == 4 and len(set(texts)) == 1
    until = time.monotonic() + 20
    while left_by_clients(base) - before < 20 and time.monotonic() < until:
        time.sleep(0.01)
    assert left_by_clients(base) - before == 20
