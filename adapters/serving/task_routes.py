"""``POST /{task}``: the pipelines' protocol, plain and for generated texts as a stream of tokens."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from .errors import Refused, invalid
from .generated_answers import event_of, records
from .guards import media_type, read_body
from .loaded_models import Served
from .media import takes_media
from .pipeline_protocol import (
    answer_body,
    binary_answer,
    read_json,
    read_request,
    served_name,
    similarities,
    similarity_request,
)
from .settings import Limits
from .text_engine import AnsweredText, AskedText
from .waiting import Desk, Event

T = TypeVar("T")
_QUICK = 4096  # bytes of a body whose reading nobody else notices
_LONG_ANSWERS = ("feature-extraction", "text-to-audio")  # many numbers for few tokens


class TaskRoutes:
    """The tasks of a server by name. ``?model=NAME`` chooses among several models of one task."""

    def __init__(self, served: Sequence[Served], limits: Limits, desk: Desk) -> None:
        self.served, self.limits, self.desk = served, limits, desk

    def find(self, name: str | None, model: str | None = None) -> Served:
        """The served task of a path. Raises Refused (404)."""
        if name is None:
            if len(self.served) == 1:
                return self.served[0]
            raise Refused(404, "several tasks are served: POST /{task}")
        wanted = "feature-extraction" if name == "sentence-similarity" else served_name(name)
        found = [each for each in self.served if each.task.name == wanted and model in (None, each.name)]
        if not found:
            names = ", ".join(sorted({each.task.name for each in self.served}))
            raise Refused(
                404, f"{name} is not served here" + (f" by {model}" if model else "") + f"; there are {names}"
            )
        return found[0]

    async def answer(self, request: Request) -> Response:
        """One request: read and checked, answered by its model, written as its client reads it."""
        name = request.path_params.get("task")
        query = dict(request.query_params)
        served = self.find(name, query.pop("model", None))
        kind = media_type(request)
        most = self.limits.media_bytes if takes_media(served.task) else self.limits.body_bytes
        content = await read_body(request, self.limits, most)
        if not content:
            raise Refused(400, "body must not be empty")
        if kind == "" and content[:1] in b"{[":
            kind = "application/json"
        quick = len(content) <= _QUICK and served.task.unit == "tokens"
        body = await _work(quick, read_json, content) if kind == "application/json" else None
        if name == "sentence-similarity" or _compares(served, body):
            return await self._similarity(request, served, body)
        given = content if body is None else body
        asked = await _work(quick, read_request, served.task, given, kind, query, self.limits)
        if isinstance(asked, AskedText):
            return await self._text(request, served, asked, body)
        answer = await self.desk.answer(request, served, asked)
        return await _work(quick and served.task.name not in _LONG_ANSWERS, _response, served, answer, request)

    async def _similarity(self, request: Request, served: Served, body: Any) -> Response:
        asked = similarity_request(body if isinstance(body, dict) else {}, self.limits)
        vectors = await self.desk.answer(request, served, asked)
        return _json(answer_body(served.task, similarities(vectors), ""))

    async def _text(self, request: Request, served: Served, asked: AskedText, body: Any) -> Response:
        parameters = body.get("parameters") or {}
        if body.get("stream"):
            return self._stream(served, asked, parameters)
        best_of = parameters.get("best_of") or 1
        answer = await self.desk.answer(request, served, asked)
        found = records(served.pipe, answer, asked, best_of=best_of, details=bool(parameters.get("details")))
        return _json(answer_body(served.task, found, ""))

    def _stream(self, served: Served, asked: AskedText, parameters: Any) -> Response:
        """The tokens of one text as text-generation-inference's events; the last waits for the whole."""
        several = isinstance(asked.inputs, list) and not all(isinstance(one, dict) for one in asked.inputs)
        if several or asked.choices > 1:
            raise invalid("a stream must be of one text; ask for others in requests of their own", param="stream")
        count = 0
        held: list[Any] = []

        def events(tokens: Any) -> Iterator[Event]:
            nonlocal count
            for token in tokens:
                count += 1
                if token.finish is None:
                    yield event_of(served.pipe, token, count, None)
                else:
                    held.append(token)

        def last(answer: AnsweredText) -> Iterator[Event]:
            for token in held:
                yield event_of(served.pipe, token, count, answer)

        return self.desk.stream(served, replace(asked), events, last, openai=False)


async def _work(quick: bool, work: Callable[..., T], *given: Any) -> T:
    """``work(*given)``, on another thread unless it is quick: going there and back takes longer than a short text."""
    return work(*given) if quick else await asyncio.to_thread(work, *given)


def _compares(served: Served, body: Any) -> bool:
    """Whether a request to feature-extraction is one of sentence similarity, which clients send to the same address."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    return served.task.name == "feature-extraction" and isinstance(inputs, dict) and "source_sentence" in inputs


def _response(served: Served, answer: Any, request: Request) -> Response:
    binary = binary_answer(served.task, answer, request.headers.get("accept", ""))
    if binary is not None:
        return Response(binary[0], media_type=binary[1])
    return _json(answer_body(served.task, answer, request.headers.get("user-agent", "")))


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")
