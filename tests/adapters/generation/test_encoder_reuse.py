"""Whisper's encoder reads a batch of windows once in a call, and nothing in the answers says so."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from afterlogits.adapters import generate
from afterlogits.adapters.generation.encoder_reuse import Heard
from afterlogits.adapters.generation.needed_attentions import needed_attentions_only
from tests.builders.tiny_whisper import PREVIOUS, sounds, tiny_whisper

TRIED = (0.0, 0.4, 0.8)
SHORT, LONG = sounds(1, 0.6), sounds(2, 1.3)
TIMED = {"return_timestamps": True, "return_segments": True}
NEVER = {"temperature": TRIED, "logprob_threshold": 0.0}  # no text is that certain: every clip fails every time
SILENT = {"temperature": TRIED, "no_speech_threshold": 0.01, "logprob_threshold": -0.5}
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def watched(model: Any) -> Iterator[list[Any]]:
    """The windows of every run of the encoder within."""
    runs: list[Any] = []
    handle = model.model.encoder.conv1.register_forward_hook(lambda module, inputs, output: runs.append(inputs[0]))
    yield runs
    handle.remove()


def answer(call: Any, model: Any, inputs: dict[str, Any], options: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What was generated with where the random stream then stands, and the windows that the encoder read."""
    torch.manual_seed(0)
    with watched(model) as runs:
        found = call(**copy.deepcopy(inputs), **copy.deepcopy(options))
    return [found["sequences"].tolist() if hasattr(found, "keys") else found.tolist(), torch.rand(1).item()], runs


def once(runs: list[Any]) -> list[Any]:
    """The runs without those that read what the one before them has read."""
    return [now for before, now in zip([None, *runs], runs, strict=False) if before is None or not equal(before, now)]


def equal(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and torch.equal(one, other))


CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a language is detected": (SHORT, {}),
    "words": (SHORT, {"return_token_timestamps": True}),
    "beams": (SHORT, {"num_beams": 3}),
    "every clip fails": (SHORT, NEVER),
    "prompt": (sounds(1, 1), {**TIMED, "prompt_ids": torch.tensor([PREVIOUS, 3, 4])}),
    "long": (LONG, TIMED),
    "long, silent": (LONG, {**TIMED, **SILENT}),
    "long, every clip fails": (LONG, {**TIMED, **NEVER}),
    "long, some fail": (LONG, {**TIMED, "temperature": TRIED, "logprob_threshold": -0.5}),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_encoder_reads_no_windows_twice_in_a_row(name: str) -> None:
    """Where transformers' does: for the language, the chance of no speech, and each attempt in which all fail."""
    inputs, options = CALLS[name]
    model = tiny_whisper()
    model.model.config._attn_implementation = "eager"  # words switch to it, for good
    want, theirs = answer(model.generate, model, inputs, options)
    with needed_attentions_only():  # or the encoder's are returned too
        got, ours = answer(lambda **given: generate(model, **given), model, inputs, options)
    assert got == want and len(ours) < len(theirs)
    assert len(ours) == len(once(theirs)) and all(map(equal, ours, once(theirs)))


def test_states_of_the_layers_are_computed_where_they_are_returned() -> None:
    model, options = tiny_whisper(), {"return_dict_in_generate": True, "output_hidden_states": True}
    want, theirs = answer(model.generate, model, SHORT, options)
    got, ours = answer(lambda **given: generate(model, **given), model, SHORT, options)
    assert got == want and len(ours) == len(theirs)


@pytest.mark.v4
def test_what_the_encoder_is_told_beside_its_windows() -> None:
    """A mask of its heads, which the run for the languages was not told of; transformers 5 refuses it."""
    model, outcomes = tiny_whisper(), []
    model.set_attn_implementation("eager")
    options = {"head_mask": torch.zeros(model.config.encoder_layers, model.config.encoder_attention_heads)}
    for call in (model.generate, lambda **given: generate(model, **given)):
        try:
            outcomes.append(answer(call, model, SHORT, options)[0])
        except (TypeError, ValueError) as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1] != answer(model.generate, model, SHORT, {})[0]


def test_another_attention_reads_again() -> None:
    """The first call for times of words switches the attention after the language has been detected."""
    model = tiny_whisper()
    assert model.config._attn_implementation != "eager"
    want, _ = answer(model.generate, tiny_whisper(), SHORT, {"return_token_timestamps": True})
    got, runs = answer(lambda **given: generate(model, **given), model, SHORT, {"return_token_timestamps": True})
    assert len(runs) > len(once(runs)) and got == want


def test_whoever_counts_the_runs_sees_all_of_them() -> None:
    model = tiny_whisper()
    model.model.encoder.register_forward_hook(lambda *_: None)
    _, theirs = answer(model.generate, model, SHORT, {})
    _, ours = answer(lambda **given: generate(model, **given), model, SHORT, {})
    assert len(ours) == len(theirs)


def test_an_assistant_has_an_encoder_of_its_own() -> None:
    model, other = tiny_whisper(), tiny_whisper(spread=0.5)
    one = {name: value[:1] for name, value in SHORT.items()}
    want, _ = answer(lambda **given: model.generate(**given, assistant_model=other), model, one, {})
    got, _ = answer(lambda **given: generate(model, **given, assistant_model=other), model, one, {})
    assert got == want


def test_a_model_in_training_reads_every_time() -> None:
    """Dropout draws anew at each run."""
    model = tiny_whisper().train()
    _, theirs = answer(model.generate, model, SHORT, {})
    _, ours = answer(lambda **given: generate(model, **given), model, SHORT, {})
    assert len(ours) == len(theirs)


def test_windows_are_known_by_their_numbers() -> None:
    """One number, another encoder or another attention is not the same."""
    heard, windows, states = Heard(), torch.zeros(1, 2, 3), torch.ones(1, 3, 4)
    assert heard.of(windows, (1, "sdpa")) is None
    heard.keep(windows, (1, "sdpa"), states)
    assert heard.of(windows, (1, "sdpa")) is heard.of(windows.clone(), (1, "sdpa")) is states
    assert heard.of(windows, (1, "eager")) is heard.of(windows, (2, "sdpa")) is None
    assert heard.of(windows + torch.eye(2, 3), (1, "sdpa")) is heard.of(windows[:, :, :2], (1, "sdpa")) is None
