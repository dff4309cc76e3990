"""Logits to tokens: filters, penalties, constraints, samplers and generation loops. Tensors in, tensors out."""

if __name__ != "afterlogits.decoding":
    raise ImportError("import afterlogits.decoding, not decoding: a second copy of the package would be loaded")

from .filters.classifier_free_guidance import apply_guidance
from .filters.entropy import (
    apply_dynamic_temperature,
    apply_epsilon,
    apply_eta,
    apply_top_h,
    apply_top_n_sigma,
    apply_typical_p,
    apply_xtc,
)
from .filters.top_k_top_p_min_p import (
    apply_min_p,
    apply_temperature,
    apply_top_k,
    apply_top_k_top_p_jointly,
    apply_top_p,
    top_k_top_p_filtering,
)
from .kernels.argmax import first_argmax
from .processors.allowed_tokens import (
    AllowedTokensStep,
    PrefixAllowedTokensStep,
    apply_allowed_tokens,
    apply_finite,
    apply_prefix_allowed_tokens,
    apply_renormalize,
    apply_token_bitmask,
)
from .processors.bias import (
    BadWordsStep,
    LogitBiasStep,
    SequenceBiasStep,
    apply_bad_words,
    apply_logit_bias,
    apply_sequence_bias,
)
from .processors.dry import DryStep, apply_dry
from .processors.forced_tokens import (
    ForcedTokenStep,
    SuppressTokensStep,
    apply_begin_suppress_tokens,
    apply_forced_bos,
    apply_forced_eos,
    apply_suppress_tokens,
)
from .processors.lengths import (
    ExponentialDecayStep,
    MinLengthStep,
    apply_exponential_decay,
    apply_min_length,
    apply_min_new_tokens,
)
from .processors.ngrams import (
    EncoderNoRepeatNgramStep,
    NoRepeatNgramStep,
    apply_encoder_no_repeat_ngram,
    apply_no_repeat_ngram,
)
from .processors.penalties import (
    CountPenaltyStep,
    EncoderRepetitionPenaltyStep,
    RepetitionPenaltyStep,
    apply_encoder_repetition_penalty,
    apply_frequency_penalty,
    apply_presence_penalty,
    apply_repetition_penalty,
)
from .sampling.adaptive_p import AdaptivePStep, apply_adaptive_p
from .sampling.chain import LogitsStep, apply_chain
from .sampling.draw_steps import DrawSteps
from .sampling.history_steps import HistorySteps
from .sampling.logprobs import top_logprobs
from .sampling.mirostat import MirostatStep, apply_mirostat
from .sampling.params import DEFAULT_HISTORY_ORDER, DEFAULT_ORDER, SamplingParams
from .sampling.sample import Sampled, Sampler, sample
from .search.beam_constraints import DisjunctiveConstraint, PhrasalConstraint
from .watermark.kgw import GreenLists, WatermarkDetection, WatermarkStep, apply_watermark, detect_watermark
from .watermark.synthid import SynthIDKeys, SynthIDStep, apply_synthid

__all__ = [
    "DEFAULT_HISTORY_ORDER",
    "DEFAULT_ORDER",
    "AdaptivePStep",
    "AllowedTokensStep",
    "BadWordsStep",
    "CountPenaltyStep",
    "DisjunctiveConstraint",
    "DrawSteps",
    "DryStep",
    "EncoderNoRepeatNgramStep",
    "EncoderRepetitionPenaltyStep",
    "ExponentialDecayStep",
    "ForcedTokenStep",
    "GreenLists",
    "HistorySteps",
    "LogitBiasStep",
    "LogitsStep",
    "MinLengthStep",
    "MirostatStep",
    "NoRepeatNgramStep",
    "PhrasalConstraint",
    "PrefixAllowedTokensStep",
    "RepetitionPenaltyStep",
    "Sampled",
    "Sampler",
    "SamplingParams",
    "SequenceBiasStep",
    "SuppressTokensStep",
    "SynthIDKeys",
    "SynthIDStep",
    "WatermarkDetection",
    "WatermarkStep",
    "apply_adaptive_p",
    "apply_allowed_tokens",
    "apply_bad_words",
    "apply_begin_suppress_tokens",
    "apply_chain",
    "apply_dry",
    "apply_dynamic_temperature",
    "apply_encoder_no_repeat_ngram",
    "apply_encoder_repetition_penalty",
    "apply_epsilon",
    "apply_eta",
    "apply_exponential_decay",
    "apply_finite",
    "apply_forced_bos",
    "apply_forced_eos",
    "apply_frequency_penalty",
    "apply_guidance",
    "apply_logit_bias",
    "apply_min_length",
    "apply_min_new_tokens",
    "apply_min_p",
    "apply_mirostat",
    "apply_no_repeat_ngram",
    "apply_prefix_allowed_tokens",
    "apply_presence_penalty",
    "apply_renormalize",
    "apply_repetition_penalty",
    "apply_sequence_bias",
    "apply_suppress_tokens",
    "apply_synthid",
    "apply_temperature",
    "apply_token_bitmask",
    "apply_top_h",
    "apply_top_k",
    "apply_top_k_top_p_jointly",
    "apply_top_n_sigma",
    "apply_top_p",
    "apply_typical_p",
    "apply_watermark",
    "apply_xtc",
    "detect_watermark",
    "first_argmax",
    "sample",
    "top_k_top_p_filtering",
    "top_logprobs",
]
