"""An application on uvicorn: connections that stall are closed, SIGTERM lets requests under way finish."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import Application
from .settings import Limits, Settings

_HEAD_BYTES = 32_768


def protocol_of(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol, that also closes a connection whose request does not come: it has no such limit itself."""

    class Guarded(H11Protocol):
        _head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def _watch(self) -> None:
            """Wait ``head_seconds`` for the rest of a request's head, unless a request is being answered."""
            answering = self.cycle is not None and not self.cycle.response_complete
            if answering:
                self._stop_watching()
            elif self._head is None:
                self._head = self.loop.call_later(limits.head_seconds, self._give_up)

        def _give_up(self) -> None:
            self._head = None
            answering = self.cycle is not None and not self.cycle.response_complete
            if not answering and not self.transport.is_closing():
                self.transport.close()

        def _stop_watching(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

    return Guarded


def configuration(application: Application) -> uvicorn.Config:
    """How uvicorn runs an application."""
    settings: Settings = application.settings
    return uvicorn.Config(
        application.asgi(),
        host=settings.host,
        port=settings.port,
        http=protocol_of(settings.limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=settings.limits.connections,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(settings.limits.drain_seconds) or 1,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )


class Server(uvicorn.Server):
    """uvicorn's server, that says where it listens and tells its application when it is to end."""

    def __init__(self, application: Application, *, announce: Any = None) -> None:
        super().__init__(configuration(application))
        self.application, self.announce = application, announce

    async def startup(self, sockets: Any = None) -> None:
        """Listen, then say where."""
        await super().startup(sockets)
        if self.started and self.announce is not None:
            self.announce(*self.address)

    async def shutdown(self, sockets: Any = None) -> None:
        """Let requests under way finish; probes hear of it first."""
        self.application.ending = True
        await super().shutdown(sockets)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on; the port is chosen by the system where 0 was asked for."""
        name = self.servers[0].sockets[0].getsockname()
        return str(name[0]), int(name[1])
