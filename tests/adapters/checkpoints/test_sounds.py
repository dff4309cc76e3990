"""The checkpoints for sounds that ship: size, cards, training data, the demonstration."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers

from afterlogits import pipeline
from afterlogits.adapters.checkpoints import AUDIO, FOLDERS, MULTIMODAL, path
from afterlogits.adapters.checkpoints.training import media_items
from afterlogits.adapters.checkpoints.training.media_figures import FIGURES, word_errors
from afterlogits.adapters.checkpoints.training.media_models import KINDS
from afterlogits.adapters.checkpoints.training.optimise import Schedule, fit
from afterlogits.adapters.checkpoints.training.sounds import models as sounds
from afterlogits.adapters.checkpoints.training.sounds import noises, speech
from afterlogits.adapters.checkpoints.training.sounds.spectra import sound_features, speech_features
from afterlogits.adapters.cli import demo_sounds
from tests.adapters.checkpoints.media_cards import card, close_to
from tests.adapters.tasks.parity import same

V5 = transformers.__version__.startswith("5")
SPEAKS = shutil.which("espeak-ng") is not None
needs_speech = pytest.mark.skipif(not SPEAKS, reason="espeak-ng is not installed: no words can be spoken")


def test_all_of_them_take_at_most_four_megabytes() -> None:
    """With what the demonstration hears and reads; all that ships takes 17 at most."""
    shown = [file for folder in (media_items.SOUNDS, media_items.PAGES) for file in folder.glob("*")]
    media = sum(file.stat().st_size for file in shown) + size_of((*AUDIO, *MULTIMODAL))
    assert media <= 4_000_000
    assert media + size_of([name for name in FOLDERS if name not in (*AUDIO, *MULTIMODAL)]) <= 17_000_000


def size_of(folders: tuple[str, ...] | list[str]) -> int:
    return sum(file.stat().st_size for folder in folders for file in path(folder).iterdir())


@needs_speech
@pytest.mark.parametrize("folder", AUDIO)
def test_a_held_out_sample_agrees_with_the_card(folder: str) -> None:
    close_to(card(folder), FIGURES[folder](path(folder), 100))


def test_weights_are_float32_in_memory() -> None:
    assert transformers.AutoModelForCTC.from_pretrained(path("spoken-words")).dtype == torch.float32


# the demonstration


def test_words_of_the_demonstration_are_heard_where_they_are() -> None:
    """Needs no espeak-ng: the recordings ship. Every word, its bounds within 0.15 s: the last "l" is all but silent."""
    truth = json.loads((media_items.SOUNDS / "truth.json").read_text())
    recognise = pipeline("automatic-speech-recognition")
    for name in ("words-1.flac", "words-2.flac"):
        found = recognise(str(media_items.SOUNDS / name), return_timestamps="word")
        assert found["text"] == " ".join(word for word, _, _ in truth[name])
        for chunk, (_, *bounds) in zip(found["chunks"], truth[name], strict=True):
            assert chunk["timestamp"] == pytest.approx(bounds, abs=0.15)


def test_sounds_of_the_demonstration_are_told_apart() -> None:
    truth = json.loads((media_items.SOUNDS / "truth.json").read_text())
    names = [name for name, said in truth.items() if isinstance(said, str)]
    found = pipeline("audio-classification")([str(media_items.SOUNDS / name) for name in names])
    assert [labels[0]["label"] for labels in found] == [truth[name] for name in names]


@pytest.mark.skipif(not V5, reason="5.23 is the rule for sounds; 4.57.6 has other defaults")
def test_answers_are_those_of_transformers() -> None:
    """The checkpoints under transformers' own pipelines, on what the demonstration hears."""
    heard = [soundfile.read(media_items.SOUNDS / f"words-{n}.flac", dtype="float32")[0] for n in (1, 2)]
    for task, inputs, options in (
        ("automatic-speech-recognition", heard, {"return_timestamps": "word"}),
        ("audio-classification", [sound[:16_000] for sound in heard], {"top_k": 3}),
    ):
        theirs = transformers.pipeline(task, model=str(path(task)))(inputs, **options)
        same(theirs, pipeline(task)(inputs, **options), task)


def test_the_demonstration_prints_and_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo_sounds.sounds(pipeline, tmp_path)
    said = capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"words-2.srt", "words-2.svg"}
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n", (tmp_path / "words-2.srt").read_text())
    for title in ("Speech recognition", "Audio classification", "Where the words of a known text are"):
        assert title in said


@needs_speech
def test_the_recordings_are_what_the_seed_draws() -> None:
    files, truth = media_items.drawn_sounds()
    assert json.loads((media_items.SOUNDS / "truth.json").read_text()) == json.loads(json.dumps(truth))
    for name, samples in files.items():
        stored, rate = soundfile.read(media_items.SOUNDS / name, dtype="float32")
        assert rate == speech.RATE and np.abs(stored - np.clip(samples, -1, 1)).max() < 1e-4, name


# training data


def tones(seconds: float, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(int(seconds * speech.RATE)).astype(np.float32) * 0.1


def test_features_are_the_extractors() -> None:
    """Of sounds of several lengths, in float32 against float64: a thousandth of the unit that they are scaled to."""
    spoken, heard = sounds.recogniser_parts()[0], sounds.classifier_parts()[0]
    for seconds in (0.3, 0.51, 1.0, 1.7):
        sound = tones(seconds, 3)
        want = spoken(sound, sampling_rate=speech.RATE, return_tensors="pt")
        kept = want["input_features"][0][want["attention_mask"][0] > 0]
        torch.testing.assert_close(speech_features(sound), kept, rtol=0, atol=1e-3)
        want = heard(sound, sampling_rate=speech.RATE, return_tensors="pt")["input_values"][0]
        torch.testing.assert_close(sound_features(sound, 64, 96, -9.0, 3.0), want, rtol=0, atol=1e-3)


def test_letters_stand_where_their_words_are() -> None:
    """Of six frames "off" has o, o, f, f, a blank, so that there are two, and f; between words stands the delimiter."""
    spoken = speech.Utterance(np.zeros(320 * 13, np.float32), [("off", 320, 320 * 7), ("no", 320 * 9, 320 * 12)])
    letters = sounds.frame_letters(spoken, 13).tolist()
    assert "".join("_" if n == 0 else sounds.LETTERS[n] for n in letters) == "_ooff_f||nno_"


def test_sounds_are_a_second_long_and_not_silent() -> None:
    rng = np.random.default_rng(0)
    clips = {"voice": {word: [tones(0.3, 1)] for word in speech.WORDS}}
    for label in range(len(noises.LABELS)):
        for _ in range(20):
            sound = noises.sound(rng, clips, label)
            assert len(sound) == speech.RATE and 0.005 < float(np.abs(sound).max()) <= 1.5


@pytest.mark.parametrize(("said", "meant", "errors"), [("a b c", "a b c", 0), ("a c", "a b c", 1), ("", "a b", 2)])
def test_word_errors(said: str, meant: str, errors: int) -> None:
    assert word_errors(said.split(), meant.split()) == errors


@pytest.mark.parametrize("name", AUDIO)
def test_training_twice_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps from the same seed, with noise for spoken words."""
    clips = {"voice": {word: [tones(0.4, len(word))] for word in speech.WORDS}}
    monkeypatch.setattr(sounds, "trained_clips", lambda: clips)
    kind, weights = KINDS[name], []
    for _ in range(2):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        model = kind.model()
        batches = iter([kind.lesson.batch(rng, 4) for _ in range(3)])
        fit(model, batches, kind.lesson.loss, Schedule(3, batch_size=4), name)
        weights.append(model.state_dict())
    assert all(torch.equal(one, weights[1][key]) for key, one in weights[0].items())
