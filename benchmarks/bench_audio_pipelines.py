"""Whole calls of speech recognition against transformers' pipeline: letters, words, hours in chunks, long forms."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from afterlogits import pipeline
from afterlogits.benchmarks import audio_workloads, workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.pairing import at_least, memory_at_most

TASK = "automatic-speech-recognition"
TABLE = "audio tasks"
RATE = 16_000
pytestmark = [
    pytest.mark.full,
    # Random models end in the middle of a segment and speak of times beyond the end.
    pytest.mark.filterwarnings("ignore"),
]


def noise(seconds: float, seed: int) -> np.ndarray[Any, Any]:
    """Noise whose loudness comes and goes, so that a random model's answer changes over time."""
    drawn = np.random.default_rng(seed)
    count = int(seconds * RATE)
    loudness = np.interp(np.arange(count), np.linspace(0, count, 12), drawn.random(12))
    return (0.5 * loudness * drawn.standard_normal(count)).astype(np.float32)


def clips(count: int, shortest: float, longest: float) -> list[np.ndarray[Any, Any]]:
    lengths = np.random.default_rng(0).uniform(shortest, longest, count)
    return [noise(float(seconds), seed) for seed, seconds in enumerate(lengths)]


@cache
def ctc(device: str) -> tuple[Any, Any]:
    """Our pipeline and transformers' over a Wav2Vec2-BERT of 2 layers of 64 on 80 mel bins."""
    config = transformers.Wav2Vec2BertConfig(
        vocab_size=32,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        feature_projection_input_dim=160,
        conv_depthwise_kernel_size=15,
        pad_token_id=0,
        initializer_range=0.3,
    )
    model = workloads.from_config("Wav2Vec2BertForCTC", config)
    parts = {
        "tokenizer": audio_workloads.ctc_tokenizer(32),
        "feature_extractor": transformers.SeamlessM4TFeatureExtractor(),
    }
    options = {"model": model, "device": device, **parts}
    return pipeline(TASK, **options), transformers.pipeline(TASK, **options)


@cache
def whisper(
    device: str, layers: tuple[int, int] = (1, 2), heads: int = 2, width: int = 16, longest: int = 104
) -> tuple[Any, Any]:
    """Both over a Whisper of 1 + 2 layers of 16 that writes up to 100 tokens a window, or of another shape. Two heads
    of the last layer align."""
    tokenizer = audio_workloads.whisper_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    end = ids("<|endoftext|>")
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        d_model=width,
        max_target_positions=longest,
        init_std=0.3,
        pad_token_id=end,
        eos_token_id=end,
        bos_token_id=end,
        decoder_start_token_id=ids("<|startoftranscript|>"),
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    settings = model.generation_config
    languages = [token for token in tokenizer.all_special_tokens if len(token) in (6, 7)]
    settings.lang_to_id = {token: ids(token) for token in languages}
    settings.task_to_id = {"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")}
    settings.no_timestamps_token_id, settings.prev_sot_token_id = ids("<|notimestamps|>"), ids("<|startofprev|>")
    settings.is_multilingual, settings.alignment_heads, settings.max_initial_timestamp_index = (
        True,
        [[layers[1] - 1, 0], [layers[1] - 1, 1]],
        50,
    )
    settings.suppress_tokens = settings.begin_suppress_tokens = None
    settings.decoder_start_token_id = ids("<|startoftranscript|>")
    settings.eos_token_id = settings.pad_token_id = settings.bos_token_id = end
    settings.max_length = longest
    options = {
        "model": model,
        "tokenizer": tokenizer,
        "feature_extractor": transformers.WhisperFeatureExtractor(),
        "device": device,
    }
    return pipeline(TASK, **options), transformers.pipeline(TASK, **options)


def texts_and_times(ours: Any, theirs: Any) -> None:
    require_same(_plain(ours), _plain(theirs), rtol=1e-6)


def _plain(found: Any) -> list[Any]:
    listed = found if isinstance(found, list) else [found]
    return [
        [record["text"], [[chunk["text"], *map(_number, chunk["timestamp"])] for chunk in record.get("chunks", ())]]
        for record in listed
    ]


def _number(time: Any) -> float:
    return -1.0 if time is None else float(time)


def compare(pair: Any, name: str, pipes: tuple[Any, Any], sound: Any, asked: float, **options: Any) -> None:
    ours, library = pipes
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair(
            name,
            table=TABLE,
            ours=lambda: ours(sound, **options),
            rivals={"transformers": lambda: library(sound, **options)},
            asked=[at_least(asked, "transformers")],
            same=texts_and_times,
            rounds=2,
            memory=(),
        )


GREEDY = {"generate_kwargs": {"num_beams": 1}}


@pytest.mark.parametrize("times", [None, "word"])
def bench_ctc_clips(pair: Any, times: str | None) -> None:
    name = f"CTC, 40 clips of 2 to 8 s{', words' if times else ''}"
    compare(
        pair, name, ctc(str(pair.device)), clips(40, 2.0, 8.0), 1.5, **({"return_timestamps": times} if times else {})
    )


def bench_whisper_words(pair: Any) -> None:
    compare(
        pair,
        "Whisper, words of 8 clips",
        whisper(str(pair.device)),
        clips(8, 15.0, 29.0),
        1.5,
        return_timestamps="word",
        **GREEDY,
    )


def bench_whisper_words_memory(pair: Any) -> None:
    """As many heads as whisper-tiny has: the attentions that no time is read from are most of the call's memory."""
    ours, library = whisper(str(pair.device), (4, 4), 6, 96, 64)
    transformers.logging.set_verbosity_error()
    sound = noise(29.0, 1)
    options: dict[str, Any] = {"return_timestamps": "word", **GREEDY}
    pair(
        "Whisper of 4 + 4 layers of 6 heads, words of a clip",
        table=TABLE,
        ours=lambda: ours(sound, **options),
        rivals={"transformers": lambda: library(sound, **options)},
        asked=[memory_at_most(0.25, "transformers")],
        same=texts_and_times,
        rounds=2,
    )


def bench_whisper_hour(pair: Any) -> None:
    sound = noise(3600.0, 1)
    compare(
        pair, "Whisper, an hour in chunks of 30 s", whisper(str(pair.device)), sound, 3, chunk_length_s=30, **GREEDY
    )


def bench_whisper_long_form(pair: Any) -> None:
    sounds = clips(16, 60.0, 100.0)
    compare(
        pair, "Whisper, long form of 16 files", whisper(str(pair.device)), sounds, 4, return_timestamps=True, **GREEDY
    )
