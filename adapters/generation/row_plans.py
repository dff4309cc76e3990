"""The options of one prompt as a row of a running batch.

transformers prepares them as it prepares a call of ``generate`` for that prompt alone: its configuration, processors
and criteria are taken where its loop would start. What depends on nothing but the options and the length of the prompt
is prepared once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PreTrainedTokenizerBase
from transformers.generation import logits_process as library
from transformers.generation import stopping_criteria as criteria

from ...decoding.options.forkable_lock import forkable_lock
from ...decoding.options.validation import check_seeds
from ...decoding.sampling.chain import LogitsStep
from ...decoding.sampling.params import SamplingParams
from ...decoding.search.history import History
from ...decoding.search.jump_ahead import Certain
from ...decoding.search.row_requests import RowRequest
from .captured_call import Captured
from .capturing import capture
from .grammar import GrammarProcessor, take_grammars
from .processors import translate
from .request import GRAMMAR_OPTIONS, NEW_NAMES, ROW_OPTIONS, Request, grammar_of_row, has_rows, split_request
from .row_rules import RowRule, with_row_rules
from .selection import GrammarStage, GreedySelect, SamplerSelect, build_sampler, known_ahead, require_draws
from .stop_strings import RowStopStrings
from .stopping import read_criteria

__all__ = ["RowPlans", "options_of"]

_TAKES_ROWS = frozenset(
    {*ROW_OPTIONS, *NEW_NAMES, "repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "max_new_tokens"}
)

# What is the same for every prompt of a length: no state, no look at the prompt's tokens.
_SHARED = frozenset(
    {
        GrammarProcessor,
        RowRule,
        library.RepetitionPenaltyLogitsProcessor,
        library.NoRepeatNGramLogitsProcessor,
        library.SequenceBiasLogitsProcessor,
        library.NoBadWordsLogitsProcessor,
        library.MinLengthLogitsProcessor,
        library.MinNewTokensLengthLogitsProcessor,
        library.SuppressTokensLogitsProcessor,
        library.SuppressTokensAtBeginLogitsProcessor,
        library.ForcedBOSTokenLogitsProcessor,
        library.ForcedEOSTokenLogitsProcessor,
        library.ExponentialDecayLengthPenalty,
        library.InfNanRemoveLogitsProcessor,
        library.LogitNormalization,
    }
)
_REFUSED = (
    *("streamer", "return_dict_in_generate", "inputs_embeds", "past_key_values", "cache"),
    *("decoder_input_ids", "decoder_start_token_id"),  # all rows of a batch begin as the model's own settings say
)


@dataclass(frozen=True)
class _Plan:
    """A row without its prompt. request: with a prompt of the same length; shared: for other prompts of the length.

    limited: whether more of it than the limit itself depends on how many tokens it may have.
    """

    request: RowRequest
    shared: bool
    limited: bool


# Plans that are kept, and for how many one with texts that end a row counts: it holds a table of the vocabulary.
_KEPT, _STOP_TEXTS = 4096, 256


class RowPlans:
    """Makes rows for ``model`` of prompts and the options ``generate`` takes, one value each.

    Raises TypeError if ``model`` is no transformers model whose generate is transformers' own.
    """

    def __init__(self, model: Any) -> None:
        if not isinstance(model, GenerationMixin):
            raise TypeError(f"model must be a transformers model that can generate; got {type(model).__name__}")
        self.model = model
        self._plans: dict[Any, _Plan] = {}
        self._room = _KEPT
        self._configuration: Any = None  # as the keys have it, one object for all of them
        self._lock = forkable_lock()

    def row(
        self,
        token_ids: Tensor,
        options: Mapping[str, Any],
        *,
        seed: int | None = None,
        tag: Any = None,
        on_token: Callable[[int, str], None] | None = None,
    ) -> RowRequest:
        """The row of ``token_ids`` [P] under ``options``. Without a seed, draws have one from torch's generator.

        Raises ValueError or TypeError as ``generate`` would, and for modes that do not decode token by token.
        """
        if seed is not None:
            seed = _checked_seed(seed)
        limit = options.get("max_new_tokens")
        counts = type(limit) is int and limit > 0  # then most plans are one for all limits
        key = self._key(token_ids, {**options, "max_new_tokens": True} if counts else options)
        keys = [] if key is None else [(key, counts, limit if counts else None), (key, counts, None)]
        with self._lock:
            plan = next((self._plans[one] for one in keys if one in self._plans), None)
        if plan is None:
            plan = self._plan(token_ids, dict(options))
            with self._lock:
                if plan.shared and keys:
                    weight = _STOP_TEXTS if plan.request.criteria else 1
                    if self._room < weight:  # prompts of ever new options: begin again
                        self._plans.clear()
                        self._room = _KEPT
                    self._room -= weight
                    self._plans[keys[0 if plan.limited else 1]] = plan
        request = replace(plan.request, max_new_tokens=limit) if counts else plan.request
        if seed is None:
            seed = 0 if request.params is None else int(torch.randint(2**62, (), device="cpu"))
        read: dict[str, Any] = {"source_ids" if self.model.config.is_encoder_decoder else "token_ids": token_ids}
        return replace(request, **read, seed=seed, tag=tag, on_token=on_token)

    def _key(self, token_ids: Tensor, options: Mapping[str, Any]) -> Any:
        """What a plan depends on; None where an option is an object that may be another at the next call."""
        try:
            configuration = _frozen(getattr(self.model, "generation_config", None))
            if configuration == self._configuration:
                configuration = self._configuration  # 20 KB, of which each plan would keep its own
            self._configuration = configuration
            return token_ids.shape[0], _frozen(options), configuration
        except _Unfrozen:
            return None

    def _plan(self, token_ids: Tensor, options: dict[str, Any]) -> _Plan:
        for name in _REFUSED:
            if options.get(name) is not None and options[name] is not False:
                raise ValueError(f"{name} must not be given for rows of a running batch; got {options[name]!r}")
        request, arguments = split_request(None, False, take_grammars(self.model, options))
        found = capture(self.model, request, token_ids[None], arguments)
        begin = found.input_ids[0] if self.model.config.is_encoder_decoder else token_ids
        return _planned(begin, found, request)


def _planned(token_ids: Tensor, found: Captured, request: Request) -> _Plan:
    """One prompt's row of a running batch, from what transformers prepared for it; and whether others may share its
    plan. token_ids: what it goes on from, of an encoder-decoder the decoder's."""
    config = found.prepared["generation_config"]
    require_draws(config, request)
    processors = with_row_rules(
        list(found.prepared["logits_processor"]), request, config, found.input_ids, found.model_kwargs
    )
    params: SamplingParams | None = None
    if config.do_sample:
        processors, select = build_sampler(processors, request, 1)
        params = select.params
    stopping, _ = read_criteria(found.prepared["stopping_criteria"], found.input_ids.device)
    ends = () if stopping.eos_token_id is None else tuple(stopping.eos_token_id.reshape(-1).tolist())
    length = token_ids.shape[0]
    row = RowRequest(
        token_ids=token_ids,
        params=params,
        max_new_tokens=None if stopping.max_length is None else max(stopping.max_length - length, 1),
        eos_token_ids=ends,
        max_time=config.max_time,
        stages=(lambda history: _stages(processors, history, greedy=params is None)) if processors else None,
        ahead=_ahead_of(params) if processors and type(processors[-1]) is GrammarProcessor else None,
        criteria=tuple(_criterion(one) for one in stopping.criteria),
    )
    own = any(not isinstance(one, criteria.StopStringCriteria) for one in stopping.criteria)
    limited = any(
        type(one) is library.ForcedEOSTokenLogitsProcessor or (type(one) is RowRule and "max_length" in one.options)
        for one in processors
    )
    return _Plan(row, all(type(one) in _SHARED for one in processors) and not own, limited)


def _stages(processors: Sequence[Any], history: History, *, greedy: bool) -> list[LogitsStep]:
    """The stages of one row; a grammar at their end is part of a greedy choice."""
    if type(processors[-1]) is not GrammarProcessor:
        return translate(processors, history)
    greedy = greedy and history.ids.device.type == "cpu"
    return [*translate(processors[:-1], history), GrammarStage(processors[-1], history, greedy=greedy, together=True)]


def _ahead_of(params: SamplingParams | None) -> Callable[[Sequence[Any]], Certain | None]:
    """What finds the stage of a row that is certain of tokens; its draws depend on its seed."""
    select = GreedySelect() if params is None else SamplerSelect(params, 1, seeds=[0])
    return lambda stages: known_ahead(stages, select)


def _criterion(criterion: Any) -> Any:
    return RowStopStrings(criterion) if type(criterion) is criteria.StopStringCriteria else criterion


class _Unfrozen(Exception):
    """An object of which nobody knows what it is equal to."""


def _frozen(value: Any) -> Any:
    """Something to look options up by: equal for equal numbers, texts, lists, tensors and configurations.

    A tokenizer and a class are equal to themselves alone. Raises ``_Unfrozen`` for any other object: by its address it
    would be taken for the next one that is given the same memory, and what it holds may change.
    """
    if value is None or isinstance(value, str | int | float):
        return (type(value).__name__, str(value))
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), type(name).__name__, _frozen(one)) for name, one in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(one) for one in value)
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return (type(value).__name__, str(value.dtype), tuple(value.shape), _frozen(value.tolist()))
    if isinstance(value, GenerationConfig):
        return ("configuration", _frozen(vars(value)))
    if isinstance(value, type | PreTrainedTokenizerBase | torch.dtype):
        return value
    raise _Unfrozen


def _checked_seed(seed: Any) -> int:
    """A seed as ``generate`` takes it in ``seeds``; of any size, modulo 2**64."""
    try:
        return int(check_seeds([seed], 1, torch.device("cpu")))
    except TypeError:
        raise TypeError(f"seed must be an int; got {seed!r}") from None


def options_of(options: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The options of prompt ``number``, where some have a value for every prompt.

    >>> options_of({"top_p": [0.5, 0.9], "top_k": 5}, 1)
    {'top_p': 0.9, 'top_k': 5}
    """
    return {name: _of_row(name, value, number) for name, value in options.items()}


def _of_row(name: str, value: Any, number: int) -> Any:
    """An option's value for the prompt ``number``: its own where the option has one a row."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = value.tolist()
    if name in GRAMMAR_OPTIONS:
        return grammar_of_row(name, value, number)
    if name == "eos_token_id":
        has_own = isinstance(value, list | tuple) and any(isinstance(one, list | tuple) for one in value)
    else:
        has_own = name in _TAKES_ROWS and has_rows(name, value)
    if not has_own:
        return value
    if number >= len(value):
        raise ValueError(f"{name} must have one value for each prompt; got {len(value)} for prompt {number}")
    one = value[number]
    return one.tolist() if isinstance(one, Tensor) else one
