"""What is refused, with which status and which words: bodies, hosts, sites, queues, time, parameters, paths."""

import contextlib
import socket
import threading
import time

import pytest

from afterlogits import pipeline
from tests.builders.plain_http import get, post, send
from tests.builders.running_server import running


@pytest.fixture(scope="module")
def ner():
    return pipeline("ner", device="cpu", aggregation_strategy="simple")


@pytest.fixture(scope="module")
def writer():
    return pipeline("text-generation", device="cpu")


@pytest.fixture(scope="module")
def base(ner, writer):
    with running(ner, writer, body_bytes=4096, rows=4, text_characters=500, new_tokens=64) as address:
        yield address


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "body must be JSON"),
        (b"[" * 2000 + b"]" * 2000, 400, "nested too deep"),
        (b'{"inputs": ' + b"[" * 200 + b"]" * 200 + b"}", 400, "nested too deep"),
        (b'{"inputs": ' + b"[" * 199 + b"]" * 199 + b"}", 422, "text must be a string; got list"),
        (b'{"inputs": ' + b'{"a":' * 199 + b"[]" + b"}" * 200, 400, "nested too deep"),
        (b'{"inputs": ["' + b"[" * 300 + b'", 3]}', 422, "input 1: text must be a string; got int"),
        (b'{"inputs": NaN}', 400, "NaN is no JSON"),
        (b'{"inputs": ' + b"1" * 4000 + b"}", 422, "must be a string"),
        (b"\xff\xfe{}", 400, "body must be JSON"),
        (b"", 400, "body must not be empty"),
        (b"[]", 422, "body must be an object with inputs; got list"),
        (b"{}", 422, "body must have inputs; got an empty object"),
        (b'{"inputs": 3}', 422, "text must be a string; got int"),
        (b'{"inputs": ""}', 422, "text must not be empty; got ''"),
        (b'{"inputs": "\\ud800"}', 422, "text"),
        (b'{"inputs": ["a", 3]}', 422, "input 1: text must be a string; got int"),
        (b'{"inputs": "a", "parameters": []}', 422, "parameters must be an object; got list"),
        (
            b'{"inputs": "a", "parameters": {"agregation_strategy": "none"}}',
            422,
            "did you mean 'aggregation_strategy'?",
        ),
        (b'{"inputs": "a", "parameters": {"aggregation_strategy": 3}}', 422, "aggregation_strategy"),
        (b'{"inputs": ["a", "a", "a", "a", "a"]}', 422, "inputs must be at most 4; got 5"),
        (b'{"inputs": "' + b"a" * 501 + b'"}', 422, "at most 500 characters"),
    ],
)
def test_bodies_that_cannot_be_answered(base, body, status, words):
    answer = send(base, "POST", "/ner", body, {"Content-Type": "application/json"})
    assert answer.status == status and words in answer.json["error"], answer.body
    assert answer.json["error_type"] == "validation"
    assert post(base, "/ner", {"inputs": "Ada lived in London."}).status == 200


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 4096},
        {"compat": False},
        {"custom_generate": "someone/code"},
        {"trust_remote_code": True},
        {"generation_config": {}},
        {"assistant_model": "gpt2"},
        {"tokenizer_encode_kwargs": {"chat_template": "{{ 1 }}"}},
        {"cache_implementation": "static"},
        {"streamer": "x"},
        {"output_attentions": True},
    ],
    ids=lambda each: next(iter(each)),
)
def test_what_a_stranger_may_not_set(base, parameters):
    answer = post(base, "/text-generation", {"inputs": "The", "parameters": parameters})
    assert answer.status == 422 and "must not be set over the network" in answer.json["error"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_new_tokens": 65}, "max_new_tokens must be at most 64; got 65"),
        ({"num_beams": 17}, "num_beams must be at most 16; got 17"),
        ({"num_beams": 5}, "at most 4"),
        ({"num_return_sequences": 5}, "at most 4"),
        ({"best_of": 9}, "best_of must be at most 4; got 9"),
        ({"seed": 0.5}, "seed must be a whole number of 64 bits; got 0.5"),
        ({"stop": [""]}, "stop must be texts that are not empty"),
        ({"stop": ["a"] * 17}, "stop must hold at most 16 texts; got 17"),
        ({"stop_strings": [1]}, "stop_strings must be texts that are not empty; got [1]"),
        ({"top_k": "\ud800"}, "top_k"),  # what quotes half a character can be sent
        ({"watermark": True}, "watermark must be left out"),
        ({"temperature": -1.0}, "temperature"),
        ({"truncate": 0}, "truncate must be an integer of at least 1; got 0"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_parameters_beyond_the_limits(base, parameters, words):
    answer = post(base, "/text-generation", {"inputs": "The", "parameters": parameters})
    assert answer.status == 422 and words in answer.json["error"], answer.body


def test_no_texts_are_no_request(base):
    answer = post(base, "/text-generation", {"inputs": []})
    assert answer.status == 422 and answer.json["error"] == "inputs must hold at least one text; got an empty list"


def test_what_no_route_takes_is_refused_in_the_form_of_its_neighbours(base):
    """OpenAI's object under /v1, the pipelines' elsewhere; 405 names what is taken."""
    answer = post(base, "/v1/embeddings", {})
    assert answer.status == 404
    wanted = {"message": "there is no '/v1/embeddings' here", "type": "invalid_request_error"}
    assert answer.json["error"] == {**wanted, "param": None, "code": None}
    answer = send(base, "PUT", "/ner")
    assert answer.json == {"error": "'/ner' does not take PUT", "error_type": "not_found"}
    assert answer.status == 405 and answer.headers["allow"] == "POST"
    answer = get(base, "/nothing")
    assert answer.status == 404 and answer.json["error"] == "there is no '/nothing' here", "not 405: it takes no POST"
    assert get(base, "/v1/models/model").json["id"] == "model"
    assert get(base, "/v1/models/other").json["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("given", "status", "param"),
    [
        ({"stream_options": 5}, 400, "stream_options"),
        ({"response_format": {"type": "xml"}}, 422, "response_format"),
        ({"response_format": 5}, 400, "response_format"),
        ({"logit_bias": {"x": 1}}, 400, "logit_bias"),
        ({"prompt": [[]]}, 400, "prompt"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_openai_errors_name_the_parameter(base, given, status, param):
    answer = post(base, "/v1/completions", {"prompt": "The", **given})
    assert (answer.status, answer.json["error"]["param"]) == (status, param), answer.body


def test_media_that_unfold_to_too_much_are_refused():
    """Heads tell: a picture of a hundred million pixels in a kilobyte, two hours of silence."""
    import io
    import struct
    import zlib

    import numpy as np
    import soundfile

    from afterlogits.adapters.serving.errors import Refused
    from afterlogits.adapters.serving.media import checked
    from tests.builders.served_tasks import film, png, wav

    def part(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for side in (10_000, 100_000):
        bomb = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        with pytest.raises(Refused, match="image must have at most 50,000,000 pixels; got"):
            checked(bomb + part(b"IDAT", zlib.compress(b"\0" * 100)) + part(b"IEND", b""), "image")
    held = io.BytesIO()
    soundfile.write(held, np.zeros(7200 * 1000, np.int16), 1000, format="FLAC")
    assert len(held.getvalue()) < 1 << 20
    with pytest.raises(Refused, match="audio must have at most 3,600 seconds; got 7,200"):
        checked(held.getvalue(), "audio")
    for content, kind in ((png(), "image"), (wav(), "audio"), (film(), "video")):
        assert checked(content, kind) is content


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "audio"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image"),
        (b"\x80\x04\x95", "image"),
    ],
    ids=["PostScript", "playlist", "concat", "svg", "pickle"],
)
def test_formats_that_open_other_things_reach_no_decoder(content, kind):
    from afterlogits.adapters.serving.errors import Refused
    from afterlogits.adapters.serving.media import checked

    with pytest.raises(Refused, match=f"{kind} must be "):
        checked(content, kind)


def test_lists_of_labels_have_an_end():
    pipe = pipeline("zero-shot-classification", device="cpu")
    with running(pipe) as base:
        many = {"inputs": "a", "parameters": {"candidate_labels": ["a"] * 1001}}
        assert (
            post(base, "/zero-shot-classification", many).json["error"]
            == "candidate_labels must hold at most 1000; got 1,001"
        )
        many["parameters"]["candidate_labels"] = "a," * 1001
        assert post(base, "/zero-shot-classification", many).status == 422


def test_a_large_body_is_refused_before_it_is_read(base):
    answer = send(base, "POST", "/ner", b" " * 5000, {"Content-Type": "application/json"})
    assert answer.status == 413 and answer.json["error"] == "body must be at most 4,096 bytes"
    address = ("127.0.0.1", int(base.rpartition(":")[2]))
    # Declared, and never sent; then sent in pieces of unknown number.
    with socket.create_connection(address) as client:
        client.sendall(b"POST /ner HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        client.sendall(b"Content-Length: 1000000000\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(address) as client:
        client.sendall(b"POST /ner HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + (b"800\r\n" + b" " * 2048 + b"\r\n") * 3)
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_what_a_page_can_send_without_asking_is_refused(base, kind):
    answer = send(base, "POST", "/ner", b'{"inputs": "Ada"}', {"Content-Type": kind})
    assert answer.status == 415


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_pages_of_other_sites_are_refused(base, headers):
    answer = send(base, "POST", "/ner", {"inputs": "Ada"}, headers)
    assert answer.status == 403
    own = send(base, "POST", "/ner", {"inputs": "Ada"}, {"Origin": base})
    assert own.status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", ""])
def test_foreign_hosts_are_refused(base, host):
    for path in ("/", "/info", "/metrics", "/health"):
        assert get(base, path, Host=host).status == 403
    assert post(base, "/ner", {"inputs": "Ada"}, Host=host).status == 403
    assert get(base, "/health", Host="localhost:1").status == 200


def test_unknown_tasks_and_models(base):
    assert post(base, "/nothing", {"inputs": "a"}).json["error"] == "there is no task 'nothing'"
    assert post(base, "/fill-mask", {"inputs": "a"}).status == 404
    assert post(base, "/ner?model=other", {"inputs": "a"}).status == 404
    assert post(base, "/", {"inputs": "a"}).json["error"] == "several tasks are served: POST /{task}"
    assert send(base, "GET", "/ner").status == 405


class Slow:
    """An engine that takes one ticket at a time, and waits until it is let go."""

    def __init__(self, engine):
        self.engine, self.gate, self.started, self.seen = engine, threading.Event(), threading.Event(), []
        self.held, self.backlog = [], 0

    @property
    def idle(self):
        return not self.held and self.engine.idle

    @property
    def room(self):
        return 0 if self.held else 1

    def take(self, tickets):
        self.held += tickets

    def step(self):
        self.started.set()
        self.gate.wait(30)
        self.seen += [ticket.waited_for for ticket in self.held]
        self.engine.take(self.held)
        self.held = []
        self.engine.step()


@pytest.fixture
def slow(ner, monkeypatch):
    """The address of a server whose model waits, and its engine."""
    from afterlogits.adapters.serving import loaded_models

    made = []
    real = loaded_models._engine
    monkeypatch.setattr(loaded_models, "_engine", lambda *given: made.append(Slow(real(*given))) or made[0])
    with running(ner, queue=2, seconds=1.0) as address:
        yield address, made[0]
        made[0].gate.set()


def in_threads(count, work):
    found = [None] * count

    def one(place):
        found[place] = work(place)

    threads = [threading.Thread(target=one, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    return threads, found


def test_a_full_queue_is_503_and_late_answers_are_504(slow):
    base, engine = slow
    first, found = in_threads(1, lambda place: post(base, "/ner", {"inputs": "Ada"}).status)
    assert engine.started.wait(10)
    others, statuses = in_threads(5, lambda place: post(base, "/ner", {"inputs": "Ada"}))
    for thread in [*first, *others]:
        thread.join()
    assert found == [504]
    assert sorted(each.status for each in statuses) == [503, 503, 503, 504, 504]
    full = next(each for each in statuses if each.status == 503)
    assert int(full.headers["retry-after"]) >= 1 and full.json["error_type"] == "overloaded"
    engine.gate.set()
    assert post(base, "/ner", {"inputs": "Ada"}).status == 200
    assert engine.seen[0] is False  # the first had been given up, and the queue was emptied of the late ones
    assert len(engine.seen) == 2


def test_a_client_that_leaves_is_dropped(slow):
    base, engine = slow
    address = ("127.0.0.1", int(base.rpartition(":")[2]))
    head = b"POST /ner HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = head + b'Content-Length: 17\r\n\r\n{"inputs": "Ada"}'
    with socket.create_connection(address) as client:
        client.sendall(request)
        assert engine.started.wait(10)
    for _ in range(100):
        if "clients_left_total 1" in get(base, "/metrics").body.decode():
            break
        time.sleep(0.01)
    else:
        pytest.fail("nobody noticed")
    engine.gate.set()
    assert post(base, "/ner", {"inputs": "Ada"}).status == 200
    assert engine.seen == [False, True]


def test_connections_that_stall_are_closed(ner):
    with running(ner, head_seconds=0.3, body_seconds=0.3) as base:
        address = ("127.0.0.1", int(base.rpartition(":")[2]))
        clients = [socket.create_connection(address, timeout=10) for _ in range(3)]
        clients[1].sendall(b"POST /ner HTTP/1.1\r\nHost: loc")
        clients[2].sendall(b"POST /ner HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        clients[2].sendall(b"Content-Length: 100\r\n\r\n{")
        assert clients[0].recv(10) == b"" and clients[1].recv(10) == b""
        assert clients[2].recv(100).startswith(b"HTTP/1.1 408 ")
        for client in clients:
            client.close()
        # One that asks again and again on the same connection may.
        with socket.create_connection(address, timeout=10) as client:
            for _ in range(3):
                client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
                time.sleep(0.1)
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):  # the body, where it came by itself
                    client.recv(1000)
                client.settimeout(10)


def test_answers_that_a_browser_must_not_guess_at(base):
    for answer in (
        get(base, "/info"),
        get(base, "/"),
        post(base, "/ner", {"inputs": "Ada"}),
        get(base, "/nothing/info"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
