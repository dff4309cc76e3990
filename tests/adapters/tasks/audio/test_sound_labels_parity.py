"""Labels of sounds and sound from texts, by models drawn at random, as transformers' pipelines give them."""

import numpy as np
import pytest
import torch
import transformers

from tests.adapters.tasks.parity import check
from tests.builders.audio_models import clap, noise, sound_classifier, spectrogram_classifier, speecht5, vits

CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((0.5, 1.0, 1.3, 2.0, 1.0, 0.7))]
V5 = transformers.__version__.startswith("5")
CLASSIFIERS = {
    "group norm": sound_classifier,
    "masks": lambda: sound_classifier(feat_extract_norm="layer", do_stable_layer_norm=True),
    "spectrograms": spectrogram_classifier,
}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 3}, {"function_to_apply": "sigmoid", "top_k": 9999}, {"batch_size": 3}, {"build": {"top_k": 2}}],
    ids=str,
)
def test_labels(name, options):
    """A ``top_k`` of the construction is forgotten: every label comes back (transformers#35736)."""
    model, extractor = CLASSIFIERS[name]()
    found = check("audio-classification", model, {"feature_extractor": extractor}, CLIPS, **options)
    assert len(found[0]) == min(options.get("top_k", 9999), model.config.num_labels)


def test_one_sound_gives_one_list_of_labels():
    model, extractor = sound_classifier()
    found = check("audio-classification", model, {"feature_extractor": extractor}, CLIPS[0], top_k=2)
    assert [list(label) for label in found] == [["score", "label"]] * 2


@pytest.mark.parametrize("labels", [["Paris", "river", "New York"], ["Paris", "river", "Paris"]], ids=str)
def test_labels_that_the_call_names(labels):
    """Equal scores keep the order of the labels."""
    model, tokenizer, extractor = clap()
    parts = {"tokenizer": tokenizer, "feature_extractor": extractor}
    check("zero-shot-audio-classification", model, parts, CLIPS, candidate_labels=labels)
    check("zero-shot-audio-classification", model, parts, CLIPS[0], candidate_labels=labels, hypothesis_template="{}")


def test_speech_is_drawn_from_the_same_stream():
    """VITS draws durations and noise: text after text, from torch's stream, which ends in the same state."""
    if not V5:
        pytest.skip("4.57.6 keeps the axes of length one; 5.23 is the rule")
    model, tokenizer = vits()
    found = check("text-to-speech", model, {"tokenizer": tokenizer}, ["hello there", "you"])
    assert found[0]["audio"].ndim == 1 and found[0]["sampling_rate"] == model.config.sampling_rate
    state = torch.get_rng_state()
    want = check("text-to-speech", model, {"tokenizer": tokenizer}, ["hello there", "you"])
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(want[1]["audio"], found[1]["audio"])


def test_spectrograms_go_through_the_vocoder():
    if not V5:
        pytest.skip("4.57.6 keeps the axes of length one; 5.23 is the rule")
    model, tokenizer, vocoder = speecht5()
    speaker = {"speaker_embeddings": torch.full((1, 8), 0.1)}
    found = check(
        "text-to-audio", model, {"tokenizer": tokenizer}, "hello", build={"vocoder": vocoder}, forward_params=speaker
    )
    assert found["sampling_rate"] == vocoder.config.sampling_rate
