"""What one call of ``generate`` asks for beyond transformers' own arguments, carried to the loop that serves it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from ...decoding.options.token_ids import token_id
from ...decoding.options.validation import as_written
from .arguments import whole_numbers

__all__ = [
    "DRAWS",
    "ENDS",
    "GRAMMAR_OPTIONS",
    "NEW_NAMES",
    "OWN_OPTIONS",
    "RULE_NAMES",
    "Pending",
    "Request",
    "beams_stay_uncut",
    "current_pending",
    "current_request",
    "grammar_of_row",
    "has_grammar_rows",
    "has_rows",
    "per_row",
    "requested",
    "split_request",
    "uncut_beams",
]


@dataclass(frozen=True)
class Request:
    """Options of this engine alone. None or empty: not asked.

    rows: sampling parameters of a draw, by name, that transformers takes once for a batch or lacks. rules: the same for
    what acts before the filters; see ``row_rules``.
    """

    seeds: Any = None
    compact: bool = False
    rows: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    max_new_tokens: Any = None
    eos_token_id: Any = None
    shared_prefill: bool = True

    @property
    def asks_for_more(self) -> bool:
        """Whether the answer would be different without this engine (``compact`` only makes it faster)."""
        return bool(self.asked)

    @property
    def asked(self) -> list[str]:
        """The names of the options that have a value per row, or that this engine alone knows."""
        others = {name: getattr(self, name) for name in ("seeds", "max_new_tokens", "eos_token_id")}
        return [*self.rows, *self.rules, *(name for name, value in others.items() if value is not None)]

    def refuse(self, names: Iterable[str], mode: str, why: str) -> None:
        """Raise ValueError if one of ``names`` is asked for: ``mode`` has no use for it."""
        unusable = [name for name in self.asked if name in names]
        if unusable:
            raise ValueError(f"{unusable[0]} must not be given per row for {mode}: {why}")


class Pending:
    """A request on its way to the loop that serves it."""

    def __init__(self, request: Request):
        self.request = request
        self.taken = 0

    def take(self, config: Any, rows: int) -> Request:
        """The request for a loop of ``rows`` prompts, under ``config``.

        Raises ValueError where a model's own generate decodes once more: which rows those are, nobody knows here.
        """
        self.taken += 1
        if self.taken > 1 and self.request.asks_for_more:
            name = self.request.asked[0]
            raise ValueError(f"{name} must not be given per row for a model whose own generate decodes several times")
        return self.request


_PENDING: ContextVar[Pending | None] = ContextVar("afterlogits_request", default=None)


def current_pending() -> Pending | None:
    """What the call in progress asks for, or None outside of a call."""
    return _PENDING.get()


def current_request(config: Any, rows: int) -> Request:
    """The request of the call in progress for a loop of ``rows`` prompts; an empty one outside of a call."""
    pending = _PENDING.get()
    return Request() if pending is None else pending.take(config, rows)


_UNCUT: ContextVar[bool] = ContextVar("afterlogits_uncut_beams", default=False)


def beams_stay_uncut() -> bool:
    """Whether who called cuts rows at their ends itself; see ``uncut_beams``."""
    return _UNCUT.get()


@contextmanager
def uncut_beams() -> Iterator[None]:
    """On a device beam search that runs to its length gives rows as wide, filled up behind their end tokens, for to ask
    how long the longest is would be a wait. Whoever enters this cuts them."""
    token = _UNCUT.set(True)
    try:
        yield
    finally:
        _UNCUT.reset(token)


@contextmanager
def requested(pending: Pending) -> Iterator[None]:
    """Make ``pending`` what the loops of this thread take."""
    token = _PENDING.set(pending)
    try:
        yield
    finally:
        _PENDING.reset(token)


# Per-row options of a draw, and what transformers is told instead so that it adds no stage of its own for them.
ROW_OPTIONS: dict[str, Any] = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_h": None,
}
# Options of a draw that transformers lacks, for the batch or per row.
OWN_OPTIONS = ("top_n_sigma", "xtc_probability", "xtc_threshold", "dynamic_temperature", "dynamic_exponent")
# What acts before the filters: transformers' processor, or the rule it has none for, and the options it takes.
RULE_NAMES: dict[str, tuple[str, ...]] = {
    "logit_bias": ("logit_bias",),
    "RepetitionPenaltyLogitsProcessor": ("repetition_penalty",),
    "count_penalties": ("frequency_penalty", "presence_penalty"),
    "NoRepeatNGramLogitsProcessor": ("no_repeat_ngram_size",),
    "dry": (
        *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
        "dry_sequence_breakers",
    ),
    "MinNewTokensLengthLogitsProcessor": ("min_new_tokens",),
    "allowed_token_ids": ("allowed_token_ids",),
}
# What transformers is told so that its own processor takes its place in the list, and what None in a row means.
_TOLD: dict[str, Any] = {"repetition_penalty": 2.0, "no_repeat_ngram_size": 1, "min_new_tokens": max}
_OFF: dict[str, Any] = {
    **{name: 0 if off is None else off for name, off in ROW_OPTIONS.items() if name != "top_h"},
    **dict.fromkeys(("no_repeat_ngram_size", "min_new_tokens", "frequency_penalty", "presence_penalty"), 0),
    **dict.fromkeys(("top_n_sigma", "xtc_probability", "dynamic_temperature", "dry_multiplier"), 0),
    "repetition_penalty": 1.0,
}
ENDS = ("max_new_tokens", "eos_token_id")
# What keeps a row inside a grammar: one for all rows, or one a prompt; see ``grammar``.
GRAMMAR_OPTIONS = ("json_schema", "regex", "grammar", "choices")
DRAWS = (*ROW_OPTIONS, *OWN_OPTIONS, "seeds")
NEW_NAMES = (
    *OWN_OPTIONS,
    *(name for names in RULE_NAMES.values() for name in names if name not in _TOLD),
)


def split_request(
    seeds: Any,
    compact: bool,
    kwargs: dict[str, Any],
    *,
    shared_prefill: bool = True,
    own_sequences: frozenset[str] = frozenset(),
) -> tuple[Request, dict[str, Any]]:
    """Take the per-row options, and those transformers lacks, out of the arguments for transformers.

    own_sequences: options of which the model's own generate takes several with a meaning of its own.

    Raises ValueError where a processor of the call's own stands in the place of an option with a value per row.
    """
    kwargs = {name: _listed(name, value) for name, value in kwargs.items()}
    rows = _take_draws(kwargs, own_sequences)
    rules = _take_rules(kwargs)
    for name in NEW_NAMES:
        value = kwargs.pop(name, None)
        if value is not None:
            (rows if name in OWN_OPTIONS else rules)[name] = _without_none(name, value)
    _refuse_twice(rules, kwargs.get("logits_processor") or ())
    ends = _take_ends(kwargs)
    return Request(seeds=seeds, compact=compact, shared_prefill=shared_prefill, rows=rows, rules=rules, **ends), kwargs


def _take_draws(kwargs: dict[str, Any], own_sequences: frozenset[str]) -> dict[str, Any]:
    """Per-row options of the draw; ``kwargs`` keeps what switches transformers' own stage off."""
    rows: dict[str, Any] = {}
    for name, off in ROW_OPTIONS.items():
        if name not in own_sequences and has_rows(name, kwargs.get(name)):
            rows[name] = _without_none(name, kwargs[name])
            kwargs[name] = off
    return rows


def _take_rules(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Per-row options that transformers has a processor for; ``kwargs`` keeps what puts that in its place."""
    rules: dict[str, Any] = {}
    for name, told in _TOLD.items():
        if has_rows(name, kwargs.get(name)):
            rules[name] = _without_none(name, kwargs[name])
            numbers = [int(one) for one in rules[name] if isinstance(one, (int, float, Tensor))]
            kwargs[name] = max(numbers, default=0) if told is max else told
    return rules


def _take_ends(kwargs: dict[str, Any]) -> dict[str, Any]:
    """When each row ends; ``kwargs`` keeps the longest row's limit and every row's end tokens."""
    ends: dict[str, Any] = {}
    if has_rows("max_new_tokens", kwargs.get("max_new_tokens")):
        ends["max_new_tokens"] = whole_numbers("max_new_tokens", kwargs["max_new_tokens"], 1)
        kwargs["max_new_tokens"] = max(ends["max_new_tokens"])
    eos = kwargs.get("eos_token_id")
    if isinstance(eos, Tensor) and eos.ndim == 2:
        eos = eos.tolist()
    if isinstance(eos, (list, tuple)) and any(isinstance(row, (list, tuple)) for row in eos):
        ends["eos_token_id"] = [
            [row] if isinstance(row, int) else [token_id(one, "eos_token_id") for one in row] for row in eos
        ]
        kwargs["eos_token_id"] = list(dict.fromkeys(one for row in ends["eos_token_id"] for one in row))
    return ends


def has_rows(name: str, value: Any) -> bool:
    """Whether ``value`` holds one value of the option ``name`` for every row."""
    if name == "dry_sequence_breakers":
        return False
    if isinstance(value, Tensor):
        return value.ndim > (1 if name in ("logit_bias", "allowed_token_ids") else 0)
    if not isinstance(value, (list, tuple)):
        return False
    return name != "allowed_token_ids" or any(one is None or isinstance(one, (list, tuple)) for one in value)


def has_grammar_rows(name: str, value: Any) -> bool:
    """Whether a grammar option holds one grammar for every prompt: choices are a list themselves."""
    if not isinstance(value, list | tuple):
        return False
    return name != "choices" or any(one is None or isinstance(one, list | tuple) for one in value)


def grammar_of_row(name: str, value: Any, number: int) -> Any:
    """The value of a grammar option for prompt ``number``.

    >>> grammar_of_row("choices", [["yes", "no"], None], 1), grammar_of_row("choices", ["yes", "no"], 1)
    (None, ['yes', 'no'])
    """
    return value[number] if has_grammar_rows(name, value) else value


def per_row(name: str, value: Any, batch_size: int, copies: int) -> list[Any]:
    """One value per row of the expanded batch, from one per prompt or one per row."""
    if isinstance(value, Tensor):
        value = (as_written(value) if value.is_floating_point() else value).tolist()
    values = list(value)
    if len(values) == batch_size:
        return values
    if len(values) * copies == batch_size:
        return [one for one in values for _ in range(copies)]
    wanted = f"{batch_size // copies} prompts" + (f" or {batch_size} rows" if copies > 1 else "")
    raise ValueError(f"{name} must have one value for each of the {wanted}; got {len(values)}")


def _listed(name: str, value: Any) -> Any:
    """A numpy array of options per row as a list."""
    takes_rows = name in ROW_OPTIONS or name in NEW_NAMES or name in _TOLD or name in ENDS
    return value.tolist() if takes_rows and isinstance(value, np.ndarray) and value.ndim else value


def _without_none(name: str, value: Any) -> Any:
    """None in a row is the option's value that does nothing."""
    if name in _OFF and isinstance(value, (list, tuple)):
        return [_OFF[name] if one is None else one for one in value]
    return value


def _refuse_twice(rules: dict[str, Any], processors: Iterable[Any]) -> None:
    """As transformers prefers a call's own processor to the option it stands for, a value per row has no place."""
    kinds = {type(processor).__name__ for processor in processors}
    for kind, names in RULE_NAMES.items():
        asked = next((name for name in names if name in rules), None)
        least = kind == "MinNewTokensLengthLogitsProcessor" and "MinLengthLogitsProcessor" in kinds
        if asked is not None and (kind in kinds or least):
            found = kind if kind in kinds else "MinLengthLogitsProcessor"
            raise ValueError(f"{asked} must not be given per row beside a processor of its own; got a {found}")
