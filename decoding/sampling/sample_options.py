"""The options of ``sample`` for type checkers and editors.

Written by ``python -m tests.programs.typed_options``; a test holds it to the code.
"""

from collections.abc import Sequence
from typing import TypedDict

from ..options.token_ids import TokenList
from ..options.validation import RowOption
from ..processors.allowed_tokens import AllowedTokens
from ..processors.bias import BadWords, TokenBias
from ..processors.bias_table import SequenceBias

__all__ = ["SampleOptions"]


class SampleOptions(TypedDict, total=False):
    """What ``sample`` and ``SamplingParams`` take; the meaning of each is in ``SamplingParams``."""

    temperature: RowOption
    dynamic_temperature: RowOption
    dynamic_exponent: RowOption
    top_k: RowOption | None
    top_p: RowOption | None
    min_p: RowOption | None
    typical_p: RowOption | None
    epsilon_cutoff: RowOption | None
    eta_cutoff: RowOption | None
    top_h: RowOption | None
    top_n_sigma: RowOption | None
    xtc_probability: RowOption | None
    xtc_threshold: RowOption
    logit_bias: TokenBias | None
    sequence_bias: SequenceBias | None
    repetition_penalty: RowOption | None
    frequency_penalty: RowOption | None
    presence_penalty: RowOption | None
    no_repeat_ngram_size: RowOption | None
    dry_multiplier: RowOption | None
    dry_base: RowOption
    dry_allowed_length: RowOption
    dry_penalty_last_n: RowOption | None
    dry_sequence_breakers: Sequence[int | Sequence[int]]
    bad_words_ids: BadWords | None
    eos_token_id: TokenList | None
    min_length: RowOption | None
    min_new_tokens: RowOption | None
    allowed_token_ids: AllowedTokens | None
    forced_bos_token_id: TokenList | None
    forced_eos_token_id: TokenList | None
    max_length: RowOption | None
    exponential_decay_length_penalty: tuple[RowOption, RowOption] | None
    suppress_tokens: TokenList | None
    begin_suppress_tokens: TokenList | None
    mirostat_tau: RowOption | None
    mirostat_eta: RowOption
    adaptive_target: RowOption | None
    adaptive_decay: RowOption
    joint_top_k_top_p: bool
    min_tokens_to_keep: int
    order: Sequence[str]
    history_order: Sequence[str]
    validate: bool
