"""Texts of many requests in one running batch: options and seeds a row each, rows join as requests come and leave as
they end or nobody waits for them. What asks for beams and other modes goes through the pipeline, as other tasks do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import randbits
from typing import Any

import torch

from ...decoding.search.row_requests import FinishedRow
from ...decoding.search.running_batch import RunningBatch
from ..generation.generate_stream import running_model
from ..generation.row_plans import RowPlans
from ..running.batching import Row
from ..running.explaining import position_limit
from ..running.loaded import Loaded
from ..running.pipeline_object import Pipeline
from ..running.task import Call, Prepared
from ..tasks.text.generating import stated_value
from ..tasks.text.text_generation import generate_arguments
from .errors import Refused, invalid, refusal_of
from .grouped_engine import SEED_BITS, Asked, GroupedEngine
from .heard_model import HeardModel
from .model_thread import Ticket
from .settings import Limits
from .text_rows import GrowingText, TextRow, TextToken

# Options under which a text is more than one row, or its rows are looked at together: the pipeline's own way.
_MODES = (
    "penalty_alpha",
    "dola_layers",
    "prompt_lookup_num_tokens",
    "constraints",
    "force_words_ids",
    "guidance_scale",
)
_ONE = ("num_beams", "num_return_sequences", "num_beam_groups")
_GRAMMARS = ("json_schema", "regex", "grammar", "choices")
_POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings", "position_embedding", "positions_embed")


@dataclass(frozen=True)
class AskedText(Asked):
    """A call of text generation. logprobs: of how many tokens beside the one chosen; None: of none. choices: how many
    texts for each prompt. token_ids: prompts that come as tokens, in place of ``inputs``. truncate: how many tokens of
    a prompt's end are kept."""

    logprobs: int | None = None
    choices: int = 1
    token_ids: Sequence[Sequence[int]] | None = None
    truncate: int | None = None


@dataclass
class AnsweredText:
    """The rows of a ticket when all have ended, ``choices`` for each of the items."""

    rows: list[TextRow]
    items: list[Prepared]
    call: Call
    options: Any


class TextEngine:
    """Answers tickets whose request is an ``AskedText``: with an ``AnsweredText``, or for modes other than greedy
    decoding and sampling with the pipeline's own answer.

    count: told of prompt and new tokens; observe: of the rows of each step.
    """

    def __init__(
        self,
        pipe: Pipeline,
        limits: Limits,
        count: Callable[[int, int], None] = lambda old, new: None,
        observe: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.pipe, self.limits, self.count, self.observe = pipe, limits, count, observe
        self.grouped = GroupedEngine(pipe, observe)
        loaded = pipe.loaded
        self.special_ids = frozenset(getattr(loaded.tokenizer, "all_special_ids", ()))
        self.positions = position_limit(loaded.model) if _has_position_table(loaded.model) else None
        self.plans = RowPlans(loaded.model)
        self.model = HeardModel(running_model(loaded.model, max_rows=limits.batch_rows, warn=False))
        self.batch = RunningBatch(self.model, max_rows=limits.batch_rows, prefill_tokens=limits.batch_tokens)
        self.model.batch = self.batch

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self.batch.idle and self.grouped.idle

    @property
    def room(self) -> int:
        """How many tickets may be handed over now."""
        return max(0, self.limits.batch_rows - len(self.batch.waiting))

    @property
    def backlog(self) -> int:
        """Calls of other modes that wait; they take no row of the batch from others."""
        return self.grouped.backlog

    def take(self, tickets: Sequence[Ticket]) -> None:
        """Submit the rows of tickets; what does not go row by row waits for calls of its own."""
        others = []
        for ticket in tickets:
            try:
                rows = self._rows_of(ticket)
            except BaseException as error:
                ticket.fail(refusal_of(error))
                continue
            if rows is None:
                others.append(ticket)
                continue
            self.count(sum(len(row.prompt_ids) for row in rows), 0)
            for row in rows:
                self.model.know(row)
                self.batch.submit(row.request)
        self.grouped.take(others)

    def step(self) -> None:
        """A step of the running batch, and one of a call of another mode: neither waits for the other to end."""
        if not self.batch.idle:
            self._step_rows()
        if not self.grouped.idle:
            self.grouped.step()

    def _step_rows(self) -> None:
        self._cancel_unwanted()
        try:
            ended = self.batch.step()
        except BaseException as error:  # a forward that failed: its rows are told, what waits goes on
            ended = self._abandoned(refusal_of(error))
        self.observe(len(self.batch.rows) + len(ended))
        self._deliver()
        for one in ended:
            self._end(one)

    def _abandoned(self, error: Refused) -> list[FinishedRow]:
        """The rows that ran, ended with ``error``; prompts that were lost on their way into the batch fail too."""
        ended = self.batch.abandon(error)
        held = {id(request) for request in (*self.batch.waiting, *(one.request for one in ended))}
        lost = [row for row in self.model.known if id(row.request) not in held]
        for row in lost:
            self.model.forget(row)
            row.ticket.fail(error)
        return ended

    # In.

    def _rows_of(self, ticket: Ticket) -> list[TextRow] | None:
        """The rows of a ticket, each with its request for the batch; None for what goes through the pipeline."""
        asked: AskedText = ticket.request
        call = self.pipe.read_call("" if asked.inputs is None else asked.inputs, **asked.options)
        options = self.pipe.resolved_options(call.options)
        arguments = self._arguments(options)
        if not _row_by_row(self.pipe.loaded, arguments):
            if ticket.emit is not None or asked.logprobs is not None:
                raise invalid("beams and other modes have no stream, details or log-probabilities")
            return None
        items = self._encoded(asked, call, options)
        if not items:
            raise invalid("inputs must hold at least one text; got an empty list")
        answer = AnsweredText([], items, call, options)
        seed = randbits(SEED_BITS) if asked.seed is None else asked.seed
        for item in items:
            ids = list(item.rows[0].inputs["input_ids"])[-asked.truncate if asked.truncate else 0 :]
            own = {**arguments, "max_new_tokens": self._new_tokens(asked, arguments, len(ids))}
            if asked.logprobs is not None:  # a token that was certain has no logits of its own
                own["jump_ahead"] = False
            for _ in range(asked.choices):
                row = TextRow(ticket, len(answer.rows), ids, seed + len(answer.rows), asked.logprobs)
                row.request = self.plans.row(
                    torch.tensor(ids, device=self.pipe.loaded.device),
                    own,
                    seed=row.seed,
                    tag=row,
                    on_token=self._hear(row),
                )
                if row.follows_text:
                    row.growing = GrowingText(self.text_of)
                answer.rows.append(row)
        ticket.partial = answer
        return answer.rows

    def _arguments(self, options: Any) -> dict[str, Any]:
        """The arguments of generate for one row, without seeds and with what grammars need."""
        loaded = self.pipe.loaded
        arguments = {name: value for name, value in generate_arguments(loaded, options).items() if name != "seeds"}
        if any(arguments.get(name) is not None for name in _GRAMMARS):
            arguments["tokenizer"] = loaded.tokenizer
        return arguments

    def _encoded(self, asked: AskedText, call: Call, options: Any) -> list[Prepared]:
        """The prompts as tokens, by the task's own encoding or as they came."""
        loaded, task = self.pipe.loaded, self.pipe.task_entry
        if asked.token_ids is not None:
            size = loaded.model.get_input_embeddings().weight.shape[0]
            wrong = next((one for ids in asked.token_ids for one in ids if not 0 <= one < size), None)
            if wrong is not None:
                raise invalid(f"prompt must hold token ids in [0, {size}); got {wrong}", param="prompt")
            return [Prepared([Row({"input_ids": list(ids)}, len(ids))], "") for ids in asked.token_ids]
        items: Any = call.items
        parsed = [task.parse(loaded, item, options) for item in items]
        return list(task.encode(loaded, parsed, options))

    def _new_tokens(self, asked: AskedText, arguments: dict[str, Any], prompt: int) -> int:
        """How many tokens a row may have: as asked, within the server's limit and the model's positions."""
        loaded = self.pipe.loaded
        wanted = stated_value(loaded, arguments, "max_new_tokens")
        if wanted is None:
            wanted = max(1, int(stated_value(loaded, arguments, "max_length") or 20) - prompt)
        arguments.pop("max_length", None)
        if self.positions is None:
            return min(int(wanted), self.limits.new_tokens)
        room = self.positions - prompt
        if room < 1 or (wanted > room and "max_new_tokens" in asked.options):
            raise invalid(
                f"prompt and new tokens must stay within the model's {self.positions}; got a prompt of {prompt} "
                f"and {wanted} more",
                param="max_new_tokens",
            )
        return min(int(wanted), room, self.limits.new_tokens)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        text: str = self.pipe.loaded.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    # Out.

    def _hear(self, row: TextRow) -> Callable[[int, str], None]:
        return lambda token_id, reason: self.model.hear(row, token_id, reason)

    def _deliver(self) -> None:
        """Hand every row the tokens of the last step, and tell streams of them."""
        told: dict[int, tuple[Ticket, list[TextToken]]] = {}
        heard = self.model.take()
        self.count(0, len(heard))
        for one in heard:
            token = one.row.take(one, special=one.token_id in self.special_ids)
            told.setdefault(id(one.row.ticket), (one.row.ticket, []))[1].append(token)
        for ticket, tokens in told.values():
            if ticket.emit is not None and ticket.waited_for:
                ticket.emit(tokens)
            if all(row.finish is not None for row in ticket.partial.rows):
                ticket.succeed(ticket.partial)

    def _end(self, ended: FinishedRow) -> None:
        """Forget a row that has left the batch; where it failed, its ticket fails."""
        row: TextRow = ended.request.tag
        self.model.forget(row)
        if ended.error is not None:
            row.ticket.fail(refusal_of(ended.error))
        elif ended.reason == "cancelled":
            row.ticket.fail(Refused(504, "the request was given up", error_type="timeout"))

    def _cancel_unwanted(self) -> None:
        for request in [*self.batch.waiting, *(row.request for row in self.batch.rows)]:
            if not request.tag.ticket.waited_for:
                self.batch.cancel(request)


def _row_by_row(loaded: Loaded, arguments: Mapping[str, Any]) -> bool:
    """Whether the texts of these arguments are rows of a batch: greedy decoding and sampling."""
    if any((stated_value(loaded, arguments, name) or 1) != 1 for name in _ONE):
        return False
    return all(stated_value(loaded, arguments, name) is None for name in _MODES)


def _has_position_table(model: Any) -> bool:
    """Whether positions are looked up in a table, beyond whose end a model fails; turned ones have no end."""
    return any(
        isinstance(module, torch.nn.Embedding) and name.rpartition(".")[2] in _POSITION_TABLES
        for name, module in model.named_modules()
    )
