"""Hostile requests at a server, ``python -m tests.programs.serve_hostile`` (``make serve-hostile``): 100,000 of them.

Bodies, headers, paths and connections drawn at random: bad JSON, mutated requests, huge and half-sent heads, bodies
that stop short, chunks that are none, clients that leave. Between them an honest request must get its answer, and no
request may meet a fault of the server's own (500); at the end memory and open files are where they were. Exit status 1
otherwise.
"""

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from afterlogits.benchmarks.server_process import ServerProcess, ask, serving

WORKERS = 32  # most wait for an answer or for their connection to be closed
HELD = 128  # connections left open, of all workers together
GROWTH = 48.0  # MB that the memory may grow after the first tenth: caches of the allocator that fill up
ARGUMENTS = (
    *("--task", "token-classification", "--task", "text-generation", "--task", "image-classification"),
    *("--max-body-bytes", "65536", "--max-new-tokens", "16", "--head-seconds", "0.5", "--body-seconds", "0.5"),
    *("--seconds", "10"),
)
HONEST = ("/token-classification", {"inputs": "Ada Lovelace lived in London."})
PATHS = (
    "/token-classification",
    "/text-generation",
    "/image-classification",
    "/v1/completions",
    "/v1/chat/completions",
)
OTHERS = ("/", "/info", "/metrics", "/health", "/nothing", "/%2e%2e/etc/passwd", "/ner/../..", "//", "/" + "a" * 3000)
TYPES = ("application/json", "image/png", "audio/wav", "text/plain", "", "application/json; charset=utf-16", "\x00")
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, "", "a", "/etc/passwd", "http://127.0.0.1:1/x", "data:,", "\ud800", "a" * 5000),
    *([], {}, [[]], [None], {"a": {}}, ["x"] * 100, {"path": "/etc/passwd"}, {"url": "http://x"}, {"bytes": "AAAA"}),
)
NAMES = (
    *("inputs", "parameters", "stream", "prompt", "messages", "max_new_tokens", "temperature", "top_k", "stop", "seed"),
    *("num_beams", "custom_generate", "generation_config", "grammar", "logit_bias", "details", "best_of", "truncate"),
    *("max_tokens", "n", "logprobs", "response_format", "tools", "model", "top_n_tokens", "return_full_text", "regex"),
)


def drawn_value(drawn: random.Random, depth: int = 0) -> Any:
    if depth < 3 and drawn.random() < 0.35:
        names = drawn.choices(NAMES, k=drawn.randint(0, 4))
        return {name: drawn_value(drawn, depth + 1) for name in names}
    if depth < 3 and drawn.random() < 0.1:
        return [drawn_value(drawn, depth + 1) for _ in range(drawn.randint(0, 4))]
    return drawn.choice(VALUES)


def body(drawn: random.Random) -> bytes:
    """A request that is nearly right, JSON of any kind, or bytes of any kind."""
    kind = drawn.random()
    if kind < 0.4:
        few = {"max_new_tokens": drawn.randint(1, 6)}
        asked = {"inputs": "Ada", "prompt": "Ada", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
        asked = {name: asked[name] for name in drawn.sample(sorted(asked), drawn.randint(1, 3))}
        if drawn.random() < 0.5:
            asked["parameters"] = {**few, drawn.choice(NAMES): drawn_value(drawn, 2)}
        if drawn.random() < 0.5:
            asked[drawn.choice(NAMES)] = drawn_value(drawn, 1)
        content = json.dumps(asked).encode("utf-8", "surrogatepass")
    elif kind < 0.6:
        content = json.dumps(drawn_value(drawn)).encode("utf-8", "surrogatepass")
    elif kind < 0.7:
        content = drawn.choice((b"[", b'{"a":')) * drawn.choice((10, 5000))
    elif kind < 0.8:
        content = b'{"inputs": ' + b"9" * drawn.choice((10, 5000)) + b"}"
    else:
        content = drawn.randbytes(drawn.choice((0, 1, 50, 4000)))
    if content and drawn.random() < 0.2:
        place = drawn.randrange(len(content))
        content = content[:place] + drawn.randbytes(1) + content[place + drawn.randint(0, 3) :]
    return content


def head(drawn: random.Random, length: int | None) -> bytes:
    path = drawn.choice(PATHS) if drawn.random() < 0.8 else drawn.choice(OTHERS)
    method = drawn.choice(("POST",) * 8 + ("GET", "PUT", "OPTIONS", "HEAD", "\x01"))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {drawn.choice(('localhost',) * 9 + ('evil.example', ''))}"]
    lines.append(f"Content-Type: {drawn.choice(TYPES[:1] * 6 + TYPES)}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if drawn.random() < 0.1:
        lines.append(
            drawn.choice(
                ("X: " + "a" * 70_000, "X" * 300 + ": 1", "Bad", ": x", "Content-Length: -1", "Expect: 100-continue")
            )
        )
    if drawn.random() < 0.1:
        lines.append(
            drawn.choice(("Origin: http://evil.example", "Origin: null", "Upgrade: websocket", "Range: bytes=0-"))
        )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


FAULTS: list[str] = []


def plain(drawn: random.Random, client: socket.socket) -> None:
    """A whole request; an answer that the server calls its own fault is kept."""
    content = body(drawn)
    client.sendall(head(drawn, len(content)) + content)
    answer = client.recv(4096)
    if answer.startswith(b"HTTP/1.1 500"):
        FAULTS.append(f"{content[:200]!r}: {answer[-200:]!r}")


def leaving(drawn: random.Random, client: socket.socket) -> None:
    """A request whose client is gone before the answer."""
    content = json.dumps({"inputs": "The baker", "parameters": {"max_new_tokens": 16}, "stream": drawn.random() < 0.5})
    first = "POST /text-generation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    client.sendall(f"{first}Content-Length: {len(content)}\r\n\r\n{content}".encode())
    if drawn.random() < 0.5:
        client.recv(10)


def short(drawn: random.Random, client: socket.socket) -> None:
    """A body, or a head, of which only a part is sent."""
    content = body(drawn)
    whole = head(drawn, len(content) + drawn.randint(1, 10**9)) + content
    client.sendall(whole[: drawn.randrange(1, len(whole) + 1)])


def chunked(drawn: random.Random, client: socket.socket) -> None:
    lines = (
        b"POST /ner HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    content = body(drawn)
    size = drawn.choice((b"%x" % len(content), b"ffffffffffffffff", b"-1", b"zz", b"0"))
    client.sendall(lines + size + b"\r\n" + content + b"\r\n" + drawn.choice((b"0\r\n\r\n", b"")))
    client.recv(4096)


def noise(drawn: random.Random, client: socket.socket) -> None:
    client.sendall(drawn.randbytes(drawn.choice((1, 20, 2000))))


def pipelined(drawn: random.Random, client: socket.socket) -> None:
    """Several requests at once on one connection, none of whose answers is read."""
    content = body(drawn)
    client.sendall((head(drawn, len(content)) + content) * drawn.randint(2, 6))


def idle(drawn: random.Random, client: socket.socket) -> None:
    """A connection on which nothing is asked."""


KINDS: tuple[Callable[[random.Random, socket.socket], None], ...] = (
    *((plain,) * 12),
    *(leaving, short, short, chunked, chunked, noise, pipelined, idle),
)


def attack(server: ServerProcess, count: int, seed: int, done: Counter[str], most_held: int) -> None:
    drawn = random.Random(seed)
    parts = urlsplit(server.base)
    held: list[socket.socket] = []
    for _ in range(count):
        kind = drawn.choice(KINDS)
        done[kind.__name__] += 1
        try:
            client = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=15)
        except OSError:
            done["not connected"] += 1
            time.sleep(0.01)
            continue
        try:
            kind(drawn, client)
        except OSError:
            done["closed by the server"] += 1
        if kind in (short, idle, noise) and drawn.random() < 0.5:
            held.append(client)  # left open: the server must close it
            while len(held) > most_held:
                held.pop(0).close()
        else:
            client.close()
    for client in held:
        client.close()


def honest(server: ServerProcess) -> Any:
    for _ in range(5):
        with suppress(OSError):
            connection = server.connect(timeout=30)
            status, found = ask(connection, *HONEST)
            connection.close()
            if status == 200:
                return found
        time.sleep(0.5)
    return None


def hostile(count: int, *, workers: int = WORKERS, seed: int = 0) -> list[str]:
    """What went wrong: nothing where the server bore it. Prints counts and memory."""
    done: Counter[str] = Counter()
    wrong: list[str] = []
    with serving(ARGUMENTS) as server:
        want = honest(server)
        first, start = None, time.monotonic()
        rounds = 10
        for number in range(rounds):
            each = -(-count // (rounds * workers))
            threads = [
                threading.Thread(
                    target=attack, args=(server, each, seed + 1000 * number + worker, done, HELD // workers)
                )
                for worker in range(workers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if honest(server) != want:
                wrong.append(f"round {number}: an honest request was not answered as before")
            memory = server.memory
            first = memory if first is None else first
            asked, seconds = sum(done[kind.__name__] for kind in set(KINDS)), time.monotonic() - start
            print(f"after {asked:,}: {memory:.0f} MB, {seconds:.0f} s", flush=True)
        time.sleep(3)  # what stalls is closed by now
        files = server.open_files
        if server.memory - (first or 0) > GROWTH:
            wrong.append(f"memory grew from {first:.0f} to {server.memory:.0f} MB")
        if files > 80:
            wrong.append(f"{files} files are open")
        print(f"{dict(done)}; {files} files open")
    return [*wrong, *(f"answered with 500: {fault}" for fault in FAULTS[:20])]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args(argv)
    wrong = hostile(known.requests, seed=known.seed)
    print("\n".join(wrong) or "the server answers, memory and files are flat")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
