"""The routes of a server: a request is checked, waits for its model's thread, and is answered."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .errors import Refused, refusal_of
from .guards import check_host, check_site
from .info import Describe, info_of
from .loaded_models import Served
from .metrics import Metrics
from .openai_routes import OpenAIRoutes
from .page import page
from .settings import Settings
from .task_routes import TaskRoutes
from .waiting import Desk

SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_LOG = logging.getLogger("afterlogits.serving")
Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """What the routes of one server share."""

    def __init__(
        self, served: Sequence[Served], settings: Settings, metrics: Metrics, describe: Describe = lambda name: ""
    ) -> None:
        self.served, self.settings, self.metrics = list(served), settings, metrics
        self.allowed = {settings.host, *settings.allowed_hosts}
        self.ending = False
        self.names = {name for each in self.served for name in (each.task.name, *each.task.aliases)}
        self.info = info_of(self.served, settings.limits, describe)
        desk = Desk(settings.limits, metrics)
        self.tasks = TaskRoutes(self.served, settings.limits, desk)
        self.openai = OpenAIRoutes(self.served, settings.limits, desk)

    def asgi(self) -> Starlette:
        """The application as a server runs it; its threads start and end with it."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            threads = {id(each.thread): each.thread for each in self.served}.values()
            for thread in threads:
                thread.start()
            yield
            self.ending = True
            for thread in threads:
                await asyncio.to_thread(thread.stop)

        return Starlette(routes=self._routes(), lifespan=lifespan, exception_handlers={HTTPException: self._unrouted})

    def _routes(self) -> list[Route]:
        """Fixed routes before those of tasks, each with and without a task in front where clients append their own."""
        get = {
            "/health": self._health,
            "/info": self._info,
            "/metrics": self._metrics,
            "/v1/models": self.openai.models,
            "/v1/models/{name:path}": self.openai.model,
        }
        if self.settings.page:
            get["/"] = self._page
        routes = [self._route(path, handler, "GET") for path, handler in get.items()]
        completions = (("/v1/completions", self.openai.completions), ("/v1/chat/completions", self.openai.chat))
        for path, handler in completions:
            routes += [self._route(path, handler, "POST"), self._route("/{task}" + path, handler, "POST", name=path)]
        routes += [
            self._route("/{task}/health", self._health, "GET", name="/health"),
            self._route("/{task}/info", self._info, "GET", name="/info"),
            self._route("/{task}", self.tasks.answer, "POST", name=None),
            self._route("/", self.tasks.answer, "POST", name=None),
        ]
        return routes

    def _route(self, path: str, handler: Handler, method: str, name: str | None = "") -> Route:
        """A route with its checks, counts and errors. name: in the metrics; None: the task's own."""
        openai = "/v1/" in path

        async def answer(request: Request) -> Response:
            start = time.monotonic()
            route = path if name == "" else name or self._counted(request)
            try:
                check_host(request, self.allowed)
                if method == "POST":
                    check_site(request)
                response = await handler(request)
            except Refused as refused:
                response = _refusal(refused, openai=openai)
            except Exception as error:  # a fault of the server's own: one request, with the trace in the log
                _LOG.exception("%s %s failed", method, path)
                response = _refusal(refusal_of(error), openai=openai)
            response.headers.update(SAFETY)
            self.metrics.request(route, response.status_code, time.monotonic() - start)
            return response

        return Route(path, answer, methods=[method])

    def _counted(self, request: Request) -> str:
        """The task of a request as the metrics name it: strangers' names for tasks must not become labels."""
        name = request.path_params.get("task", "")
        return f"/{name}" if name in self.names else "/unknown" if name else "/"

    def _is_known(self, path: str) -> bool:
        return path[1:] in self.names or path in ("/health", "/info", "/metrics")

    async def _unrouted(self, request: Request, error: Exception) -> Response:
        """What no route takes, in the form of the errors of those beside it."""
        start = time.monotonic()
        assert isinstance(error, HTTPException)
        path = request.url.path[:100]
        status = error.status_code
        if status == 405 and path.count("/") == 1 and path != "/" and not self._is_known(path):
            status = 404  # a task's address takes POST, whatever its name
        refused = Refused(status, f"{path!r} does not take {request.method}", error_type="not_found")
        if status == 404:
            refused.message = f"there is no {path!r} here"
        response = _refusal(refused, openai="/v1/" in path)
        response.headers.update({**SAFETY, **(error.headers or {} if status == 405 else {})})
        self.metrics.request("/unknown", status, time.monotonic() - start)
        return response

    async def _health(self, request: Request) -> Response:
        if self.ending:
            raise Refused(503, "the server is ending", error_type="overloaded", retry_after=5)
        if not all(each.thread.alive for each in self.served):
            raise Refused(500, "the thread of a model has ended", error_type="generation")
        return JSONResponse({"status": "ok"})

    async def _info(self, request: Request) -> Response:
        return JSONResponse(self.info)

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _page(self, request: Request) -> Response:
        content, policy = page()
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
        return Response(content, media_type="text/html; charset=utf-8", headers=headers)


def _refusal(refused: Refused, *, openai: bool) -> Response:
    return JSONResponse(refused.body(openai=openai), refused.status, refused.headers)
