"""Plain requests over a socket, nothing hidden: what a test sends is what arrives."""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(
    base: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 60
) -> Answer:
    """One request on a connection of its own; ``body`` bytes, or what becomes JSON."""
    parts = urlsplit(base)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    given = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        given.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def post(base: str, path: str, body: Any, **headers: str) -> Answer:
    return send(base, "POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def get(base: str, path: str, **headers: str) -> Answer:
    return send(base, "GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})


def events(answer: Answer) -> list[Any]:
    """The events of a stream that has ended; "[DONE]" as it stands."""
    lines = [line[5:].strip() for line in answer.body.decode().split("\n") if line.startswith("data:")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
