"""Recordings without their silences: the answers of the spoken parts alone, with the times of the whole."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from afterlogits.adapters import checkpoints
from afterlogits.adapters.pipelines import pipeline
from tests.builders.audio_models import ctc_tokenizer, noise, wav2vec2, whisper

RATE = 16_000
FIRST, SECOND = noise(1.0, 1), noise(0.8, 2)
NOTHING = np.zeros(2 * RATE, dtype=np.float32)
WHOLE = np.concatenate([NOTHING, FIRST, NOTHING, SECOND, NOTHING])
SPANS = [(2.0, 3.0), (5.0, 5.8)]


def spans(samples, rate):
    """A model of speech that knows."""
    assert rate == RATE and len(samples) == len(WHOLE)
    return SPANS


def ctc():
    model, extractor = wav2vec2()
    return pipeline("automatic-speech-recognition", model, tokenizer=ctc_tokenizer(), feature_extractor=extractor)


@pytest.mark.parametrize("times", [None, "char", "word"])
@pytest.mark.parametrize("options", [{}, {"chunk_length_s": 0.5}, {"confidence": True}], ids=str)
def test_answers_are_those_of_the_parts(times, options):
    pipe = ctc()
    options = options | ({"return_timestamps": times} if times else {})
    found = pipe(WHOLE, skip_silence=spans, **options)
    alone = [pipe(part, **options) for part in (FIRST, SECOND)]
    assert found["text"] == " ".join(each["text"].strip() for each in alone)
    if times:
        want = [
            (chunk["text"], *(second + start for second in chunk["timestamp"]))
            for each, (start, _) in zip(alone, SPANS, strict=True)
            for chunk in each["chunks"]
        ]
        assert [(chunk["text"], *chunk["timestamp"]) for chunk in found["chunks"]] == want
    assert ("confidence" in found) == bool(options.get("confidence"))


def test_energy_tells_the_parts():
    """A twentieth of a second on both sides of a sound are kept, and only those parts are read."""
    pipe = ctc()
    found = pipe([WHOLE, FIRST, NOTHING], return_timestamps="word", skip_silence=True)
    around = [WHOLE[int(1.95 * RATE) : int(3.05 * RATE)], WHOLE[int(4.95 * RATE) : int(5.85 * RATE)]]
    assert found[0]["text"] == " ".join(pipe(part)["text"].strip() for part in around)
    times = [second for chunk in found[0]["chunks"] for second in chunk["timestamp"]]
    assert times == sorted(times) and all(1.95 <= second <= 3.05 or 4.95 <= second <= 5.85 for second in times)
    assert found[1]["text"] == pipe(FIRST)["text"].strip()
    assert found[2] == {"text": "", "chunks": []} and pipe(NOTHING, skip_silence=True) == {"text": ""}
    assert found[0].seconds == len(WHOLE) / RATE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("times", [True, "word"])
def test_whisper_writes_nothing_where_nothing_is_said(times):
    model, tokenizer, extractor = whisper(longest=24)
    pipe = pipeline("automatic-speech-recognition", model, tokenizer=tokenizer, feature_extractor=extractor)
    options = {"return_timestamps": times, "num_beams": 1}
    found = pipe({"raw": WHOLE, "sampling_rate": RATE, "speaker": 7}, skip_silence=spans, **options)
    alone = [pipe(part, **options) for part in (FIRST, SECOND)]
    assert found["speaker"] == [7, 7]
    assert [chunk["text"] for chunk in found["chunks"]] == [c["text"] for each in alone for c in each["chunks"]]
    assert all(None not in chunk["timestamp"] for chunk in found["chunks"])


@pytest.mark.parametrize("energy", [True, False])
def test_words_of_the_model_that_ships(energy):
    """A recording of the demonstration, twice over with five seconds of nothing around each, by its energy and by one
    who knows."""
    folder = Path(checkpoints.__file__).with_name("demo_sounds")
    samples, rate = soundfile.read(folder / "words-1.flac", dtype="float32")
    said = [word for word, *_ in json.loads((folder / "truth.json").read_text())["words-1.flac"]]
    still, length = np.zeros(5 * rate, dtype=np.float32), len(samples) / rate
    parts = [(5.0, 5 + length), (10 + length, 10 + 2 * length)]
    found = pipeline("automatic-speech-recognition")(
        np.concatenate([still, samples, still, samples, still]),
        return_timestamps="word",
        skip_silence=energy or (lambda *_: parts),
    )
    assert found["text"].split() == said * 2
    late = found["chunks"][len(said)]["timestamp"][0] - found["chunks"][0]["timestamp"][0]
    assert late == pytest.approx(5 + length, abs=0.021 if energy else 0.001)


WRONG = [
    (3, {}, "skip_silence must be True, False or a function of samples and their rate; got 3"),
    (lambda samples, rate: [(1, 2, 3)], {}, "skip_silence must give (start, end) of every spoken part in seconds"),
    (lambda samples, rate: [("a", "b")], {}, "skip_silence must give (start, end) of every spoken part in seconds"),
    (lambda samples, rate: [(2, 1)], {}, "skip_silence must give (start, end) of every spoken part in seconds"),
    (lambda samples, rate: [(1, 2), (0, 1)], {}, "skip_silence must give spoken parts in order; got [(1.0, 2.0), (0.0"),
    (True, {"attention": True}, "attention must be False with skip_silence; got True"),
]


@pytest.mark.parametrize(("value", "options", "message"), WRONG, ids=[message[:40] for *_, message in WRONG])
def test_wrong_parts(value, options, message):
    with pytest.raises(ValueError) as error:
        ctc()(WHOLE, skip_silence=value, **options)
    assert str(error.value).startswith(message)


@pytest.mark.filterwarnings("ignore:audio must hold finite samples")
def test_a_recording_that_is_no_sound_is_named():
    """Beside infinity nothing would be loud; and parts must be something to go through."""
    for value in (np.nan, np.inf):
        broken = np.append(WHOLE, np.float32(value))
        with pytest.raises(
            ValueError, match="audio must hold finite numbers for skip_silence=True; got NaN or infinity"
        ):
            ctc()(broken, skip_silence=True)
    with pytest.raises(TypeError, match=r"skip_silence must give \(start, end\) of every spoken part .* got None"):
        ctc()(WHOLE, skip_silence=lambda *_: None)


def test_parts_too_short_for_the_feature_extractor_are_left_out():
    """Of 16 samples the filters of the model that ships make no frame."""
    pipe = pipeline("automatic-speech-recognition")
    whole = {"raw": WHOLE, "sampling_rate": RATE}
    found = pipe(whole, skip_silence=lambda *_: [(0.0, 0.001), SPANS[0]])
    assert found == pipe(whole, skip_silence=lambda *_: [SPANS[0]])


def test_parts_too_short_for_the_model_are_left_out():
    """399 samples are no frame of seven strided convolutions."""
    found = ctc()(WHOLE, skip_silence=lambda samples, rate: [(0.0, 399 / rate), SPANS[0]])
    assert found["text"] == ctc()(FIRST)["text"].strip()
