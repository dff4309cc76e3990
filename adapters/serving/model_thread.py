"""One thread for a model, and the bounded queue before it: what arrives while a batch runs is the next batch."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import Refused, refusal_of

_LOG = logging.getLogger("afterlogits.serving")


class Engine(Protocol):
    """What answers tickets: a task with its model."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to step."""
        ...

    @property
    def room(self) -> int | None:
        """How many tickets it takes now; None: any number."""
        ...

    @property
    def backlog(self) -> int:
        """Tickets that it has taken and not begun with."""
        ...

    def take(self, tickets: "Sequence[Ticket]") -> None:
        """Take tickets; each is answered or failed here or in a later step."""
        ...

    def step(self) -> None:
        """A short piece of work: a batch, or a step of one that decodes."""
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
    """Runs the engines of a model, a step of each in turn, so that no task of the model waits for another to end.

    limit: tickets that may wait. most: of those that end a wait for company. gather: seconds that the first ticket
    waits for others where the thread was idle.
    """

    def __init__(self, name: str, *, limit: int, most: int, gather: float) -> None:
        self.limit, self.most, self.gather = limit, most, gather
        self._waiting: deque[Ticket] = deque()
        self._taken: dict[Engine, list[Ticket]] = {}  # what each engine has and has not answered
        self._changed = threading.Condition()
        self._ending = False
        self._seconds = 0.05  # a running mean of the time that a ticket is with its engine, for Retry-After
        self._thread = threading.Thread(target=self._run, name=f"afterlogits-{name}", daemon=True)

    def start(self) -> None:
        """Let the thread take tickets."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether tickets are answered."""
        return self._thread.is_alive()

    def __len__(self) -> int:
        return len(self._waiting) + sum(engine.backlog for engine in list(self._taken))

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket. Raises Refused (503) where the queue is full or the server ends."""
        with self._changed:
            if self._ending:
                raise Refused(503, "the server is ending", error_type="overloaded", retry_after=5, close=True)
            if len(self) >= self.limit:
                self._discard()
            if len(self) >= self.limit:
                wait = self._seconds * len(self) / self.most
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

    # The thread.

    def _run(self) -> None:
        """Turn after turn until the server ends. A fault outside an engine's work is told to all who wait."""
        while True:
            try:
                if not self._wait():
                    return
                self._turn()
            except BaseException as error:  # what ends a thread without a word would let everybody wait for nothing
                _LOG.exception("a turn of %s failed", self._thread.name)
                self._fail_all(error)

    def _turn(self) -> None:
        for engine, tickets in self._take().items():
            self._taken.setdefault(engine, []).extend(tickets)
            self._guarded(engine, lambda engine=engine, tickets=tickets: engine.take(tickets))  # type: ignore[misc]
        for engine in list(self._taken):
            if not engine.idle:
                self._guarded(engine, engine.step)
            self._settle(engine)

    def _fail_all(self, error: BaseException) -> None:
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
            taken, self._taken = self._taken, {}
        for ticket in (*waiting, *(ticket for tickets in taken.values() for ticket in tickets)):
            ticket.fail(refusal_of(error))

    def _wait(self) -> bool:
        """Wait for something to do, the first ticket for company; whether to go on."""
        with self._changed:
            if self._taken:
                return True
            while not self._waiting:
                if self._ending:
                    return False
                self._changed.wait()
                if self.gather and self._waiting and not self._ending:
                    self._changed.wait_for(lambda: len(self._waiting) >= self.most, timeout=self.gather)
                self._discard()
            return True

    def _take(self) -> dict[Engine, list[Ticket]]:
        """Tickets from the queue, the oldest first, as many as each engine has room for."""
        with self._changed:
            self._discard()
            rooms: dict[Engine, int | None] = {}
            found: dict[Engine, list[Ticket]] = {}
            kept: deque[Ticket] = deque()
            for ticket in self._waiting:
                engine = ticket.engine
                room = rooms.setdefault(engine, engine.room)
                if room == 0:
                    kept.append(ticket)
                    continue
                rooms[engine] = None if room is None else room - 1
                found.setdefault(engine, []).append(ticket)
            self._waiting = kept
            return found

    def _discard(self) -> None:
        """Forget tickets that nobody waits for."""
        if not all(ticket.waited_for for ticket in self._waiting):
            self._waiting = deque(ticket for ticket in self._waiting if ticket.waited_for)

    def _guarded(self, engine: Engine, work: Callable[[], None]) -> None:
        """Work of an engine; where it raises, all of its tickets hear of it and the thread lives on."""
        try:
            work()
        except BaseException as error:  # an engine's own fault; a panic of a tokenizer's Rust is no Exception
            _LOG.exception("a step of %s failed", self._thread.name)
            for ticket in self._taken[engine]:
                ticket.fail(refusal_of(error))

    def _settle(self, engine: Engine) -> None:
        """Let go of tickets that have ended; an engine that has nothing to do must have answered all of its own."""
        tickets = self._taken[engine]
        if engine.idle:
            for ticket in tickets:
                if ticket.waited_for:
                    ticket.fail(Refused(500, "the request was lost", error_type="generation"))
            del self._taken[engine]
        else:
            self._taken[engine] = [ticket for ticket in tickets if ticket.waited_for]
        now = time.monotonic()
        for ticket in tickets:
            if not ticket.waited_for:
                self._seconds += 0.05 * (now - ticket.created - self._seconds)
