"""``/v1/models``, ``/v1/completions`` and ``/v1/chat/completions``."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import Refused, invalid
from .generated_answers import generated
from .guards import media_type, read_body
from .loaded_models import Served
from .openai_answers import ChunkStream, Reply
from .openai_protocol import Completion, read_chat, read_completion
from .pipeline_protocol import read_json
from .settings import Limits
from .text_engine import AnsweredText
from .text_rows import TextRow
from .waiting import Desk, Event

# What clients of one model write where they do not name it; an address is what huggingface_hub's was given.
_ANY = ("", "dummy", "tgi", "default", "model")


class OpenAIRoutes:
    """OpenAI's endpoints over the models that generate text."""

    def __init__(self, served: Sequence[Served], limits: Limits, desk: Desk) -> None:
        self.served, self.limits, self.desk = served, limits, desk
        self.texts = [each for each in served if each.task.name == "text-generation"]

    async def models(self, request: Request) -> Response:
        """The models by name."""
        names = list(dict.fromkeys(each.name for each in self.texts))
        return JSONResponse({"object": "list", "data": [_described(name) for name in names]})

    async def model(self, request: Request) -> Response:
        """One of the models. Raises Refused (404) where there is none of the name."""
        return JSONResponse(_described(self._named(request.path_params["name"]).name))

    async def completions(self, request: Request) -> Response:
        """Texts that go on from prompts."""
        body = await self._body(request)
        served = self._find(request, body)
        return await self._answer(request, served, read_completion(body, self.limits))

    async def chat(self, request: Request) -> Response:
        """The next message of a chat."""
        body = await self._body(request)
        served = self._find(request, body)
        return await self._answer(request, served, read_chat(served.pipe, body, self.limits))

    async def _body(self, request: Request) -> Any:
        if media_type(request) not in ("application/json", ""):
            raise Refused(415, "body must be application/json")
        content = await read_body(request, self.limits, self.limits.body_bytes)
        body = await asyncio.to_thread(read_json, content)
        if not isinstance(body, dict):
            raise Refused(400, f"body must be an object; got {type(body).__name__}")
        return body

    def _find(self, request: Request, body: dict[str, Any]) -> Served:
        """The model that a request names, or the first where it names none."""
        if not self.texts or request.path_params.get("task", "text-generation") != "text-generation":
            raise Refused(404, "no model that generates text is served here")
        name = body.get("model")
        if name is None or name in _ANY or str(name).startswith(("http://", "https://")):
            return self.texts[0]
        return self._named(name)

    def _named(self, name: Any) -> Served:
        found = next((each for each in self.texts if each.name == name), None)
        if found is None:
            names = ", ".join(each.name for each in self.texts)
            raise Refused(
                404, f"model {str(name)[:80]!r} is not served; there is {names}", param="model", code="model_not_found"
            )
        return found

    async def _answer(self, request: Request, served: Served, completion: Completion) -> Response:
        """The whole answer, or its stream."""

        def text_of(row: TextRow) -> str:
            place = row.index // completion.best_of
            found = generated(served.pipe, row.ticket.partial, place, [row])
            return str(found[0]["generated_text"])

        from ... import __version__

        reply = Reply(completion, served.name, f"afterlogits-{__version__}", served.pipe.loaded.token_text)
        if completion.stream:
            return self._stream(served, completion, reply)
        answer = await self.desk.answer(request, served, completion.asked)
        if not isinstance(answer, AnsweredText):
            raise invalid("this model's settings ask for beams, which OpenAI's protocol has no words for")
        return JSONResponse(reply.whole(answer, text_of))

    def _stream(self, served: Served, completion: Completion, reply: Reply) -> Response:
        chunks = ChunkStream(reply)

        def last(answer: Any) -> Iterator[Event]:
            yield from chunks.last(answer)

        return self.desk.stream(served, completion.asked, chunks.chunks, last, openai=True)


def _described(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "afterlogits"}
