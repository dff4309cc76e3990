"""Requests of one task as one call for each group of equal options: a batch holds what arrived together."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import randbits
from typing import Any

from ..running.item_seeds import ItemSeeds
from ..running.pipeline_object import Pipeline
from ..running.runner import Call, Failure
from .errors import refusal_of
from .model_thread import Ticket

# Few texts at a time are padded for each other less in small batches, which fill a CPU as well as large ones.
_CPU_TOKENS = 256
SEED_BITS = 48  # of a seed that nobody gave: every reader of JSON keeps as many


@dataclass(frozen=True)
class Asked:
    """A call of a pipeline: what goes in front, its options, and the seed of its draws (None: one of its own)."""

    inputs: Any
    options: Mapping[str, Any]
    seed: int | None = None


class RequestSeeds(ItemSeeds):
    """A seed for every item of a group of requests."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(0)
        self.seeds = list(seeds)

    def __getitem__(self, item: int) -> int:
        return self.seeds[item]


@dataclass(frozen=True)
class _Member:
    ticket: Ticket
    call: Call
    items: list[Any]
    seed: int


class GroupedEngine:
    """Answers tickets whose request is an ``Asked`` through one pipeline. observe: told of the size of each batch."""

    def __init__(self, pipe: Pipeline, observe: Callable[[int], None] = lambda size: None) -> None:
        small = pipe.device.type == "cpu" and pipe.task_entry.unit == "tokens"
        self.pipe = pipe.with_batch_tokens(_CPU_TOKENS) if small else pipe
        self.observe = observe
        self.takes_seeds = "seeds" in pipe.task_entry.forwarded()

    def serve(self, tickets: Sequence[Ticket], more: Callable[[], list[Ticket]]) -> None:
        """Answer all tickets, a call for each group of equal options; what comes meanwhile is the next batch."""
        groups: dict[str, list[_Member]] = defaultdict(list)
        self.observe(len(tickets))
        for ticket in tickets:
            if not ticket.waited_for:
                continue
            try:
                member = self._read(ticket)
                groups[options_key(member.call.options)].append(member)
            except Exception as error:
                ticket.fail(refusal_of(error))
        for members in groups.values():
            self._answer(members)

    def _read(self, ticket: Ticket) -> _Member:
        asked: Asked = ticket.request
        call = self.pipe.read_call(asked.inputs, **asked.options)
        items: Any = call.items
        return _Member(ticket, call, list(items), randbits(SEED_BITS) if asked.seed is None else asked.seed)

    def _answer(self, members: Sequence[_Member]) -> None:
        """One call for all items of the members, and to each member its own answers."""
        options = dict(members[0].call.options)
        items = [item for member in members for item in member.items]
        if self.takes_seeds:
            options["seeds"] = RequestSeeds([m.seed + k for m in members for k in range(len(m.items))])
        try:
            (found,) = self.pipe.answer_windows(iter([items]), options=options)
        except Exception as error:
            for member in members:
                member.ticket.fail(refusal_of(error))
            return
        start = 0
        for member in members:
            own = found[start : start + len(member.items)]
            start += len(member.items)
            _give(self.pipe, member, own)


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
    except Exception as error:
        member.ticket.fail(refusal_of(error))


def options_key(options: Mapping[str, Any]) -> str:
    """Equal for equal options; what JSON has no word for (arrays, pictures) is equal to itself alone."""
    return json.dumps(options, sort_keys=True, default=lambda value: f"<{type(value).__name__} {id(value)}>")
