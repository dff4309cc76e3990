"""Texts of many requests in one batch: options and seeds a row each, rows leave as they end or nobody waits for them.

A wave is what waits, up to a budget of rows and tokens; what asks for beams and other modes goes through the pipeline,
as other tasks do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import randbits
from typing import Any

import torch

from ..generation.watched import generate_watched
from ..running.batching import Row, collate
from ..running.explaining import position_limit
from ..running.pipeline_object import Pipeline
from ..running.runner import Call, Loaded, Prepared, pad_values
from ..tasks.text.generating import stated_value
from ..tasks.text.text_generation import generate_arguments
from .errors import invalid, refusal_of
from .grouped_engine import Asked, GroupedEngine, options_key
from .model_thread import Ticket
from .settings import Limits
from .text_rows import GrowingText, TextRow, TextToken

# Arguments of generate that may differ from row to row of a batch, and what stands for "off".
_PER_ROW: dict[str, Any] = {
    **{"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0},
    **{"epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
    **{"min_new_tokens": 0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "top_n_sigma": 0.0},
    **{"xtc_probability": 0.0, "xtc_threshold": 0.1, "logit_bias": {}},
}
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
# What a row says of itself in another way, or that is the same for every call.
_OWN = frozenset({"do_sample", "max_new_tokens", "seeds", "stop_strings", "tokenizer", "pad_token_id"})
_POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings", "position_embedding", "positions_embed")
_ONE = ("num_beams", "num_return_sequences", "num_beam_groups")


@dataclass(frozen=True)
class AskedText(Asked):
    """A call of text generation. logprobs: of how many tokens beside the one chosen; None: of none. choices: how many
    texts for each prompt. token_ids: prompts that come as tokens, in place of ``inputs``."""

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
    decoding and sampling with the pipeline's own answer."""

    def __init__(
        self, pipe: Pipeline, limits: Limits, count: Callable[[int, int], None] = lambda old, new: None
    ) -> None:
        self.pipe, self.limits, self.count = pipe, limits, count
        self.grouped = GroupedEngine(pipe)
        loaded = pipe.loaded
        self.special_ids = frozenset(getattr(loaded.tokenizer, "all_special_ids", ()))
        self.positions = position_limit(loaded.model) if _has_position_table(loaded.model) else None

    def serve(self, tickets: Sequence[Ticket], more: Callable[[], list[Ticket]]) -> None:
        waiting = self._rows_of(tickets)
        while waiting:
            wave, waiting = self._wave(waiting)
            self._run(wave)
            if not waiting:
                return
            waiting += self._rows_of(more())

    def _rows_of(self, tickets: Sequence[Ticket]) -> list[TextRow]:
        """The rows of tickets that generate row by row; the others are answered here and now."""
        rows: list[TextRow] = []
        for ticket in tickets:
            if not ticket.waited_for:
                continue
            try:
                own = self._read(ticket)
            except Exception as error:
                ticket.fail(refusal_of(error))
                continue
            if own is None:
                self.grouped.serve([ticket], list)
            else:
                rows += own
        return rows

    def _read(self, ticket: Ticket) -> list[TextRow] | None:
        asked: AskedText = ticket.request
        loaded = self.pipe.loaded
        call = self.pipe.read_call("" if asked.inputs is None else asked.inputs, **asked.options)
        options = self.pipe.resolved_options(call.options)
        arguments = generate_arguments(loaded, options)
        plain = _plain_arguments(loaded, arguments)
        if plain is None:
            if ticket.emit is not None or asked.logprobs is not None:
                raise invalid("beams and other modes have no stream, details or log-probabilities")
            return None
        items = self._encoded(asked, call, options)
        answer = AnsweredText([], items, call, options)
        stops = arguments.get("stop_strings") or ()
        seed = randbits(62) if asked.seed is None else asked.seed
        for number, item in enumerate(items):
            ids = list(item.rows[0].inputs["input_ids"])
            if asked.truncate is not None:
                ids = ids[-asked.truncate :]
            new = self._new_tokens(asked, arguments, len(ids))
            for choice in range(asked.choices):
                row = TextRow(
                    ticket,
                    len(answer.rows),
                    ids,
                    plain,
                    seed + number * asked.choices + choice,
                    new,
                    (stops,) if isinstance(stops, str) else tuple(stops),
                    asked.logprobs,
                )
                if row.follows_text:
                    row.growing = GrowingText(self.text_of)
                answer.rows.append(row)
        ticket.partial = answer
        return answer.rows

    def _encoded(self, asked: AskedText, call: Call, options: Any) -> list[Prepared]:
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

    def _new_tokens(self, asked: AskedText, arguments: Mapping[str, Any], prompt: int) -> int:
        """How many tokens a row may have: as asked, within the server's limit and the model's positions."""
        loaded = self.pipe.loaded
        wanted = stated_value(loaded, arguments, "max_new_tokens")
        if wanted is None:
            wanted = max(1, int(stated_value(loaded, arguments, "max_length") or 20) - prompt)
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
        text: str = self.pipe.loaded.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def _wave(self, waiting: list[TextRow]) -> tuple[list[TextRow], list[TextRow]]:
        """The oldest rows that fit in a batch and may share it, and those that wait on."""
        wave: list[TextRow] = []
        rest: list[TextRow] = []
        longest = 0
        for row in waiting:
            length = max(longest, len(row.prompt_ids) + row.max_new_tokens)
            fits = len(wave) < self.limits.batch_rows and length * (len(wave) + 1) <= self.limits.batch_tokens
            if wave and not (fits and _company(row) == _company(wave[0])):
                rest.append(row)
            elif row.live:
                wave.append(row)
                longest = length
        return wave, rest

    def _run(self, wave: Sequence[TextRow]) -> None:
        if not wave:
            return
        loaded = self.pipe.loaded
        batch = [
            Row({"input_ids": r.prompt_ids, "attention_mask": [1] * len(r.prompt_ids)}, len(r.prompt_ids)) for r in wave
        ]
        inputs = collate(batch, pad_values=pad_values(loaded), device=loaded.device, left=True).inputs
        watcher = _Watcher(wave, self.special_ids, _end_ids(loaded, wave[0].options))
        self.count(sum(len(row.prompt_ids) for row in wave), 0)
        try:
            generate_watched(loaded.model, watcher, **inputs, **_arguments_of(loaded, wave))
        except Exception as error:
            for row in wave:
                row.ticket.fail(refusal_of(error))
        self.count(0, watcher.generated)


class _Watcher:
    """Hands every row its tokens, tells streams of a step's tokens, and finishes tickets whose rows have all ended."""

    def __init__(self, wave: Sequence[TextRow], special_ids: frozenset[int], end_ids: frozenset[int]) -> None:
        self.wave, self.special_ids, self.end_ids = wave, special_ids, end_ids
        asked = [row.logprobs for row in wave if row.logprobs is not None]
        self.top = max(asked) if asked else None
        self.generated = 0

    def step(self, rows: Sequence[int], token_ids: Sequence[int], done: Sequence[bool], logprobs: Any) -> list[int]:
        ended: list[int] = []
        told: dict[int, tuple[Ticket, list[TextToken]]] = {}
        scores = None if logprobs is None else logprobs.logprobs.tolist()
        best = None if logprobs is None else (logprobs.top_token_ids.tolist(), logprobs.top_logprobs.tolist())
        for place, number in enumerate(rows):
            row = self.wave[number]
            if not row.live:
                ended.append(number)
                continue
            self.generated += 1
            score = None if scores is None else scores[place]
            top = () if best is None else list(zip(best[0][place], best[1][place], strict=True))[: row.logprobs or 0]
            token = row.take(token_ids[place], done[place], self.end_ids, self.special_ids, score, top)
            told.setdefault(id(row.ticket), (row.ticket, []))[1].append(token)
            if row.finish is not None:
                ended.append(number)
        for ticket, tokens in told.values():
            if ticket.emit is not None:
                ticket.emit(tokens)
            if all(row.finish is not None for row in ticket.partial.rows):
                ticket.succeed(ticket.partial)
        return ended


def _plain_arguments(loaded: Loaded, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of a row for greedy decoding or sampling; None for every other mode."""
    if any((stated_value(loaded, arguments, name) or 1) != 1 for name in _ONE):
        return None
    modes = ("penalty_alpha", "dola_layers", "prompt_lookup_num_tokens", "constraints", "force_words_ids", "max_time")
    if any(stated_value(loaded, arguments, name) is not None for name in modes):
        return None
    return {name: value for name, value in arguments.items() if name not in _OWN} | {
        "do_sample": bool(stated_value(loaded, arguments, "do_sample"))
    }


def _company(row: TextRow) -> str:
    """Equal for rows that may share a batch: all their options that are not per row."""
    return options_key({name: value for name, value in row.options.items() if name not in (*_PER_ROW, "do_sample")})


def _arguments_of(loaded: Loaded, wave: Sequence[TextRow]) -> dict[str, Any]:
    """The arguments of one call of generate for all rows: one value where they agree, else one a row."""
    samples = [row.options["do_sample"] for row in wave]
    shared = {name: value for name, value in wave[0].options.items() if name not in (*_PER_ROW, "do_sample")}
    arguments: dict[str, Any] = {**shared, "do_sample": any(samples)}
    for name, off in _PER_ROW.items():
        if not any(name in row.options for row in wave) and not (name == "temperature" and not all(samples)):
            continue
        if name in _SAMPLING and not any(samples):
            continue
        values = [_value(loaded, row, name, off) for row in wave]
        arguments[name] = values[0] if all(value == values[0] for value in values) and len(wave) > 0 else values
    if any(samples):
        arguments["seeds"] = [row.seed for row in wave]
    limits = [row.max_new_tokens for row in wave]
    arguments["max_new_tokens"] = limits[0] if len(set(limits)) == 1 else limits
    pad = loaded.tokenizer.pad_token_id
    arguments["pad_token_id"] = pad if pad is not None else next(iter(_end_ids(loaded, wave[0].options)), 0)
    return arguments


def _value(loaded: Loaded, row: TextRow, name: str, off: Any) -> Any:
    """A row's value of an option: its own, the model's, transformers' default, or off; greedy is a temperature of 0."""
    if name == "temperature" and not row.options["do_sample"]:
        return 0.0
    found = stated_value(loaded, row.options, name)
    if found is None and name in _SAMPLING:
        defaults: dict[str, Any] = getattr(loaded.model.generation_config, "_get_default_generation_params", dict)()
        found = defaults.get(name)
    return off if found is None else found


def _end_ids(loaded: Loaded, options: Mapping[str, Any]) -> frozenset[int]:
    found = stated_value(loaded, options, "eos_token_id")
    if found is None:
        return frozenset()
    return frozenset([found] if isinstance(found, int) else found)


def _has_position_table(model: Any) -> bool:
    """Whether positions are looked up in a table, beyond whose end a model fails; turned ones have no end."""
    return any(
        isinstance(module, torch.nn.Embedding) and name.rpartition(".")[2] in _POSITION_TABLES
        for name, module in model.named_modules()
    )
