"""``json_schema``, ``regex``, ``grammar`` and ``choices`` of a call as one logits processor with a grammar a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import LogitsProcessor

from ...decoding.grammar.bitmask import mask_tokens_
from ...decoding.grammar.grammar_step import GrammarStep
from ...decoding.grammar.token_history import GrammarMatcher, TokenHistory
from ..running.options import require_bool
from .grammar_engines import Constraint, GrammarEngine, check_engine, engine_of
from .request import GRAMMAR_OPTIONS, has_grammar_rows, per_row

__all__ = ["GrammarProcessor", "take_grammars"]

_OPTIONS = (*GRAMMAR_OPTIONS, "grammar_engine", "jump_ahead")


class GrammarProcessor(LogitsProcessor):  # type: ignore[misc]
    """Keeps every row inside its grammar: what the loops of this engine make a ``GrammarStep`` of.

    constraints: one for all rows, or one a prompt, None for a free row. jumps: whether tokens that are certain are
    appended without a choice, and read by the model together. Called as transformers calls its processors,
    it serves loops of transformers' own and speculation too: each row's matcher goes to where the row's new tokens
    are, which takes back what was only guessed. One call of ``generate`` has one processor.
    """

    def __init__(self, engine: GrammarEngine, constraints: Sequence[Constraint | None], *, jumps: bool = True) -> None:
        self.engine, self.constraints, self.jumps = engine, list(constraints), jumps
        for constraint in self.constraints:
            if constraint is not None:
                engine.matcher(constraint)
        self._rows: list[TokenHistory | None] = []
        self._prompt_length = 0

    @property
    def kind(self) -> str:
        """The option that it was given by, the first of several."""
        return next((constraint[0] for constraint in self.constraints if constraint is not None), GRAMMAR_OPTIONS[0])

    def check_rows(self, rows: int, copies: int) -> None:
        """Raise ValueError unless there is one grammar for all rows, for each prompt of ``copies`` rows, or a row."""
        if len(self.constraints) > 1:
            per_row(self.kind, self.constraints, rows, copies)

    def matchers(self, rows: int) -> list[GrammarMatcher | None]:
        """New matchers for ``rows`` rows, of which as many neighbours belong to each prompt."""
        count = len(self.constraints)
        if rows % count:
            raise ValueError(f"a grammar must be given for all rows or for each prompt; got {count} for {rows} rows")
        own = [self.constraints[row * count // rows] for row in range(rows)]
        return [None if constraint is None else self.engine.matcher(constraint) for constraint in own]

    def step(self, rows: int, vocab_size: int) -> GrammarStep:
        """The step of a loop that starts with ``rows`` rows."""
        return GrammarStep(self.matchers(rows), vocab_size)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self._rows:
            self._prompt_length = input_ids.shape[1]
            self._rows = [None if one is None else TokenHistory(one) for one in self.matchers(input_ids.shape[0])]
        words = (scores.shape[1] + 31) // 32
        rows: list[int] = []
        for number, (row, ids) in enumerate(zip(self._rows, input_ids[:, self._prompt_length :].tolist(), strict=True)):
            if row is not None:
                row.go_to(ids)
                if row.constrains:
                    rows.append(number)
        if not rows:
            return scores
        bitmask = _zeros(len(rows), words)
        for place, number in enumerate(rows):
            history = self._rows[number]
            assert history is not None
            history.matcher.fill(bitmask, place)
        return mask_tokens_(scores.clone(), bitmask, rows=rows)

    def __deepcopy__(self, memo: Any) -> GrammarProcessor:
        """For an assistant that transformers gives processors of its own: at the same prompt, with matchers anew."""
        twin = GrammarProcessor(self.engine, self.constraints, jumps=self.jumps)
        twin._prompt_length = self._prompt_length
        twin._rows = [None if row is None else row.fork() for row in self._rows]
        return twin


def take_grammars(model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` of a call with its grammars as a processor among its ``logits_processor``; as they are without any.

    Raises ValueError where two kinds are given for a row, where the tokenizer or an end token is missing, or where a
    grammar cannot be read; TypeError for what is no grammar.
    """
    if not any(options.get(name) is not None for name in (*GRAMMAR_OPTIONS, "grammar_engine")):
        return {name: value for name, value in options.items() if name not in _OPTIONS}
    options = dict(options)
    name, jumps = options.pop("grammar_engine", None), options.pop("jump_ahead", None)
    check_engine(name)
    require_bool("jump_ahead", jumps, optional=True)
    constraints = _constraints({kind: options.pop(kind, None) for kind in GRAMMAR_OPTIONS})
    if not any(constraints):
        return options
    tokenizer = options.get("tokenizer")
    if tokenizer is None:
        raise ValueError("tokenizer must be given for a grammar; got None")
    if not callable(getattr(tokenizer, "get_vocab", None)):
        raise TypeError(f"tokenizer must be a tokenizer of transformers; got {type(tokenizer).__name__}")
    vocab_size = int(model.config.get_text_config(decoder=True).vocab_size)
    engine = engine_of(tokenizer, vocab_size, _ends(model, options), name)
    options["logits_processor"] = [
        *(options.get("logits_processor") or ()),
        GrammarProcessor(engine, constraints, jumps=jumps is None or bool(jumps)),
    ]
    return options


def _constraints(given: Mapping[str, Any]) -> list[Constraint | None]:
    """One constraint for all rows, or one a prompt."""
    columns = {
        kind: [_checked(kind, one) for one in (value if has_grammar_rows(kind, value) else [value])]
        for kind, value in given.items()
        if value is not None
    }
    count = max(len(column) for column in columns.values()) if columns else 1
    rows: list[Constraint | None] = [None] * count
    for kind, column in columns.items():
        if not column:
            raise ValueError(f"{kind} must have one value or one for each prompt; got none")
        if len(column) not in (1, count):
            raise ValueError(f"{kind} must have one value or one for each of the {count} prompts; got {len(column)}")
        for row in range(count):
            text = column[row % len(column)]
            before = rows[row]
            if text is None:
                continue
            if before is not None:
                raise ValueError(f"{kind} must not be given beside {before[0]}; got both in row {row}")
            rows[row] = (kind, text)
    return rows


def _checked(kind: str, value: Any) -> Any:
    """The text of a constraint: a JSON schema may be a mapping, JSON or a pydantic model."""
    if value is None:
        return None
    if kind == "choices":
        if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) and one for one in value):
            raise TypeError(f"choices must be a list of texts; got {value!r}")
        return list(value)
    if kind == "json_schema":
        return _schema(value.model_json_schema() if hasattr(value, "model_json_schema") else value)
    if not isinstance(value, str) or not value:
        raise TypeError(f"{kind} must be a text; got {value!r}")
    return value


def _schema(schema: Any) -> str:
    """A JSON schema as JSON. The schema True, which allows everything, is {}; False is refused."""
    if not isinstance(schema, str | Mapping | bool):
        raise TypeError(f"json_schema must be a mapping, JSON or a pydantic model; got {type(schema).__name__}")
    try:
        value = json.loads(schema) if isinstance(schema, str) else schema
        text = schema if isinstance(schema, str) else json.dumps(schema)
    except json.JSONDecodeError as error:
        raise ValueError(f"json_schema must be JSON; got {schema!r:.82}: {error}") from None
    except TypeError as error:
        raise TypeError(f"json_schema must hold what JSON can; got {schema!r:.80}: {error}") from None
    if value is False:
        raise ValueError("json_schema must allow something; got false")
    return "{}" if value is True else text


def _ends(model: Any, options: Mapping[str, Any]) -> list[int]:
    """The end tokens of a call, of all its rows together."""
    config = options.get("generation_config")
    for value in (options.get("eos_token_id"), getattr(config, "eos_token_id", None)):
        if value is not None:
            return _flat(value)
    found = _flat(getattr(model.generation_config, "eos_token_id", None))
    if not found:
        raise ValueError("eos_token_id must be given for a grammar, which ends by it; got None")
    return found


def _flat(value: Any) -> list[int]:
    if value is None:
        return []
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [token_id for one in value for token_id in _flat(one)]
    return [int(value)]


def _zeros(rows: int, words: int) -> Tensor:
    import torch

    return torch.zeros((rows, words), dtype=torch.int32, device="cpu")
