"""SamplingParams: what a sampling call is asked to do, validated once, each option for the batch or per row."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from .rows import (
    COUNT,
    FINITE,
    HALF_OPEN_UNIT,
    NON_NEGATIVE,
    OPEN_UNIT,
    POSITIVE,
    UNIT,
    Requirement,
    RowOption,
    check_count,
    per_row,
)

DEFAULT_ORDER = (
    "top_n_sigma",
    "temperature",
    "top_h",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "xtc",
)

_REQUIREMENTS: dict[str, Requirement] = {
    "temperature": NON_NEGATIVE,
    "dynamic_temperature": NON_NEGATIVE,
    "dynamic_exponent": POSITIVE,
    "top_k": COUNT,
    "top_p": UNIT,
    "min_p": UNIT,
    "typical_p": OPEN_UNIT,
    "epsilon_cutoff": HALF_OPEN_UNIT,
    "eta_cutoff": HALF_OPEN_UNIT,
    "top_h": OPEN_UNIT,
    "top_n_sigma": NON_NEGATIVE,
    "xtc_probability": UNIT,
    "xtc_threshold": UNIT,
    "repetition_penalty": POSITIVE,
    "frequency_penalty": FINITE,
    "presence_penalty": FINITE,
    "no_repeat_ngram_size": COUNT,
    "dry_multiplier": NON_NEGATIVE,
}
HISTORY_OPTIONS = (
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "no_repeat_ngram_size",
    "dry_multiplier",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingParams:
    """The options of a sampling call. Every one is a number, a sequence or a [B] tensor with one number per row.

    temperature: >= 0; a row with 0 is greedy: it takes its largest logit, whatever the filters say.
    dynamic_temperature: >= 0, how far the temperature moves with the entropy of the row; 0 is off.
    dynamic_exponent: > 0, how sharply.
    top_k: >= 0, 0 or None is off. top_p: in [0, 1], 1 is off. min_p, epsilon_cutoff, eta_cutoff: 0 is off.
    typical_p: in (0, 1], 1 is off. top_h: in (0, 1], None is off. top_n_sigma: >= 0, 0 is off.
    xtc_probability: in [0, 1], 0 is off. xtc_threshold: in [0, 1].
    repetition_penalty (1 is off), frequency_penalty, presence_penalty, no_repeat_ngram_size, dry_multiplier (0 is off)
    need the tokens so far: ``chain.HistorySteps`` applies them, before every filter.
    joint_top_k_top_p: judge top-k and top-p on the same distribution (FlashInfer) rather than one after the other.
    min_tokens_to_keep: >= 1, what no filter goes below.
    order: the filters in the order in which those that are on are applied; transformers' order by default.
    validate: check per-row tensors on another device too, which waits for the device.

    Raises TypeError or ValueError naming the option and, for a batch, the row.
    >>> SamplingParams(top_p=[0.9, 1.5])
    Traceback (most recent call last):
    ValueError: top_p must be in [0, 1]; got 1.5 in row 1
    """

    temperature: RowOption = 1.0
    dynamic_temperature: RowOption = 0.0
    dynamic_exponent: RowOption = 1.0
    top_k: RowOption | None = None
    top_p: RowOption | None = None
    min_p: RowOption | None = None
    typical_p: RowOption | None = None
    epsilon_cutoff: RowOption | None = None
    eta_cutoff: RowOption | None = None
    top_h: RowOption | None = None
    top_n_sigma: RowOption | None = None
    xtc_probability: RowOption | None = None
    xtc_threshold: RowOption = 0.1
    repetition_penalty: RowOption | None = None
    frequency_penalty: RowOption | None = None
    presence_penalty: RowOption | None = None
    no_repeat_ngram_size: RowOption | None = None
    dry_multiplier: RowOption | None = None
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_sequence_breakers: Sequence[int | Sequence[int]] = ()
    joint_top_k_top_p: bool = False
    min_tokens_to_keep: int = 1
    order: Sequence[str] = DEFAULT_ORDER
    validate: bool = False

    def __post_init__(self) -> None:
        for name, requirement in _REQUIREMENTS.items():
            value = getattr(self, name)
            if value is not None:
                per_row(name, value, None, None, requirement, validate=self.validate or None)
        check_count("min_tokens_to_keep", self.min_tokens_to_keep)
        if self.order is DEFAULT_ORDER:
            return
        object.__setattr__(self, "order", tuple(self.order))
        if sorted(self.order) != sorted(DEFAULT_ORDER):
            raise ValueError(f"order must be an arrangement of {list(DEFAULT_ORDER)}; got {list(self.order)}")

    @property
    def needs_history(self) -> tuple[str, ...]:
        """The options that are on and need the tokens so far, in the order in which they are applied."""
        return tuple(name for name in HISTORY_OPTIONS if self._is_on(name))

    def _is_on(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and not (isinstance(value, int | float) and value == _OFF.get(name))

    def compiled(self, batch_size: int, device: torch.device) -> "CompiledParams":
        """The options that are on, as Python floats or float64 tensors [B, 1] on ``device``."""
        on: dict[str, float | Tensor] = {}
        for name, requirement in _REQUIREMENTS.items():
            if name not in HISTORY_OPTIONS and self._is_on(name):
                on[name] = per_row(name, getattr(self, name), batch_size, device, requirement, validate=False)
        temperature = on.get("temperature", 1.0)
        greedy: bool | Tensor = temperature == 0
        if isinstance(temperature, Tensor) and isinstance(greedy, Tensor):
            on["temperature"] = temperature.masked_fill(greedy, 1.0)
            if greedy.device.type == "cpu" and not bool(greedy.any()):
                greedy = False
        top_k = on.get("top_k", 0)
        most = int(top_k.max() if isinstance(top_k, Tensor) and top_k.numel() else top_k)
        switches = {"temperature": ("temperature", "dynamic_temperature"), "xtc": ("xtc_probability",)}
        active = tuple(name for name in self.order if any(option in on for option in switches.get(name, (name,))))
        joint = self.joint_top_k_top_p and "top_k" in on and "top_p" in on
        return CompiledParams(on, active, greedy, most, joint, self.min_tokens_to_keep)


_OFF: dict[str, float] = {
    "temperature": 1.0,
    "dynamic_temperature": 0.0,
    "top_k": 0.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_n_sigma": 0.0,
    "xtc_probability": 0.0,
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "no_repeat_ngram_size": 0.0,
    "dry_multiplier": 0.0,
}


@dataclass(frozen=True)
class CompiledParams:
    """Options read for one batch: what is on, as floats or float64 tensors [B, 1].

    active: the filters that are on, in their order. greedy: rows that take their largest logit, False, True or
    [B, 1] bool. largest_top_k: over the batch.
    """

    on: dict[str, float | Tensor]
    active: tuple[str, ...]
    greedy: "bool | Tensor"
    largest_top_k: int
    joint: bool
    min_tokens_to_keep: int

    @cached_property
    def uniform(self) -> bool:
        """Whether every option is one number for the batch."""
        return not isinstance(self.greedy, Tensor) and not any(isinstance(v, Tensor) for v in self.on.values())

    def select_rows(self, rows: Tensor) -> "CompiledParams":
        """The same options for the rows ``rows`` [N] of the batch."""
        if self.uniform:
            return self
        on = {name: value[rows] if isinstance(value, Tensor) else value for name, value in self.on.items()}
        return replace(self, on=on, greedy=self.greedy[rows] if isinstance(self.greedy, Tensor) else self.greedy)


PARAM_NAMES = frozenset(f.name for f in fields(SamplingParams))
