"""Options before the filters that transformers takes once for a batch, or lacks: as processors of its kind.

Transformers is told one value, so that it builds its own processor where that belongs; ``with_row_rules`` puts a
``RowRule`` there. Options transformers lacks stand where ``decoding.chain`` documents them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers import GenerationMixin
from transformers.generation import logits_process as library

from ...decoding.sampling.chain import LogitsStep
from ...decoding.sampling.history_steps import HistorySteps
from ...decoding.sampling.params import SamplingParams
from .grammar import GrammarProcessor
from .request import RULE_NAMES, Request, has_rows, per_row

__all__ = ["RowRule", "with_row_rules"]

# Transformers' processors before the filters, and the rules that have none there, in their order.
_PLACES: dict[str, int] = {
    name: place
    for place, name in enumerate(
        (
            "UnbatchedClassifierFreeGuidanceLogitsProcessor",
            "logit_bias",
            "SequenceBiasLogitsProcessor",
            "EncoderRepetitionPenaltyLogitsProcessor",
            "RepetitionPenaltyLogitsProcessor",
            "count_penalties",
            "NoRepeatNGramLogitsProcessor",
            "EncoderNoRepeatNGramLogitsProcessor",
            "dry",
            "NoBadWordsLogitsProcessor",
            "MinLengthLogitsProcessor",
            "MinNewTokensLengthLogitsProcessor",
            "allowed_token_ids",
        )
    )
}
_LAST = len(_PLACES)


@dataclass(frozen=True)
class RowRule:
    """Options with a value per row, called as transformers calls its processors; a loop makes a step of it.

    kind: its place, see ``_PLACES``. options: for ``SamplingParams``; those named in ``per_row`` hold one value for
    each row of the call. A loop that shows fewer rows, as many of each prompt, shows the first values of each.
    prompt_length: tokens of the prompt. ignore_length: leading ones that are padding, a number or a tensor.
    """

    kind: str
    options: Mapping[str, Any]
    per_row: frozenset[str] = frozenset()
    prompt_length: int = 0
    ignore_length: Any = 0

    def step(self, token_ids: Tensor, vocab_size: int) -> LogitsStep:
        """The rule as a step of a loop that starts with ``token_ids`` [N, T]."""
        rows = token_ids.shape[0]
        options = {
            name: _at_rows(value, rows) if name in self.per_row else value for name, value in self.options.items()
        }
        ignored = self.ignore_length
        if isinstance(ignored, Tensor):
            ignored = _at_rows(ignored.reshape(-1).cpu(), rows)
        params = SamplingParams(**options)
        return HistorySteps(
            params, token_ids, vocab_size=vocab_size, prompt_length=self.prompt_length, ignore_length=ignored
        )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.step(input_ids, scores.shape[-1]).apply(scores.clone())


def with_row_rules(
    logits_processor: Sequence[Any],
    request: Request,
    config: Any,
    input_ids: Tensor,
    model_kwargs: Mapping[str, Any],
    copies: int = 1,
) -> list[Any]:
    """``logits_processor`` with the request's rules at their places.

    input_ids: [N, P], ``copies`` neighbours from one prompt. Processors of transformers' own that look at the EOS
    tokens or at the last position become rules where the request gives every row its own.
    Raises ValueError or TypeError naming the option, the value and the row.
    """
    rows, prompt_length = input_ids.shape
    processors = list(logits_processor)
    for grammar in processors:
        if isinstance(grammar, GrammarProcessor):
            grammar.check_rows(rows, copies)
    if not request.rules and request.eos_token_id is None and request.max_new_tokens is None:
        return processors
    if "min_new_tokens" in request.rules:  # it overrides the least length, as in transformers
        processors = [one for one in processors if type(one) is not library.MinLengthLogitsProcessor]
    eos = _own("eos_token_id", request.eos_token_id, rows, copies)
    for kind, options, own in _asked_rules(request, rows, copies):
        if kind == "MinNewTokensLengthLogitsProcessor":
            options["eos_token_id"] = eos if eos is not None else _listed(config._eos_token_tensor)
            own |= frozenset() if eos is None else {"eos_token_id"}
        SamplingParams(**options)  # what is wrong with the values is said before the model runs
        _put(processors, RowRule(kind, options, own, prompt_length), model_kwargs)
    limits = _own("max_new_tokens", request.max_new_tokens, rows, copies)
    longest = None if limits is None else [prompt_length + limit for limit in limits]
    return [_with_own_ends(one, config, eos, longest) for one in processors]


def _own(name: str, values: Any, rows: int, copies: int) -> list[Any] | None:
    return None if values is None else per_row(name, values, rows, copies)


def _put(processors: list[Any], rule: RowRule, model_kwargs: Mapping[str, Any]) -> None:
    """Put a rule in the place of the processor it stands for, or where it belongs if there is none."""
    place = next((index for index, one in enumerate(processors) if type(one).__name__ == rule.kind), None)
    replaced = None if place is None else processors[place]
    if rule.kind == "RepetitionPenaltyLogitsProcessor":
        rule = replace(rule, ignore_length=_padding(replaced, model_kwargs))
    if place is None:
        processors.insert(_first_later(rule.kind, processors), rule)
    else:
        processors[place] = rule


def _asked_rules(request: Request, rows: int, copies: int) -> Iterator[tuple[str, dict[str, Any], frozenset[str]]]:
    """The rules that a request asks for: the kind, its options, and the names of those with one value a row."""
    for kind, names in RULE_NAMES.items():
        options = {name: request.rules[name] for name in names if name in request.rules}
        own = frozenset(name for name, value in options.items() if has_rows(name, value))
        if options:
            yield kind, options | {name: per_row(name, options[name], rows, copies) for name in own}, own


def _with_own_ends(processor: Any, config: Any, eos: Any, limits: Any) -> Any:
    """The rule for a processor that transformers built from the ends of all rows together; others as they are.

    eos: the end tokens of each row; limits: its greatest length; None where the rows have no ends of their own.
    """
    kind = type(processor)
    if kind is library.ForcedEOSTokenLogitsProcessor and limits is not None:
        options: dict[str, Any] = {"forced_eos_token_id": _listed(processor.eos_token_id), "max_length": limits}
        return RowRule(kind.__name__, options, frozenset({"max_length"}))
    if eos is None:
        return processor
    if kind is library.NoBadWordsLogitsProcessor:
        words = [tuple(word) for word in processor.bad_word_ids if word]
        bans = [{word: -math.inf for word in words if not (len(word) == 1 and word[0] in row)} for row in eos]
        return RowRule(kind.__name__, {"sequence_bias": bans}, frozenset({"sequence_bias"}))
    if getattr(processor, "eos_token_id", None) is not config._eos_token_tensor:
        return processor
    own = {"eos_token_id": eos}
    if kind is library.MinLengthLogitsProcessor:
        return RowRule(kind.__name__, {"min_length": processor.min_length, **own}, frozenset(own))
    if kind is library.MinNewTokensLengthLogitsProcessor:
        options = {"min_new_tokens": processor.min_new_tokens, **own}
        return RowRule(kind.__name__, options, frozenset(own), processor.prompt_length_to_skip)
    if kind is library.ExponentialDecayLengthPenalty:
        pair = (processor.regulation_start, processor.regulation_factor)
        return RowRule(kind.__name__, {"exponential_decay_length_penalty": pair, **own}, frozenset(own))
    return processor


def _first_later(kind: str, processors: Sequence[Any]) -> int:
    """The index before which a rule belongs that transformers knows no place for."""
    return next(
        (index for index, one in enumerate(processors) if _place(one) > _PLACES[kind]),
        len(processors),
    )


def _place(processor: Any) -> int:
    return _PLACES.get(processor.kind if isinstance(processor, RowRule) else type(processor).__name__, _LAST)


def _padding(processor: Any, model_kwargs: Mapping[str, Any]) -> Any:
    """The leading tokens that a repetition penalty does not count: the padding in version 5, nothing in 4.57."""
    if processor is not None:
        ignored = getattr(processor, "prompt_ignore_length", None)
        return 0 if ignored is None else ignored
    mask = model_kwargs.get("decoder_attention_mask", model_kwargs.get("attention_mask"))
    if mask is None or not hasattr(GenerationMixin, "_prefill") or "encoder_outputs" in model_kwargs:
        return 0
    return (mask != 0).int().argmax(dim=1)


def _listed(value: Any) -> Any:
    """A tensor of tokens as a list; none where there are none."""
    if value is None:
        return []
    return value.reshape(-1).tolist() if isinstance(value, Tensor) else value


def _at_rows(values: Any, rows: int) -> Any:
    """One of ``values`` for each of ``rows``, of which as many belong to each prompt."""
    count = len(values)
    if count == rows:
        return values
    where = [row * count // rows for row in range(rows)]
    return values[where] if isinstance(values, Tensor) else [values[index] for index in where]
