"""The filters that are on, in one documented order, and the protocol for steps that know the tokens so far.

Order (transformers 5.23's, ``DEFAULT_ORDER`` in ``params.py``; ``SamplingParams.order`` changes it):
repetition penalty -> frequency and presence penalty -> no-repeat n-gram -> DRY (``HistorySteps``), other steps of the
caller's -> top-n-sigma -> temperature -> top-h -> top-k -> top-p -> min-p ->
typical-p -> epsilon -> eta -> XTC -> softmax and the draw.
"""

from typing import Protocol

import torch
from torch import Tensor

from . import filters, truncation
from .dry import DryStep
from .ngrams import NoRepeatNgramStep
from .params import CompiledParams, SamplingParams
from .penalties import CountPenaltyStep, RepetitionPenaltyStep
from .rows import RowOption


class LogitsStep(Protocol):
    """A change of the logits that depends on the tokens so far, kept up to date one token at a time.

    A loop calls ``apply`` on the logits of a step, picks tokens, then calls ``advance`` with them; ``select_rows``
    follows a change of the batch (finished rows leave, beams are re-parented). The cost of a step does not grow with
    the history.
    """

    def apply(self, logits: Tensor) -> Tensor:
        """Return the changed logits [N, V]; may write into the argument, which the loop owns."""
        ...

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to every row: token_ids [N]."""
        ...

    def select_rows(self, rows: Tensor) -> None:
        """Make row i continue what was row ``rows[i]``: rows [M] int64."""
        ...


class HistorySteps:
    """The options of ``params`` that need the tokens so far, as one step, built once per call.

    token_ids: [B, T], the prompt. Order: repetition penalty, frequency and presence penalties, no-repeat n-gram (as
    transformers and vLLM have them), DRY.
    >>> steps = HistorySteps(SamplingParams(repetition_penalty=2.0), torch.tensor([[0, 2]]), vocab_size=3)
    >>> steps.apply(torch.tensor([[4.0, 4.0, -4.0]]))
    tensor([[ 2., 4., -8.]])
    """

    def __init__(self, params: SamplingParams, token_ids: Tensor, *, vocab_size: int) -> None:
        on = params.needs_history
        self.steps: list[LogitsStep] = []
        if "repetition_penalty" in on:
            self.steps.append(
                RepetitionPenaltyStep(token_ids, _given(params.repetition_penalty), vocab_size=vocab_size)
            )
        if "frequency_penalty" in on or "presence_penalty" in on:
            self.steps.append(
                CountPenaltyStep(
                    token_ids,
                    frequency_penalty=_given(params.frequency_penalty),
                    presence_penalty=_given(params.presence_penalty),
                    vocab_size=vocab_size,
                )
            )
        if "no_repeat_ngram_size" in on:
            self.steps.append(NoRepeatNgramStep(token_ids, _given(params.no_repeat_ngram_size)))
        if "dry_multiplier" in on:
            self.steps.append(
                DryStep(
                    token_ids,
                    _given(params.dry_multiplier),
                    base=params.dry_base,
                    allowed_length=params.dry_allowed_length,
                    sequence_breakers=params.dry_sequence_breakers,
                )
            )

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


def _given(value: RowOption | None) -> RowOption:
    return 0.0 if value is None else value


def apply_chain(
    logits: Tensor,
    params: CompiledParams,
    *,
    chance: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Apply every filter of ``params`` that is on, in its order: [N, V] -> [N, V], dropped entries -inf.

    The library's own arithmetic throughout; the argument is not changed. Greedy rows are filtered like the others.
    chance: what decides whether XTC acts on a row, [N]; drawn from ``generator`` if None.
    """
    on, keep = params.on, params.min_tokens_to_keep
    for name in params.active:
        if name == "temperature" and "dynamic_temperature" in on:
            logits = truncation.apply_dynamic_temperature(
                logits,
                on.get("temperature", 1.0),
                spread=on["dynamic_temperature"],
                exponent=on.get("dynamic_exponent", 1.0),
            )
        elif name == "xtc":
            logits = truncation.apply_xtc(
                logits,
                on["xtc_threshold"],
                probability=on["xtc_probability"],
                chance=chance,
                generator=generator,
                min_tokens_to_keep=keep,
            )
        elif name == "temperature":
            logits = filters.apply_temperature(logits, on[name])
        elif params.joint and name in ("top_k", "top_p"):
            if name == "top_k":
                logits = filters.apply_top_k_top_p_jointly(logits, on["top_k"], on["top_p"], min_tokens_to_keep=keep)
        else:
            logits = _FILTERS[name](logits, on[name], min_tokens_to_keep=keep)
    return logits


_FILTERS = {
    "top_n_sigma": truncation.apply_top_n_sigma,
    "top_h": truncation.apply_top_h,
    "top_k": filters.apply_top_k,
    "top_p": filters.apply_top_p,
    "min_p": filters.apply_min_p,
    "typical_p": truncation.apply_typical_p,
    "epsilon_cutoff": truncation.apply_epsilon,
    "eta_cutoff": truncation.apply_eta,
}
