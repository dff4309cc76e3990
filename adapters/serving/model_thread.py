"""One thread for a model, and the bounded queue before it: what arrives while a batch runs is the next batch."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import Refused, refusal_of


class Engine(Protocol):
    """What answers tickets: a task with its model."""

    def serve(self, tickets: "Sequence[Ticket]", more: "Callable[[], list[Ticket]]") -> None:
        """Answer or fail every ticket. more: takes what has come for this engine meanwhile."""
        ...


@dataclass(eq=False)
class Ticket:
    """A request on its way through a model's thread.

    request: what the engine reads. emit: told of parts of the answer as they come, from the model's thread. answer: the
    whole. ``drop`` says that nobody waits for it any more.
    """

    engine: Engine
    request: Any
    deadline: float
    emit: Callable[[Any], None] | None = None
    answer: "Future[Any]" = field(default_factory=Future)
    created: float = field(default_factory=time.monotonic)
    dropped: bool = False
    partial: Any = None  # what the engine has of the answer

    def drop(self) -> None:
        """Nobody waits any more."""
        self.dropped = True
        self.answer.cancel()

    @property
    def waited_for(self) -> bool:
        """Whether somebody still wants the answer."""
        return not (self.dropped or self.answer.done() or time.monotonic() > self.deadline)

    def succeed(self, found: Any) -> None:
        """Give the answer, unless the ticket has one or was dropped."""
        with suppress(InvalidStateError):  # it was dropped meanwhile
            self.answer.set_result(found)

    def fail(self, error: BaseException) -> None:
        """Give an error in its place."""
        with suppress(InvalidStateError):
            self.answer.set_exception(error)


class ModelThread:
    """Runs ``Engine.serve`` over what waits, never more than one batch at a time.

    limit: tickets that may wait. most: of one batch. gather: seconds that the first ticket waits for others where the
    thread was idle.
    """

    def __init__(self, name: str, *, limit: int, most: int, gather: float) -> None:
        self.limit, self.most, self.gather = limit, most, gather
        self._waiting: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._seconds = 0.05  # a running mean of a batch's time, for Retry-After
        self._thread = threading.Thread(target=self._run, name=f"afterlogits-{name}", daemon=True)

    def start(self) -> None:
        """Let the thread take tickets."""
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket. Raises Refused (503) where the queue is full or the server ends."""
        with self._changed:
            if self._ending:
                raise Refused(503, "the server is ending", error_type="overloaded", retry_after=5, close=True)
            if len(self._waiting) >= self.limit:
                self._discard()
            if len(self._waiting) >= self.limit:
                wait = self._seconds * len(self._waiting) / self.most
                raise Refused(503, "too many requests are waiting", error_type="overloaded", retry_after=wait)
            self._waiting.append(ticket)
            self._changed.notify()

    def stop(self) -> None:
        """Let the thread answer what waits, then end; returns when it has."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def more(self, engine: Engine, most: int) -> list[Ticket]:
        """Up to ``most`` of the tickets that wait for ``engine``, taken from the queue without waiting."""
        with self._changed:
            self._discard()
            chosen = [ticket for ticket in self._waiting if ticket.engine is engine][:most]
            taken = set(map(id, chosen))
            self._waiting = deque(ticket for ticket in self._waiting if id(ticket) not in taken)
            return chosen

    def _discard(self) -> None:
        """Forget tickets that nobody waits for."""
        if not all(ticket.waited_for for ticket in self._waiting):
            self._waiting = deque(ticket for ticket in self._waiting if ticket.waited_for)

    def _take(self) -> list[Ticket]:
        """The next batch, of one engine, the oldest ticket's; empty at the end."""
        with self._changed:
            while not self._waiting:
                if self._ending:
                    return []
                self._changed.wait()
                if self.gather and self._waiting and not self._ending:
                    self._changed.wait_for(lambda: len(self._waiting) >= self.most, timeout=self.gather)
                self._discard()
            engine = self._waiting[0].engine
        return self.more(engine, self.most)

    def _run(self) -> None:
        while True:
            tickets = self._take()
            if not tickets:
                if self._ending and not self._waiting:
                    return
                continue
            start = time.monotonic()
            self._serve(tickets)
            self._seconds += 0.2 * (time.monotonic() - start - self._seconds)

    def _serve(self, tickets: list[Ticket]) -> None:
        """Let the engine answer; whatever it raises or forgets, every ticket ends."""
        engine = tickets[0].engine
        served = list(tickets)

        def more() -> list[Ticket]:
            found = self.more(engine, self.most)
            served.extend(found)
            return found

        try:
            engine.serve(tickets, more)
        except Exception as error:  # an engine's own fault: every request of the batch hears of it, the thread lives on
            for ticket in served:
                ticket.fail(refusal_of(error))
        for ticket in served:
            if ticket.waited_for:
                ticket.fail(Refused(500, "the request was lost", error_type="generation"))
