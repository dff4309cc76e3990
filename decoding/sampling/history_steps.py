"""The options of a request that act before the filters, as one step of a loop, built once per call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..options.per_row import row_count, row_option
from ..options.token_ids import check_token_ids, token_set
from ..options.validation import COUNT, POSITIVE, RowOption, per_row
from ..processors.allowed_tokens import AllowedTokensStep
from ..processors.bias import BadWordsStep, LogitBiasStep, SequenceBiasStep
from ..processors.dry import DryStep
from ..processors.forced_tokens import ForcedTokenStep, SuppressTokensStep
from ..processors.lengths import ExponentialDecayStep, MinLengthStep
from ..processors.ngrams import NoRepeatNgramStep
from ..processors.penalties import CountPenaltyStep, RepetitionPenaltyStep
from .chain import LogitsStep
from .params import STEP_REQUIREMENTS, SamplingParams


class HistorySteps:
    """The options of ``params`` that act before the filters, in ``params.history_order``.

    token_ids: [B, T], the tokens so far: as a rule the prompt, for a loop builds this once and advances it.
    prompt_length: int or [B], how many of them are the prompt, padding included; all unless given. Frequency and
    presence penalties count what follows it (vLLM's rule), min_new_tokens and the exponential decay start at it.
    ignore_length: int or [B], the leading positions that are padding. The repetition penalty counts the prompt without
    them (the rule of transformers 5.23; 4.57 counts them too); n-gram bans and DRY read them as any other token.
    Steps write into the logits they are given. Cost: that of the steps that are on; see each.
    >>> steps = HistorySteps(SamplingParams(repetition_penalty=2.0), torch.tensor([[0, 2]]), vocab_size=3)
    >>> steps.apply(torch.tensor([[4.0, 4.0, -4.0]]))
    tensor([[ 2., 4., -8.]])
    """

    def __init__(
        self,
        params: SamplingParams,
        token_ids: Tensor,
        *,
        vocab_size: int,
        prompt_length: RowOption | None = None,
        ignore_length: RowOption = 0,
    ) -> None:
        check_token_ids(token_ids)
        batch_size, length = token_ids.shape
        for name, requirement in STEP_REQUIREMENTS.items():
            if getattr(params, name) is not None:
                per_row(name, getattr(params, name), batch_size, None, requirement, validate=False)
        prompt = row_count("prompt_length", length if prompt_length is None else prompt_length, batch_size)
        start = _Start(token_ids, vocab_size, prompt, row_count("ignore_length", ignore_length, batch_size))
        self.steps: list[LogitsStep] = [_BUILDERS[name](params, start) for name in params.before_filters]

    def apply(self, logits: Tensor) -> Tensor:
        """Apply every step to the logits [N, V], which may be written into."""
        for step in self.steps:
            logits = step.apply(logits)
        return logits

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to every row: token_ids [N]."""
        for step in self.steps:
            step.advance(token_ids)

    def select_rows(self, rows: Tensor) -> None:
        """Make row i continue what was row ``rows[i]``: rows [M] int64."""
        for step in self.steps:
            step.select_rows(rows)


@dataclass(frozen=True)
class _Start:
    """Where a loop starts: tokens [B, T], and int64 lengths [] or [B] on the host."""

    token_ids: Tensor
    vocab_size: int
    prompt_length: Tensor
    ignore_length: Tensor

    @property
    def sizes(self) -> dict[str, Any]:
        return {
            "batch_size": self.token_ids.shape[0],
            "vocab_size": self.vocab_size,
            "device": self.token_ids.device,
        }

    @property
    def place(self) -> dict[str, Any]:
        return {**self.sizes, "length": self.token_ids.shape[1]}

    def checked(self, name: str, token_ids: Any) -> Any:
        """The tokens, if they are inside the vocabulary; the error names the option."""
        token_set(token_ids, name, self.token_ids.shape[0], self.vocab_size, outside="raise")
        return token_ids


def _repetition(p: Any, start: _Start) -> LogitsStep:
    return RepetitionPenaltyStep(
        start.token_ids, p.repetition_penalty, vocab_size=start.vocab_size, ignore_length=start.ignore_length
    )


def _counts(p: Any, start: _Start) -> LogitsStep:
    return CountPenaltyStep(
        start.token_ids,
        frequency_penalty=0.0 if p.frequency_penalty is None else p.frequency_penalty,
        presence_penalty=0.0 if p.presence_penalty is None else p.presence_penalty,
        vocab_size=start.vocab_size,
        ignore_length=torch.maximum(start.prompt_length, start.ignore_length),
    )


def _dry(p: Any, start: _Start) -> LogitsStep:
    return DryStep(
        start.token_ids,
        p.dry_multiplier,
        base=p.dry_base,
        allowed_length=p.dry_allowed_length,
        penalty_last_n=p.dry_penalty_last_n,
        sequence_breakers=p.dry_sequence_breakers,
    )


def _bad_words(p: Any, start: _Start) -> LogitsStep:
    return BadWordsStep(start.token_ids, p.bad_words_ids, vocab_size=start.vocab_size, eos_token_id=p.eos_token_id)


def _forced_eos(p: Any, start: _Start) -> LogitsStep:
    position = row_count("max_length", p.max_length, start.token_ids.shape[0]) - 1
    tokens = start.checked("forced_eos_token_id", p.forced_eos_token_id)
    return ForcedTokenStep(tokens, position=position, **start.place)


def _decay(p: Any, start: _Start) -> LogitsStep:
    begin, factor = p.exponential_decay_length_penalty
    name, batch_size = "exponential_decay_length_penalty", start.token_ids.shape[0]
    row_option(f"{name}'s start", begin, batch_size, COUNT)
    row_option(f"{name}'s factor", factor, batch_size, POSITIVE)
    tokens = start.checked("eos_token_id", p.eos_token_id)
    return ExponentialDecayStep(
        factor, start=begin, eos_token_id=tokens, prompt_length=start.prompt_length, **start.place
    )


def _begin_suppress(p: Any, start: _Start) -> LogitsStep:
    # As in transformers, a forced first token moves the beginning one on.
    forced = p.forced_bos_token_id is not None
    begin = torch.where((start.prompt_length <= 1) & forced, start.prompt_length + 1, start.prompt_length)
    return SuppressTokensStep(p.begin_suppress_tokens, begin_index=begin, **start.place)


_BUILDERS: dict[str, Callable[[Any, _Start], LogitsStep]] = {
    "logit_bias": lambda p, start: LogitBiasStep(p.logit_bias, name="logit_bias", **start.sizes),
    "sequence_bias": lambda p, start: SequenceBiasStep(start.token_ids, p.sequence_bias, vocab_size=start.vocab_size),
    "repetition_penalty": _repetition,
    "count_penalties": _counts,
    "no_repeat_ngram_size": lambda p, start: NoRepeatNgramStep(start.token_ids, p.no_repeat_ngram_size),
    "dry": _dry,
    "bad_words_ids": _bad_words,
    "min_length": lambda p, start: MinLengthStep(p.min_length, eos_token_id=p.eos_token_id, **start.place),
    "min_new_tokens": lambda p, start: MinLengthStep(
        p.min_new_tokens, eos_token_id=p.eos_token_id, prompt_length=start.prompt_length, **start.place
    ),
    "allowed_token_ids": lambda p, start: AllowedTokensStep(p.allowed_token_ids, **start.sizes),
    "forced_bos_token_id": lambda p, start: ForcedTokenStep(
        start.checked("forced_bos_token_id", p.forced_bos_token_id), position=1, **start.place
    ),
    "forced_eos_token_id": _forced_eos,
    "exponential_decay_length_penalty": _decay,
    "suppress_tokens": lambda p, start: SuppressTokensStep(p.suppress_tokens, **start.sizes),
    "begin_suppress_tokens": _begin_suppress,
}
