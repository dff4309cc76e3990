"""Transformers' logits processors as stages of a loop.

A processor whose exact type is in ``STEPS`` becomes this engine's own incremental step; any other, a user's own
included, is called as transformers calls it, with the ids so far and the scores, at its place in the list.
"""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor
from transformers import GenerationMixin
from transformers.generation import logits_process as library

from ...decoding.kernels.late_flags import LateFlag
from ...decoding.processors.allowed_tokens import apply_finite, apply_renormalize
from ...decoding.processors.bias import SequenceBiasStep
from ...decoding.processors.forced_tokens import ForcedTokenStep, SuppressTokensStep
from ...decoding.processors.lengths import ExponentialDecayStep, MinLengthStep
from ...decoding.processors.ngrams import NoRepeatNgramStep
from ...decoding.processors.penalties import EncoderRepetitionPenaltyStep, RepetitionPenaltyStep
from ...decoding.processors.whisper_times import WhisperTimesStep
from ...decoding.sampling.chain import LogitsStep
from ...decoding.search.history import History
from ...decoding.watermark.kgw import GreenLists, WatermarkStep
from .grammar import GrammarProcessor
from .processor_state import can_be_steps, encoder_ngrams_step, prefix_step, synthid_step
from .row_rules import RowRule

__all__ = ["LibraryProcessors", "keeps_rows_apart", "translate"]


class LibraryProcessors:
    """Runs transformers' own processors one after another on the whole batch."""

    def __init__(self, processors: Iterable[Any], history: History):
        self.processors = list(processors)
        self.history = history

    def apply(self, logits: Tensor) -> Tensor:
        ids = self.history.ids.contiguous()
        for processor in self.processors:
            logits = _checked(processor(ids, logits), processor, ids.shape[0])
        return logits

    def advance(self, token_ids: Tensor) -> None:
        """The history already has the tokens."""

    def select_rows(self, rows: Tensor) -> None:
        """The history has moved with the model's rows."""


def _checked(scores: Any, processor: Any, rows: int) -> Tensor:
    """What a processor returned, if the next one can go on from it."""
    if isinstance(scores, Tensor) and scores.dim() == 2 and scores.shape[0] == rows:
        return scores
    name = getattr(processor, "__name__", type(processor).__name__)
    if not isinstance(scores, Tensor):
        raise TypeError(f"logits_processor must return a tensor of scores; got {type(scores).__name__} from {name}")
    raise ValueError(f"logits_processor must return scores of {rows} rows; got shape {list(scores.shape)} from {name}")


class Elementwise:
    """A change of the logits that knows no history."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        self.function = function

    def apply(self, logits: Tensor) -> Tensor:
        return self.function(logits)

    def advance(self, token_ids: Tensor) -> None:
        """Nothing to remember."""

    def select_rows(self, rows: Tensor) -> None:
        """Nothing to select."""


@dataclass(frozen=True)
class Start:
    """Where a loop starts: the ids so far [N, T] and the width of the logits."""

    token_ids: Tensor
    vocab_size: int

    @property
    def sizes(self) -> dict[str, Any]:
        """The arguments that steps without a look at the ids are built from."""
        return {
            "batch_size": self.token_ids.shape[0],
            "vocab_size": self.vocab_size,
            "length": self.token_ids.shape[1],
            "device": self.token_ids.device,
        }


class Deferred:
    """A step that is built at its first use, when the width of the logits is known.

    Token ids that the processor keeps on a device are sent for before the model reads the prompt.
    """

    def __init__(self, build: Callable[[Any, Start], LogitsStep], processor: Any, history: History):
        self.build, self.processor, self.history = build, processor, history
        self.step: LogitsStep | None = None
        held = {name: getattr(processor, name, None) for name in _TOKEN_IDS}
        self._sent = {name: _sent_for(ids) for name, ids in held.items() if _is_away(ids)}

    def apply(self, logits: Tensor) -> Tensor:
        if self.step is None:
            self.step = self.build(self._on_host(), Start(self.history.ids, logits.shape[-1]))
        return self.step.apply(logits)

    def _on_host(self) -> Any:
        """The processor, the token ids that were sent for in the place of those on the device."""
        if not self._sent:
            return self.processor
        found, arrived = copy.copy(self.processor), self._sent
        self._sent = {}
        for name, flag in arrived.items():
            setattr(found, name, flag.receive())
        return found

    def advance(self, token_ids: Tensor) -> None:
        if self.step is not None:
            self.step.advance(token_ids)

    def select_rows(self, rows: Tensor) -> None:
        if self.step is not None:
            self.step.select_rows(rows)


def _is_away(token_ids: Any) -> TypeGuard[Tensor]:
    return isinstance(token_ids, Tensor) and token_ids.device.type == "cuda"


def _sent_for(token_ids: Tensor) -> LateFlag:
    flag = LateFlag()
    flag.send(token_ids)
    return flag


def _repetition_penalty(processor: Any, start: Start) -> LogitsStep:
    ignored = getattr(processor, "prompt_ignore_length", None)
    ignored = 0 if ignored is None else ignored
    if isinstance(ignored, Tensor):
        rows = start.token_ids.shape[0]
        ignored = ignored.reshape(-1).to(start.token_ids.device)
        # One per prompt, where the ids have several rows a prompt.
        ignored = ignored.repeat_interleave(rows // ignored.shape[0]) if ignored.shape[0] > 1 else ignored.expand(rows)
    return RepetitionPenaltyStep(start.token_ids, processor.penalty, vocab_size=start.vocab_size, ignore_length=ignored)


def _no_repeat_ngram(processor: Any, start: Start) -> LogitsStep:
    return NoRepeatNgramStep(start.token_ids, processor.ngram_size)


def _sequence_bias(processor: Any, start: Start) -> LogitsStep:
    biases = {words: bias for words, bias in processor.sequence_bias.items() if words}  # an empty word is none
    return SequenceBiasStep(start.token_ids, biases, vocab_size=start.vocab_size)


def _min_length(processor: Any, start: Start) -> LogitsStep:
    return MinLengthStep(processor.min_length, eos_token_id=processor.eos_token_id, **start.sizes)


def _min_new_tokens(processor: Any, start: Start) -> LogitsStep:
    return MinLengthStep(
        processor.min_new_tokens,
        eos_token_id=processor.eos_token_id,
        prompt_length=processor.prompt_length_to_skip,
        **start.sizes,
    )


def _suppress(processor: Any, start: Start) -> LogitsStep:
    return SuppressTokensStep(_whole(processor.suppress_tokens), **start.sizes)


def _suppress_at_begin(processor: Any, start: Start) -> LogitsStep:
    tokens = _whole(processor.begin_suppress_tokens)
    return SuppressTokensStep(tokens, begin_index=processor.begin_index, **start.sizes)


def _whole(token_ids: Any) -> Any:
    """Ids that transformers has read into floats, as it compares them: what is no whole number is no token."""
    if not isinstance(token_ids, Tensor) or not token_ids.is_floating_point():
        return token_ids
    return token_ids[token_ids == token_ids.floor()].long()


def _forced_bos(processor: Any, start: Start) -> LogitsStep:
    if start.token_ids.shape[1] > 1:  # it looks at the length alone, and the time for it is over
        return Elementwise(lambda logits: logits)
    return ForcedTokenStep(processor.bos_token_id, position=1, **start.sizes)


def _forced_eos(processor: Any, start: Start) -> LogitsStep:
    return ForcedTokenStep(processor.eos_token_id, position=processor.max_length - 1, **start.sizes)


def _exponential_decay(processor: Any, start: Start) -> LogitsStep:
    return ExponentialDecayStep(
        processor.regulation_factor,
        start=processor.regulation_start,
        eos_token_id=processor.eos_token_id,
        **start.sizes,
    )


def _encoder_repetition(processor: Any, start: Start) -> LogitsStep:
    rows = start.token_ids.shape[0]
    # The processor keeps the reciprocal of the penalty.
    return EncoderRepetitionPenaltyStep(
        processor.encoder_input_ids, 1 / processor.penalty, vocab_size=start.vocab_size, batch_size=rows
    )


def _whisper_times(processor: Any, start: Start) -> LogitsStep:
    return WhisperTimesStep(
        start.token_ids,
        times_begin=processor.timestamp_begin,
        eos_token_id=processor.eos_token_id,
        begin_index=processor.begin_index,
        latest_first=processor.max_initial_timestamp_index,
        weigh=processor._detect_timestamp_from_logprob,
    )


def _watermark(processor: Any, start: Start) -> LogitsStep:
    """The KGW watermark with the lists of the processor, on the device where it draws them."""
    lists = GreenLists(
        processor.vocab_size,
        # The processor keeps the size of a list alone; this ratio gives the same.
        greenlist_ratio=(processor.greenlist_size + 0.5) / processor.vocab_size,
        hashing_key=processor.hash_key,
        seeding_scheme=processor.seeding_scheme,
        context_width=processor.context_width,
        device=processor.rng.device,
    )
    return WatermarkStep(start.token_ids, processor.bias, green_lists=lists)


STEPS: dict[Any, Callable[[Any, Start], LogitsStep]] = {
    library.RepetitionPenaltyLogitsProcessor: _repetition_penalty,
    library.NoRepeatNGramLogitsProcessor: _no_repeat_ngram,
    library.SequenceBiasLogitsProcessor: _sequence_bias,
    library.NoBadWordsLogitsProcessor: _sequence_bias,
    library.MinLengthLogitsProcessor: _min_length,
    library.MinNewTokensLengthLogitsProcessor: _min_new_tokens,
    library.SuppressTokensLogitsProcessor: _suppress,
    library.SuppressTokensAtBeginLogitsProcessor: _suppress_at_begin,
    library.ForcedBOSTokenLogitsProcessor: _forced_bos,
    library.ForcedEOSTokenLogitsProcessor: _forced_eos,
    library.ExponentialDecayLengthPenalty: _exponential_decay,
    library.EncoderRepetitionPenaltyLogitsProcessor: _encoder_repetition,
    library.WatermarkLogitsProcessor: _watermark,
    library.WhisperTimeStampLogitsProcessor: _whisper_times,
    library.EncoderNoRepeatNGramLogitsProcessor: lambda processor, start: encoder_ngrams_step(
        processor, start.token_ids
    ),
    library.PrefixConstrainedLogitsProcessor: lambda processor, start: prefix_step(processor, start.token_ids),
    library.SynthIDTextWatermarkLogitsProcessor: lambda processor, start: synthid_step(processor, start.token_ids),
    RowRule: lambda rule, start: rule.step(start.token_ids, start.vocab_size),
    GrammarProcessor: lambda grammar, start: grammar.step(start.token_ids.shape[0], start.vocab_size),
    library.InfNanRemoveLogitsProcessor: lambda processor, start: Elementwise(apply_finite),
    library.LogitNormalization: lambda processor, start: Elementwise(apply_renormalize),
}

# What those keep of token ids as tensors.
_TOKEN_IDS = ("eos_token_id", "bos_token_id", "suppress_tokens", "begin_suppress_tokens")

# Transformers' own that look at one row at a time and remember nothing but what the ids say.
ROW_WISE = frozenset(STEPS) | frozenset(
    getattr(library, name)
    for name in (
        "EpsilonLogitsWarper",
        "EtaLogitsWarper",
        "MinPLogitsWarper",
        "TemperatureLogitsWarper",
        "TopHLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "TypicalLogitsWarper",
    )
    if hasattr(library, name)
)


def translate(processors: Iterable[Any], history: History) -> list[LogitsStep]:
    """The stages for ``processors``, in order; those without a step of this engine run together, as in transformers."""
    stages: list[LogitsStep] = []
    for processor in processors:
        build = STEPS.get(type(processor))
        if build is not None and _is_the_same(processor, history):
            stages.append(Deferred(build, processor, history))
        elif stages and isinstance(stages[-1], LibraryProcessors):
            stages[-1].processors.append(processor)
        else:
            stages.append(LibraryProcessors([processor], history))
    return stages


def _is_the_same(processor: Any, history: History) -> bool:
    """Whether the step of this engine does what the processor does, to the bit."""
    if getattr(processor, "logits_indices", None) is not None or not _is_finite(processor):
        return False
    if type(processor) is library.EncoderRepetitionPenaltyLogitsProcessor:
        # 4.57 penalises the first rows alone where there are several for each input.
        rows = processor.encoder_input_ids.shape[0]
        if rows != history.batch_size and not hasattr(GenerationMixin, "_prefill"):
            return False
        back = torch.tensor([processor.penalty, 1 / (1 / processor.penalty)], dtype=torch.float64, device="cpu").float()
        return bool(back[0] == back[1])
    if type(processor) is library.WhisperTimeStampLogitsProcessor:
        # A list of ends is a TypeError there, and what is shorter than its begin counts as given until it is not.
        return type(processor.eos_token_id) is int and processor.begin_index <= history.ids.shape[1]
    return can_be_steps(processor, history.batch_size)


def _is_finite(processor: Any) -> bool:
    """Whether its numbers are such as the steps take: transformers lets through what leaves infinite scores or NaN."""
    if isinstance(processor, library.SequenceBiasLogitsProcessor):
        return not any(math.isnan(bias) for bias in processor.sequence_bias.values())
    return math.isfinite(getattr(processor, "penalty", 0.0))


def keeps_rows_apart(processors: Iterable[Any]) -> bool:
    """Whether every processor is transformers' own and reads one row's ids and scores at a time."""
    return all(type(processor) in ROW_WISE for processor in processors)
