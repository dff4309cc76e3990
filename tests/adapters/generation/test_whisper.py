"""Whisper's own generate on this engine: temperatures to fall back to, windows, and seeds that follow each clip."""

import copy
from typing import Any

import pytest
import torch

from afterlogits.adapters import generate, install
from afterlogits.adapters.generation.model_inputs import CACHE
from afterlogits.adapters.generation.word_times import rows_timed_alone
from tests.builders.tiny_whisper import PREVIOUS, sounds, tiny_whisper

TRIED = (0.0, 0.2, 0.4, 0.8)
STRICT = {"logprob_threshold": -0.5, "compression_ratio_threshold": 1.35}
SHORT, LONG = sounds(1, 0.6), sounds(2, 1.3)
TIMED = {"return_timestamps": True}
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "short": (SHORT, {}),
    "beams": (SHORT, {"num_beams": 3}),
    "sampled": (SHORT, {"temperature": 0.7}),
    "several": (SHORT, {"temperature": 0.7, "do_sample": True, "num_return_sequences": 2}),
    "fallback": (SHORT, {"temperature": TRIED, **STRICT}),
    "as many temperatures as clips": (SHORT, {"temperature": (0.0, 0.5), **STRICT}),
    "a list of temperatures": (SHORT, {"temperature": [0.0, 0.5], **STRICT}),
    "do_sample without a temperature": (SHORT, {"do_sample": True}),
    "words": (SHORT, {"return_token_timestamps": True}),
    "scores": (SHORT, {"return_dict_in_generate": True, "output_scores": True}),
    "nothing suppressed": (SHORT, {"suppress_tokens": [], "begin_suppress_tokens": []}),
    "long": (LONG, {**TIMED, "return_segments": True}),
    "long sampled": (LONG, {**TIMED, "temperature": 0.6}),
    "long beams": (LONG, {**TIMED, "num_beams": 3}),
    "long fallback": (LONG, {**TIMED, "temperature": TRIED, **STRICT}),
    "long fallback, one a clip": (LONG, {**TIMED, "temperature": (0.0, 0.8), **STRICT}),
    "conditioned": (LONG, {**TIMED, "temperature": TRIED, "condition_on_prev_tokens": True, "logprob_threshold": -0.5}),
    "silence": (LONG, {**TIMED, "temperature": TRIED, "no_speech_threshold": 0.01, "logprob_threshold": -0.5}),
    "prompt": (LONG, {**TIMED, "prompt_ids": torch.tensor([PREVIOUS, 3, 4, 5])}),
    "languages": (LONG, {**TIMED, "language": ["en", "de"], "task": "translate"}),
    "long words": (LONG, {**TIMED, "return_token_timestamps": True}),
    "long scores": (LONG, {**TIMED, "return_dict_in_generate": True, "output_scores": True, "temperature": TRIED}),
    "static cache": (LONG, {**TIMED, "cache_implementation": "static", "temperature": TRIED, **STRICT}),
    "few tokens": (LONG, {**TIMED, "max_new_tokens": 7}),
}
pytestmark = pytest.mark.filterwarnings("ignore")


def plain(value: Any) -> Any:
    """Numbers of everything in an answer but the cache."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if hasattr(value, "items"):
        return {name: plain(inner) for name, inner in value.items() if name != CACHE}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def answer(call: Any, inputs: dict[str, Any], options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    found = plain(call(**copy.deepcopy(inputs), **copy.deepcopy(options)))
    return found, torch.get_rng_state().tolist()


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    return tiny_whisper(), install(tiny_whisper())


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_transformers_own(models: tuple[Any, Any], name: str) -> None:
    """Tokens, segments, times, scores and the random stream afterwards, by ``install`` and by ``generate``."""
    model, installed = models
    inputs, options = CALLS[name]
    expected = answer(model.generate, inputs, options)
    assert answer(installed.generate, inputs, options) == expected
    assert answer(lambda **given: generate(model, given.pop("input_features"), **given), inputs, options) == expected


def segments(model: Any, inputs: dict[str, Any], options: dict[str, Any], rows: list[int]) -> list[list[list[int]]]:
    """The tokens of every segment of these clips, decoded together, each clip with its own options."""
    length = int(inputs["attention_mask"][rows].sum(dim=1).amax())
    own = {name: [value[row] for row in rows] if isinstance(value, list) else value for name, value in options.items()}
    cut = {name: value[rows, ..., :length] for name, value in inputs.items()}
    found = model.generate(**cut, **own, return_timestamps=True, return_segments=True)
    return [[segment["tokens"].tolist() for segment in clip] for clip in found["segments"]]


OWN: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"temperature": TRIED, **STRICT},
    {"temperature": (0.0, 0.6), "logprob_threshold": -0.5},
    {"do_sample": True, "top_k": [5, 10, 0], "repetition_penalty": [1.0, 1.3, 2.0]},
]


@pytest.mark.parametrize("index", range(len(OWN)))
def test_a_seed_follows_its_clip_through_every_window(models: tuple[Any, Any], index: int) -> None:
    """A clip's segments are the same alone, beside others and in another order, after windows and fallbacks."""
    model, options = models[1], {**OWN[index], "seeds": [11, 22, 33]}
    inputs = sounds(2, 1.5, 1.1)
    together = segments(model, inputs, options, [0, 1, 2])
    torch.manual_seed(1)  # seeds leave torch's stream no part in it
    assert segments(model, inputs, options, [2, 0, 1]) == [together[row] for row in (2, 0, 1)]
    for row in range(3):
        assert segments(model, inputs, options, [row]) == [together[row]]
    assert max(len(clip) for clip in together) > 1


def test_windows_and_attempts_draw_unlike_noise(models: tuple[Any, Any]) -> None:
    """One sound three times over: its windows differ, and so do two returned sequences."""
    once = sounds(1)
    thrice = {name: torch.cat([value] * 3, dim=-1) for name, value in once.items()}
    options = {"temperature": 1.0, "seeds": [5], "return_segments": True, "return_timestamps": True}
    [clip] = models[1].generate(**thrice, **options)["segments"]
    assert len({tuple(segment["tokens"].tolist()) for segment in clip}) > 1
    pair = models[1].generate(**once, temperature=1.0, do_sample=True, num_return_sequences=2, seeds=[5])
    assert pair[0].tolist() != pair[1].tolist()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"seeds": [1, 2]}, "do_sample must be True for per-row seeds; got False"),
        ({"seeds": [1, 2], "temperature": 0.0}, "do_sample must be True for per-row seeds; got False"),
        ({"seeds": [1], "temperature": 0.5}, "seeds must have one value for each of the 2 prompts; got 1"),
    ],
)
def test_seeds_without_draws(models: tuple[Any, Any], options: dict[str, Any], text: str) -> None:
    """Where nothing is drawn, or a clip has no seed."""
    with pytest.raises(ValueError) as caught:
        models[1].generate(**SHORT, **options)
    assert str(caught.value) == text


# silence

SILENCES = {
    0.0: [False, False, False],
    0.0003: [False, False, True],
    0.001: [True, False, True],
    1.0: [True, True, True],
}


def test_a_clip_is_silent_for_itself(models: tuple[Any, Any]) -> None:
    """Beside others a clip with a seed has the text it has alone and loses it for its own silence, retried or not."""
    inputs = sounds(2, 1.5, 1.1)
    for threshold, spoken in SILENCES.items():
        asked: dict[str, Any] = {"temperature": (0.0, 0.7), "compression_ratio_threshold": 1.2}
        asked |= {"no_speech_threshold": threshold, "seeds": [11, 22, 33]}
        together = segments(models[1], inputs, asked, [0, 1, 2])
        assert [bool(clip) for clip in together] == spoken
        assert [segments(models[1], inputs, asked, [row])[0] for row in range(3)] == together


def test_a_clip_keeps_its_text_where_another_is_retried(models: tuple[Any, Any]) -> None:
    """transformers drops the second clip for what the third, retried, was sure of; so does ``generate``, but not where
    clips are to be what they are alone, as in the pipeline."""
    model, installed = models
    inputs = sounds(2, 1.5, 1.1)
    options = {"temperature": (0.0, 0.0), "logprob_threshold": -0.76, "no_speech_threshold": 0.001}
    alone = [segments(model, inputs, options, [row])[0] for row in range(3)]
    dropped = segments(model, inputs, options, [0, 1, 2])
    assert all(alone) and [bool(clip) for clip in dropped] == [True, False, True]
    assert segments(installed, inputs, options, [0, 1, 2]) == dropped
    with rows_timed_alone():
        assert segments(installed, inputs, options, [0, 1, 2]) == alone


def test_thresholds_stand_alone(models: tuple[Any, Any]) -> None:
    """Where transformers fails: a chance of silence without log-probabilities, those without a temperature."""
    model, installed = models
    spoken = model.generate(**SHORT).tolist()
    with pytest.raises(TypeError):
        model.generate(**SHORT, logprob_threshold=-0.5)
    assert installed.generate(**SHORT, logprob_threshold=-0.5).tolist() == spoken
    assert installed.generate(**SHORT, logprob_threshold=-0.5, no_speech_threshold=1.0).tolist() == spoken
    with pytest.raises(UnboundLocalError):
        model.generate(**SHORT, no_speech_threshold=0.5)
    assert installed.generate(**SHORT, no_speech_threshold=1.0).tolist() == spoken
    silent = installed.generate(**SHORT, no_speech_threshold=0.0)
    assert silent.numel() == 0 or len(set(silent.flatten().tolist())) == 1
