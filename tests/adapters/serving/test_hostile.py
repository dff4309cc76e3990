"""2,000 hostile requests, the bounded form of ``make serve-hostile``, and a fault of the server's own."""

import threading

from tests.builders.plain_http import get, post
from tests.builders.running_server import running
from tests.builders.served_tasks import TEXT, pipe_of
from tests.programs.serve_hostile import hostile


def test_two_thousand_hostile_requests():
    """The server answers between them and after them, with its memory and its open files as before."""
    assert hostile(2000, seed=7) == []


def test_requests_at_once_have_the_answers_they_have_alone():
    """160 requests by 16 clients: in batches, and each the pipeline's own."""
    pipe = pipe_of("token-classification")
    texts = [f"{TEXT[: 20 + number % 40]} {number}" for number in range(160)]
    found = [None] * len(texts)
    with running(pipe) as base:

        def work(first):
            for number in range(first, len(texts), 16):
                found[number] = post(base, "/ner", {"inputs": texts[number]}).json

        threads = [threading.Thread(target=work, args=(first,)) for first in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = get(base, "/metrics").body.decode().splitlines()
    for text, answer in zip(texts, found, strict=True):
        want = pipe(text)
        assert [(e["word"], e["start"], e["end"], e["entity"]) for e in answer] == [
            (e["word"], e["start"], e["end"], e["entity"]) for e in want
        ]
        assert all(abs(a["score"] - b["score"]) < 1e-5 for a, b in zip(answer, want, strict=True))
    count = next(float(line.split()[-1]) for line in lines if line.startswith("afterlogits_batch_size_count"))
    assert count < len(texts), "no requests shared a batch"


def test_a_fault_of_an_engine_is_one_500_and_no_end(monkeypatch):
    """What is no fault of the input is told without its details of ours, and the thread goes on."""
    from afterlogits.adapters.serving.grouped_engine import GroupedEngine

    real, broken = GroupedEngine.take, [True]

    def take(self, tickets):
        if broken:
            broken.pop()
            raise AttributeError("a fault")
        real(self, tickets)

    monkeypatch.setattr(GroupedEngine, "take", take)
    with running(pipe_of("token-classification")) as base:
        first = post(base, "/ner", {"inputs": TEXT})
        assert first.status == 500 and first.json["error_type"] == "generation"
        assert post(base, "/ner", {"inputs": TEXT}).status == 200
