"""A request waiting for its model: queued, answered in time, or dropped as soon as nobody waits any more."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from .errors import Refused, refusal_of
from .loaded_models import Served
from .metrics import Metrics
from .model_thread import Ticket
from .settings import Limits

Event = dict[str, Any]


class Desk:
    """Hands requests to the threads of models, and waits for them on the event loop."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics

    def ticket(self, served: Served, asked: Any, emit: Callable[[Any], None] | None = None) -> Ticket:
        """A queued ticket. Raises Refused (503) where the queue is full."""
        ticket = Ticket(served.engine, asked, time.monotonic() + self.limits.seconds, emit)
        served.thread.submit(ticket)
        return ticket

    async def answer(self, request: Request, served: Served, asked: Any) -> Any:
        """The engine's answer. Raises Refused: 504 where it takes too long, 499 where the client left."""
        ticket = self.ticket(served, asked)
        answer = asyncio.ensure_future(asyncio.wrap_future(ticket.answer))
        leaving = asyncio.ensure_future(_left(request))
        try:
            done, _ = await asyncio.wait(
                {answer, leaving}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if answer in done:
                return answer.result()
            if leaving in done:
                self.metrics.dropped()
                raise Refused(499, "the client left", error_type="incomplete")
            raise Refused(504, f"no answer within {self.limits.seconds:g} seconds", error_type="timeout")
        finally:
            ticket.drop()
            leaving.cancel()
            answer.cancel()

    def stream(
        self,
        served: Served,
        asked: Any,
        events: Callable[[Any], Iterable[Event]],
        last: Callable[[Any], Iterable[Event]],
        *,
        openai: bool,
    ) -> StreamingResponse:
        """Server-sent events: ``events`` of what the engine tells of, then ``last`` of the whole, or an error. The
        ticket is dropped when the client leaves."""
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[Any] = asyncio.Queue()

        def emit(parts: Any) -> None:
            loop.call_soon_threadsafe(told.put_nowait, (True, parts))

        ticket = self.ticket(served, asked, emit)
        ticket.answer.add_done_callback(lambda _: loop.call_soon_threadsafe(told.put_nowait, (False, None)))

        async def lines() -> AsyncIterator[bytes]:
            finished = False
            try:
                while True:
                    rest = ticket.deadline - time.monotonic()
                    is_part, parts = await asyncio.wait_for(told.get(), max(rest, 0.001))
                    if not is_part:
                        break
                    for event in events(parts):
                        yield line_of(event)
                for event in last(ticket.answer.result()):
                    yield line_of(event)
                if openai:
                    yield b"data: [DONE]\n\n"
                finished = True
            except asyncio.TimeoutError:
                finished = True
                yield line_of(_late(self.limits).body(openai=openai))
            except Exception as error:
                finished = True
                yield line_of(refusal_of(error).body(openai=openai))
            finally:
                ticket.drop()
                if not finished:
                    self.metrics.dropped()

        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


def _late(limits: Limits) -> Refused:
    return Refused(504, f"no whole answer within {limits.seconds:g} seconds", error_type="timeout")


async def _left(request: Request) -> None:
    """Returns when the client has gone. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def line_of(event: Event) -> bytes:
    """An event as huggingface_hub and openai read it: one line of data."""
    return b"data:" + json.dumps(event, ensure_ascii=True, allow_nan=False, default=str).encode() + b"\n\n"
