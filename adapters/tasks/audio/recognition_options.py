"""What automatic-speech-recognition takes, and which of its four kinds of model is at hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ....postprocess.audio.strides import chunk_lengths
from ...running.loaded import Loaded
from ...running.options import require
from ..text.generating import generate_options, with_defaults

CTC, CTC_WITH_LM, SEQ2SEQ, WHISPER, TRANSDUCER = "ctc", "ctc_with_lm", "seq2seq", "seq2seq_whisper", "tdt"
_TRANSDUCERS = ("parakeet_tdt", "parakeet_rnnt", "nemotron_asr_streaming", "nemotron3_5_asr")
DEFAULTS = {"max_new_tokens": 256, "num_beams": 5}
# Keyword arguments of Whisper's own generate that no configuration has.
_WHISPER_OPTIONS = (
    "return_segments",
    "language",
    "task",
    "is_multilingual",
    "prompt_ids",
    "prompt_condition_type",
    "condition_on_prev_tokens",
    "compression_ratio_threshold",
    "logprob_threshold",
    "no_speech_threshold",
    "num_segment_frames",
    "time_precision",
    "time_precision_features",
    "return_token_timestamps",
    "force_unique_generate_call",
    "monitor_progress",
)


@dataclass(frozen=True)
class RecognitionOptions:
    chunk_length_s: float = 0
    stride_length_s: Any = None
    ignore_warning: bool | None = None
    return_timestamps: Any = None
    return_language: bool | None = None
    decoder: Any = None
    decoder_kwargs: Mapping[str, Any] | None = None
    generate_kwargs: Mapping[str, Any] | None = None
    confidence: bool = False
    attention: bool = False
    skip_silence: Any = False
    allow_urls: bool = False
    timeout: float | None = None
    forwarded: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.chunk_length_s >= 0, f"chunk_length_s must be at least 0; got {self.chunk_length_s}")
        require(
            isinstance(self.skip_silence, bool) or callable(self.skip_silence),
            f"skip_silence must be True, False or a function of samples and their rate; got {self.skip_silence!r}",
        )
        require(
            not (self.skip_silence and self.attention),
            "attention must be False with skip_silence; got True",
        )

    @property
    def given(self) -> dict[str, Any]:
        """The arguments of generate that the caller has named."""
        return {**(self.generate_kwargs or {}), **self.forwarded}


@cache
def recognition_arguments() -> frozenset[str]:
    """Every option that is handed on to generate."""
    return generate_options() | frozenset(_WHISPER_OPTIONS)


def kind_of(loaded: Loaded, options: RecognitionOptions) -> str:
    """Which way the model's answers are read, by transformers' rule."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES

    if loaded.config.model_type == "whisper":
        return WHISPER
    if type(loaded.model).__name__ in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES.values():
        return SEQ2SEQ
    if loaded.config.model_type in _TRANSDUCERS:
        return TRANSDUCER
    return CTC if options.decoder is None else CTC_WITH_LM


def timestamps_of(loaded: Loaded, options: RecognitionOptions) -> Any:
    """``return_timestamps`` of the call, or else of the model's own configuration."""
    stated = getattr(getattr(loaded.model, "generation_config", None), "return_timestamps", None)
    return options.return_timestamps or stated or None


def check(loaded: Loaded, options: RecognitionOptions) -> RecognitionOptions:
    kind, times = kind_of(loaded, options), timestamps_of(loaded, options)
    if kind == CTC_WITH_LM and not hasattr(options.decoder, "decode_beams"):
        raise TypeError(f"decoder must have decode_beams, as pyctcdecode's have it; got {options.decoder!r:.60}")
    allowed = {
        CTC: ("char", "word"),
        CTC_WITH_LM: ("word",),
        SEQ2SEQ: (),
        WHISPER: (True, "word"),
        TRANSDUCER: ("char", "word"),
    }[kind]
    if times is not None and not any(times is value or times == value for value in allowed):
        listed = " or ".join(map(repr, (*allowed, None)))
        raise ValueError(f"return_timestamps must be {listed} for {type(loaded.model).__name__}; got {times!r}")
    require(
        not options.return_language or kind == WHISPER,
        f"return_language must be None unless the model is a Whisper; got {options.return_language!r}",
    )
    if options.confidence:
        require(
            kind == CTC or (kind == WHISPER and not options.chunk_length_s),
            "confidence must be False but for a CTC model without a decoder, or a Whisper without chunk_length_s",
        )
    if options.attention:
        require(
            kind == WHISPER and times == "word" and not options.chunk_length_s,
            'attention must be False but for a Whisper with return_timestamps="word" and without chunk_length_s',
        )
    if kind == TRANSDUCER and times is not None:
        require(
            not options.chunk_length_s,
            f"return_timestamps must be None for chunks of a transducer, whose texts overlap; got {times!r}",
        )
    if options.chunk_length_s:
        chunk_samples(loaded, options)
    return options


def chunk_samples(loaded: Loaded, options: RecognitionOptions) -> tuple[int, int, int]:
    """Samples of a chunk and of its context on the left and right, whole frames of the model."""
    rate, stride = loaded.feature_extractor.sampling_rate, options.stride_length_s
    try:
        return chunk_lengths(options.chunk_length_s, stride, rate, align_to=samples_per_frame(loaded))
    except ValueError as error:  # of the kernel's arguments; the options have transformers' names
        told = str(error).replace("stride_seconds", "stride_length_s").replace("chunk_seconds", "chunk_length_s")
        raise ValueError(told) from error


def samples_per_frame(loaded: Loaded) -> int:
    """Samples that one frame of the model's output stands for, 1 where it does not say."""
    samples: int = getattr(loaded.config, "inputs_to_logits_ratio", 1)
    if loaded.config.model_type == "lasr_ctc":  # its ratio counts frames of features
        samples *= loaded.feature_extractor.hop_length
    return samples


def generate_arguments(loaded: Loaded, options: RecognitionOptions) -> dict[str, Any]:
    """Keyword arguments of generate: the caller's, and the pipeline's defaults where neither they nor the model say."""
    kind, given = kind_of(loaded, options), options.given
    times = timestamps_of(loaded, options)
    if kind == WHISPER and times:
        given["return_timestamps"] = True
        if times == "word":
            given["return_token_timestamps"] = given["return_segments"] = True
    if kind == WHISPER and options.return_language:
        given["return_segments"] = True
    if kind == WHISPER and options.confidence:
        given["return_segments"] = given["return_dict_in_generate"] = given["output_scores"] = True
    if kind == TRANSDUCER:
        return given
    defaults = dict(DEFAULTS)
    if loaded.config.model_type == "kyutai_speech_to_text":  # its generate knows how long the sound is
        del defaults["max_new_tokens"]
    return with_defaults(loaded, given, defaults)


def must_run_in_order(loaded: Loaded, options: RecognitionOptions) -> bool:
    """Whether batches must be transformers' own: where a size is given, where rows draw from torch's stream one after
    another, or where what is generated for one recording depends on its neighbours."""
    kind = kind_of(loaded, options)
    if kind in (CTC, CTC_WITH_LM):
        return loaded.batch_size is not None and loaded.compat
    arguments = generate_arguments(loaded, options)
    if loaded.batch_size is not None and kind != WHISPER:
        return True
    if kind == WHISPER:
        temperature = arguments.get("temperature")
        draws = isinstance(temperature, list | tuple) or bool(temperature)
        return draws and arguments.get("seeds") is None and loaded.compat
    return bool(arguments.get("do_sample")) and arguments.get("seeds") is None and loaded.compat
