"""SamplingParams: what a sampling call is asked to do, validated once, each option for the batch or per row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..options.batch_options import OFF, SWITCHES, CompiledParams, proposing_rows
from ..options.numpy_or_torch import sent
from ..options.token_ids import TokenList
from ..options.validation import (
    COUNT,
    FINITE,
    HALF_OPEN_UNIT,
    NON_NEGATIVE,
    OPEN_UNIT,
    POSITIVE,
    UNIT,
    Requirement,
    RowOption,
    as_option,
    check_count,
    per_row,
    same_option,
)
from ..processors.allowed_tokens import AllowedTokens
from ..processors.bias import BadWords, TokenBias
from ..processors.bias_table import SequenceBias

DEFAULT_HISTORY_ORDER = (
    "logit_bias",
    "sequence_bias",
    "repetition_penalty",
    "count_penalties",
    "no_repeat_ngram_size",
    "dry",
    "bad_words_ids",
    "min_length",
    "min_new_tokens",
    "allowed_token_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
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
}
# The numbers that the steps before the filters take, and those of the steps after them.
STEP_REQUIREMENTS: dict[str, Requirement] = {
    "repetition_penalty": POSITIVE,
    "frequency_penalty": FINITE,
    "presence_penalty": FINITE,
    "no_repeat_ngram_size": COUNT,
    "dry_multiplier": NON_NEGATIVE,
    "dry_base": ("a finite number >= 1", lambda b: (b >= 1) & b.isfinite()),
    "dry_allowed_length": COUNT,
    "dry_penalty_last_n": COUNT,
    "min_length": COUNT,
    "min_new_tokens": COUNT,
    "max_length": ("an integer >= 1", lambda n: (n >= 1) & (n == n.floor()) & n.isfinite()),
    "mirostat_tau": ("> 0", lambda t: t > 0),
    "mirostat_eta": FINITE,
    "adaptive_target": ("<= 1", lambda t: t <= 1),
    "adaptive_decay": ("in [0, 0.99]", lambda d: (d >= 0) & (d <= 0.99)),
}
# What switches a step on, where that is not the option of its own name.
_SWITCHES: dict[str, tuple[str, ...]] = {
    **SWITCHES,
    "count_penalties": ("frequency_penalty", "presence_penalty"),
    "dry": ("dry_multiplier",),
}
# The options that cannot act without the tokens so far.
HISTORY_OPTIONS = (
    "sequence_bias",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "no_repeat_ngram_size",
    "dry_multiplier",
    "bad_words_ids",
    "min_length",
    "min_new_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
    "begin_suppress_tokens",
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SamplingParams:
    """The options of a sampling call. A number may also be a sequence or a [B] tensor, one per row.

    temperature: >= 0; a row with 0 is greedy: it takes its largest logit, whatever the filters say.
    dynamic_temperature: >= 0, how far the temperature moves with the entropy of the row; 0 is off.
    dynamic_exponent: > 0, how sharply.
    top_k: >= 0, 0 or None is off. top_p: in [0, 1], 1 is off. min_p, epsilon_cutoff, eta_cutoff: 0 is off.
    typical_p: in (0, 1], 1 is off. top_h: in (0, 1], None is off. top_n_sigma: >= 0, 0 is off.
    xtc_probability: in [0, 1], 0 is off. xtc_threshold: in [0, 1].

    ``HistorySteps`` applies what follows, before every filter, in ``history_order``:
    logit_bias: {token: bias}, one such mapping per row, or a tensor [V] or [B, V]. sequence_bias, bad_words_ids: as in
    ``apply_sequence_bias`` and ``apply_bad_words``; suppress_tokens, begin_suppress_tokens, allowed_token_ids: a list
    of token ids or one list per row. repetition_penalty: > 0, 1 is off. frequency_penalty, presence_penalty,
    no_repeat_ngram_size: 0 is off. dry_multiplier: 0 is off; dry_base, dry_allowed_length, dry_penalty_last_n (None
    looks at all) and dry_sequence_breakers as in ``apply_dry``.
    eos_token_id: the tokens that end a row, a list or one list per row. min_length, min_new_tokens: 0 or None is off;
    exponential_decay_length_penalty: (start, factor), each a number or one per row; all three act on ``eos_token_id``.
    forced_bos_token_id acts on histories of one token, forced_eos_token_id one token before ``max_length``.

    What follows acts after every filter and learns from the draw, so that one ``Sampler`` keeps its state:
    mirostat_tau: > 0 bits, None or infinity is off; mirostat_eta: how fast its limit moves.
    adaptive_target: <= 1, None or a negative number is off; adaptive_decay: in [0, 0.99], how long it remembers.

    joint_top_k_top_p: judge top-k and top-p on the same distribution (FlashInfer) rather than one after the other.
    min_tokens_to_keep: >= 1, what no filter goes below; top-h keeps one, as in transformers.
    order, history_order: the filters, and the steps before them, in the order in which those that are on are applied;
    transformers' order by default.
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
    logit_bias: TokenBias | None = None
    sequence_bias: SequenceBias | None = None
    repetition_penalty: RowOption | None = None
    frequency_penalty: RowOption | None = None
    presence_penalty: RowOption | None = None
    no_repeat_ngram_size: RowOption | None = None
    dry_multiplier: RowOption | None = None
    dry_base: RowOption = 1.75
    dry_allowed_length: RowOption = 2
    dry_penalty_last_n: RowOption | None = None
    dry_sequence_breakers: Sequence[int | Sequence[int]] = ()
    bad_words_ids: BadWords | None = None
    eos_token_id: TokenList | None = None
    min_length: RowOption | None = None
    min_new_tokens: RowOption | None = None
    allowed_token_ids: AllowedTokens | None = None
    forced_bos_token_id: TokenList | None = None
    forced_eos_token_id: TokenList | None = None
    max_length: RowOption | None = None
    exponential_decay_length_penalty: tuple[RowOption, RowOption] | None = None
    suppress_tokens: TokenList | None = None
    begin_suppress_tokens: TokenList | None = None
    mirostat_tau: RowOption | None = None
    mirostat_eta: RowOption = 0.1
    adaptive_target: RowOption | None = None
    adaptive_decay: RowOption = 0.9
    joint_top_k_top_p: bool = False
    min_tokens_to_keep: int = 1
    order: Sequence[str] = DEFAULT_ORDER
    history_order: Sequence[str] = DEFAULT_HISTORY_ORDER
    validate: bool = False

    def __post_init__(self) -> None:
        for name, requirement in [*_REQUIREMENTS.items(), *STEP_REQUIREMENTS.items()]:
            value = as_option(getattr(self, name))
            object.__setattr__(self, name, value)
            if value is not None:
                per_row(name, value, None, None, requirement, validate=self.validate or None)
        check_count("min_tokens_to_keep", self.min_tokens_to_keep)
        self._check_pairs()
        for name, default in (("order", DEFAULT_ORDER), ("history_order", DEFAULT_HISTORY_ORDER)):
            order = getattr(self, name)
            if isinstance(order, str) or not isinstance(order, Sequence):
                raise TypeError(f"{name} must be a sequence of names; got {order!r}")
            object.__setattr__(self, name, tuple(order))
            if order is not default and sorted(order, key=str) != sorted(default):
                raise ValueError(f"{name} must be an arrangement of {list(default)}; got {list(order)}")
        for name in ("joint_top_k_top_p", "validate"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool; got {getattr(self, name)!r}")

    def __repr__(self) -> str:
        """What differs from the default."""
        set_ = ((f.name, getattr(self, f.name)) for f in fields(self))
        shown = (f"{name}={value!r}" for name, value in set_ if not same_option(value, _DEFAULTS[name]))
        return f"SamplingParams({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SamplingParams):
            return NotImplemented
        return all(same_option(getattr(self, name), getattr(other, name)) for name in PARAM_NAMES)

    def __hash__(self) -> int:
        return hash(tuple(f.name for f in fields(self) if getattr(self, f.name) is not None))

    def _check_pairs(self) -> None:
        """What one option needs of another."""
        decay = self.exponential_decay_length_penalty
        if decay is not None:
            if not isinstance(decay, Sequence) or len(decay) != 2:
                raise TypeError(f"exponential_decay_length_penalty must be a pair (start, factor); got {decay!r}")
            for part, value, requirement in zip(("start", "factor"), decay, (COUNT, POSITIVE), strict=True):
                per_row(f"exponential_decay_length_penalty's {part}", value, None, None, requirement)
        for name in ("min_length", "min_new_tokens", "exponential_decay_length_penalty"):
            if self.eos_token_id is None and self.is_on(name):
                raise ValueError(f"eos_token_id must be given for {name}; got None")
        if self.max_length is None and self.forced_eos_token_id is not None:
            raise ValueError("max_length must be given for forced_eos_token_id; got None")

    @property
    def is_plain(self) -> bool:
        """Whether every option is a number, a name or not given, so that nobody can write into one."""
        return all(
            isinstance(value, int | float | str | None) or (type(value) is tuple and all(map(_is_name, value)))
            for value in vars(self).values()
        )

    @property
    def before_filters(self) -> tuple[str, ...]:
        """The steps of ``history_order`` that are on."""
        return tuple(name for name in self.history_order if any(map(self.is_on, _SWITCHES.get(name, (name,)))))

    @property
    def needs_history(self) -> tuple[str, ...]:
        """The options that are on and need the tokens so far."""
        return tuple(name for name in HISTORY_OPTIONS if self.is_on(name))

    def is_on(self, name: str) -> bool:
        """Whether an option is set to something other than its "off" value."""
        value = getattr(self, name)
        return value is not None and not (isinstance(value, int | float) and value == _OFF.get(name))

    def compiled(self, batch_size: int, device: torch.device) -> CompiledParams:
        """The options that are on, as Python floats or float64 tensors [B, 1] on ``device``."""
        on = self._values_on(batch_size)
        greedy = _take_greedy(on, device)
        top_k = on.get("top_k", 0)
        most = int(top_k.max() if isinstance(top_k, Tensor) and top_k.numel() else top_k)
        on = {name: sent(value, device) if isinstance(value, Tensor) else value for name, value in on.items()}
        active = tuple(name for name in self.order if any(option in on for option in _SWITCHES.get(name, (name,))))
        joint = self.joint_top_k_top_p and "top_k" in on and "top_p" in on
        keep, proposing = self.min_tokens_to_keep, proposing_rows(on, active, greedy, self.min_tokens_to_keep)
        return CompiledParams(on, active, greedy, most, joint, keep, proposing)

    def _values_on(self, batch_size: int) -> dict[str, float | Tensor]:
        """The filters' options that are on in some row, a tensor [B, 1] only where rows differ."""
        on: dict[str, float | Tensor] = {}
        for name, requirement in _REQUIREMENTS.items():
            if self.is_on(name):
                value = per_row(name, getattr(self, name), batch_size, None, requirement, validate=False)
                if isinstance(value, Tensor) and len(value) and bool((value == value[0]).all()):
                    value = float(value[0])
                if isinstance(value, Tensor) or value != OFF.get(name):  # of a tensor here, some row is on
                    on[name] = value
        return on


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _take_greedy(on: dict[str, float | Tensor], device: torch.device) -> bool | Tensor:
    """Which rows have a temperature of 0, False, True or [B, 1] bool; where some have, theirs becomes 1 in ``on``."""
    temperature = on.get("temperature", 1.0)
    if not isinstance(temperature, Tensor):
        return temperature == 0
    greedy = temperature == 0
    on["temperature"] = temperature.masked_fill(greedy, 1.0)
    return bool(greedy.any()) and (bool(greedy.all()) or sent(greedy, device))


_OFF: dict[str, float] = {
    **OFF,
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "no_repeat_ngram_size": 0.0,
    "dry_multiplier": 0.0,
    "min_length": 0.0,
    "min_new_tokens": 0.0,
    "mirostat_tau": math.inf,
}


_DEFAULTS = {f.name: f.default for f in fields(SamplingParams)}
PARAM_NAMES = frozenset(f.name for f in fields(SamplingParams))
