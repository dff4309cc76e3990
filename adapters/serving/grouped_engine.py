"""Requests of one task in batches of like size: each step runs the oldest input that waits with those nearest to it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import randbits
from typing import Any

from ..running.failures import Failure
from ..running.item_seeds import ItemSeeds
from ..running.passes import group_of
from ..running.pipeline_object import Pipeline
from ..running.task import Call, Prepared
from .call_in_turns import CallInTurns
from .errors import refusal_of
from .model_thread import Ticket

# Few texts at a time are padded for each other less in small batches, which fill a CPU as well as large ones.
_CPU_TOKENS = 256
# What a call of a model costs beside its tokens, in tokens: its weights are read once. 18 for 6 layers of width 384.
_CALL = 16
SEED_BITS = 48  # of a seed that nobody gave: every reader of JSON keeps as many


@dataclass(frozen=True)
class Asked:
    """A call of a pipeline: what goes in front, its options, and the seed of its draws (None: one of its own)."""

    inputs: Any
    options: Mapping[str, Any]
    seed: int | None = None


class RequestSeeds(ItemSeeds):
    """A seed for every item of a batch of requests."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(0)
        self.seeds = list(seeds)

    def __getitem__(self, item: int) -> int:
        return self.seeds[item]


@dataclass(eq=False)
class _Member:
    """A ticket with its items. found: their answers as they come; key: equal for members that may share a batch."""

    ticket: Ticket
    call: Call
    items: list[Any]
    seed: int
    key: str
    found: dict[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """An encoded item that waits. length: of its longest row, in the unit of the task; kind: what items of one batch
    must have in common."""

    member: _Member
    place: int
    encoded: Prepared
    length: int
    kind: Any

    @property
    def seed(self) -> int:
        return self.member.seed + self.place


class GroupedEngine:
    """Answers tickets whose request is an ``Asked`` through one pipeline, a batch a step.

    Inputs are encoded as they come and wait in a pool. What has come while a batch ran is in the pool for the next one,
    and a request is answered as soon as its own inputs are. Calls that decode give way after every step of theirs.
    most: tickets in the pool; observe: told of how many inputs each batch has.
    """

    def __init__(
        self, pipe: Pipeline, observe: Callable[[int], None] = lambda size: None, *, most: int | None = None
    ) -> None:
        small = pipe.device.type == "cpu" and pipe.task_entry.unit == "tokens"
        self.pipe = pipe.with_batch_tokens(_CPU_TOKENS) if small else pipe
        self.observe, self.most = observe, most
        self.takes_seeds = "seeds" in pipe.task_entry.forwarded()
        self._pool: list[_Waiting] = []
        self._running: CallInTurns | None = None
        self._batch: list[_Waiting] = []

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self._running is None and not self._pool

    @property
    def backlog(self) -> int:
        """Tickets that wait in the pool."""
        return len({id(one.member) for one in self._pool})

    @property
    def room(self) -> int | None:
        """How many tickets may be handed over now; None: any number."""
        return None if self.most is None else max(0, self.most - self.backlog)

    def take(self, tickets: Sequence[Ticket]) -> None:
        """Encode the inputs of tickets, those of equal options together, and let them wait."""
        groups: dict[str, list[_Member]] = {}
        for ticket in tickets:
            try:
                member = self._read(ticket)
                groups.setdefault(member.key, []).append(member)
            except BaseException as error:
                ticket.fail(refusal_of(error))
        for members in groups.values():
            try:
                self._encode(members)
            except BaseException as error:
                for member in members:
                    member.ticket.fail(refusal_of(error))

    def step(self) -> None:
        """Run a batch, or a step of one that decodes."""
        if self._running is None:
            self._start()
        if self._running is not None and self._running.advance():
            running, self._running = self._running, None
            if not running.given_up:
                self._finish(running.result, running.error)

    # In.

    def _read(self, ticket: Ticket) -> _Member:
        asked: Asked = ticket.request
        call = self.pipe.read_call(asked.inputs, **asked.options)
        items: Any = call.items
        seed = randbits(SEED_BITS) if asked.seed is None else asked.seed
        return _Member(ticket, call, list(items), seed, options_key(call.options))

    def _encode(self, members: Sequence[_Member]) -> None:
        """Encode the items of requests with equal options together; those that fail have their answer already."""
        options = self.pipe.resolved_options(members[0].call.options)
        places = [(member, place) for member in members for place in range(len(member.items))]
        items = [item for member in members for item in member.items]
        for (member, place), encoded in zip(places, self.pipe.encode_items(items, options), strict=True):
            if isinstance(encoded, Failure):
                member.found[place] = encoded
            else:
                self._pool.append(self._waiting(member, place, encoded))
        for member in members:
            self._give_if_whole(member)

    def _waiting(self, member: _Member, place: int, encoded: Prepared) -> _Waiting:
        rows, task = encoded.rows, self.pipe.task_entry
        length = max((row.length for row in rows), default=0)
        kind = group_of(task, rows[0]) if rows and task.unit != "tokens" else None
        return _Waiting(member, place, encoded, length, (member.key, kind))

    # A batch.

    def _start(self) -> None:
        """Choose the next batch from what waits, and run it; what decodes gives way between steps."""
        self._pool = [one for one in self._pool if one.member.ticket.waited_for]
        self._batch = self._choose()
        if not self._batch:
            return
        self.observe(len({id(one.member) for one in self._batch}))
        chosen = set(map(id, self._batch))
        self._pool = [one for one in self._pool if id(one) not in chosen]
        if self.takes_seeds:  # what decodes can give way
            tickets = [one.member.ticket for one in self._batch]
            self._running = CallInTurns(self._answers, lambda: any(ticket.waited_for for ticket in tickets))
            return
        try:
            self._finish(self._answers(), None)
        except BaseException as error:
            self._finish(None, error)

    def _choose(self) -> list[_Waiting]:
        """The oldest item and those of its kind and of like length that share its batch with least padding."""
        if not self._pool:
            return []
        oldest = self._pool[0]
        alike = [one for one in self._pool if one.kind == oldest.kind]
        alike.sort(key=lambda one: -one.length)  # stable: the older first
        _, budget, most = self.pipe.batch_limits
        sizes = [(len(one.encoded.rows), one.length) for one in alike]
        first, last = best_window(sizes, alike.index(oldest), budget, most)
        return alike[first:last]

    def _answers(self) -> list[Any]:
        options = dict(self._batch[0].member.call.options)
        if self.takes_seeds:
            options["seeds"] = RequestSeeds([one.seed for one in self._batch])
        encoded = [one.encoded for one in self._batch]
        return self.pipe.answer_encoded(encoded, self.pipe.resolved_options(options))

    # Out.

    def _finish(self, found: Sequence[Any] | None, error: BaseException | None) -> None:
        """Hand a batch's answers to the requests; an error is that of all of them."""
        batch, self._batch = self._batch, []
        members = {id(one.member): one.member for one in batch}
        if found is None:
            for member in members.values():
                member.ticket.fail(refusal_of(error or RuntimeError("the batch has no answers")))
            return
        for one, answer in zip(batch, found, strict=True):
            one.member.found[one.place] = answer
        for member in members.values():
            self._give_if_whole(member)

    def _give_if_whole(self, member: _Member) -> None:
        if len(member.found) == len(member.items):
            _give(self.pipe, member, [member.found[place] for place in range(len(member.items))])


def _give(pipe: Pipeline, member: _Member, found: Sequence[Any]) -> None:
    """A request's answers in the nesting of its call, or the first error among them, with its place."""
    failed = next((place for place, each in enumerate(found) if isinstance(each, Failure)), None)
    if failed is not None:
        refused = refusal_of(found[failed].error)
        if member.call.kind != "single":
            refused.message = f"input {failed}: {refused.message}"
        member.ticket.fail(refused)
        return
    try:
        member.ticket.succeed(pipe.shape_answers(found, member.call))
    except BaseException as error:
        member.ticket.fail(refusal_of(error))


def options_key(options: Mapping[str, Any]) -> str:
    """Equal for equal options; what JSON has no word for (arrays, pictures) is equal to itself alone."""
    return json.dumps(options, sort_keys=True, default=lambda value: f"<{type(value).__name__} {id(value)}>")


def best_window(sizes: Sequence[tuple[int, int]], must: int, budget: int, most: int | None = None) -> tuple[int, int]:
    """Which neighbours among items of ``sizes`` (rows, length), longest first, to run with item ``must``: [from, to).

    As many as the budget holds, padded to the longest; of all such windows the one that pays least for each unit of its
    items, where a call costs ``_CALL`` units beside.
    >>> best_window([(1, 9), (1, 4), (1, 4), (1, 3)], 2, 12)
    (1, 4)
    """
    best, place = -1.0, (must, must + 1)
    for first in range(must + 1):
        longest, rows, held, last = max(sizes[first][1], 1), 0, 0, first
        for count, length in sizes[first:]:
            over = (rows + count) * longest > budget or (most is not None and rows + count > most)
            if rows and over:
                break
            rows, held, last = rows + count, held + count * length, last + 1
        worth = held / (rows * longest + _CALL) if rows else 0.0
        if last > must and worth > best:
            best, place = worth, (first, last)
    return place
