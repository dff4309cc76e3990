"""A sound that cannot be recognised is named with its reason and costs no other; wrong options are refused."""

import io

import numpy as np
import pytest
import soundfile

from afterlogits.adapters.pipelines import pipeline
from afterlogits.adapters.running.explaining import position_limit
from tests.adapters.tasks.parity import both
from tests.builders.audio_models import (
    clap,
    ctc_tokenizer,
    noise,
    sound_classifier,
    vits,
    wav2vec2,
    wav2vec2_bert,
    whisper,
)

GOOD = noise(1.0, 1)
BAD = {
    "empty": (np.zeros(0, dtype=np.float32), "audio must have samples; got an empty one"),
    "a text": ("hello there", "audio must be a file that exists, not a text; got 'hello there'"),
    "a broken file": (b"RIFFnothing", "audio must be a recording that soundfile"),
    "channels last": (np.zeros((900, 2)), "audio must have at most two channels; got shape (900, 2)"),
    "no rate": ({"raw": GOOD}, "audio must be a dict with sampling_rate beside raw or array; got none"),
    "a rate of infinity": ({"raw": GOOD, "sampling_rate": np.inf}, "sampling_rate must be a number above 0; got inf"),
    "a rate of NaN": ({"raw": GOOD, "sampling_rate": np.nan}, "sampling_rate must be a number above 0; got nan"),
    "one stride": (
        {"raw": GOOD, "sampling_rate": 16_000, "stride": 3},
        "stride must be two counts of samples, of the context at the left and right; got 3",
    ),
    "a number": (3.5, "audio must be a path, bytes"),
    "an address": ("http://localhost/a.wav", "audio must not be a web address unless allow_urls=True"),
}


def ctc(**options):
    model, extractor = wav2vec2()
    parts = {"tokenizer": ctc_tokenizer(), "feature_extractor": extractor}
    return pipeline("automatic-speech-recognition", model=model, **parts, **options)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sound_costs_no_other(name):
    bad, message = BAD[name]
    pipe = ctc()
    found = pipe([GOOD, bad, GOOD], on_error="record")
    assert found[1]["error"].startswith(message) and found[1]["index"] == 1
    assert found[0] == found[2] == pipe(GOOD)
    model, extractor = sound_classifier()
    labels = pipeline("audio-classification", model=model, feature_extractor=extractor)
    found = labels([GOOD, bad], on_error="record")
    assert found[1]["error"].startswith(message) and found[0] == labels(GOOD)


def test_a_sound_too_short_for_the_model_costs_no_other():
    """400 samples are the least that seven strided convolutions can read."""
    pipe = ctc()
    found = pipe([GOOD, GOOD[:399], GOOD[:400]], on_error="record")
    assert found[0] == pipe(GOOD) and "error" in found[1] and "error" not in found[2]
    assert found[1]["error"] == "audio must have at least 400 samples for Wav2Vec2ForCTC; got 399"
    model, extractor = wav2vec2()
    align = pipeline("forced-alignment", model=model, tokenizer=ctc_tokenizer(), feature_extractor=extractor)
    aligned = align([GOOD, GOOD[:399]], text=["the sea", "the sea"], on_error="record")
    assert aligned[0] == align(GOOD, text="the sea") and aligned[1]["error"] == found[1]["error"]


def test_an_open_file_is_one_recording():
    """Not a stream of its lines."""
    held = io.BytesIO()
    soundfile.write(held, GOOD, 16_000, format="WAV", subtype="FLOAT")
    held.seek(0)
    assert ctc()(held) == ctc()(GOOD)


@pytest.mark.skipif(int(np.__version__.split(".")[0]) < 2, reason="numpy 1 scales whole numbers by widening them")
def test_whole_numbers_that_cannot_be_scaled_are_named():
    """An extractor that multiplies by 2 ** 15, which 16 bits do not hold."""
    model, extractor = wav2vec2_bert()
    parts = {"tokenizer": ctc_tokenizer(), "feature_extractor": extractor}
    pipe = pipeline("automatic-speech-recognition", model=model, **parts)
    whole = (GOOD.clip(-1, 1) * 32767).astype(np.int16)
    found = pipe([GOOD, whole, GOOD], on_error="record")
    assert found[0] == found[2] == pipe([GOOD, GOOD])[0]
    assert found[1]["error"].startswith(
        "audio must hold floats in [-1, 1] for SeamlessM4TFeatureExtractor, or compat be"
    )
    assert pipe(whole, compat=False)["text"] == pipe((whole / 32768).astype(np.float32))["text"]


def test_samples_that_are_no_numbers_answer_as_there_with_a_warning():
    broken = GOOD.copy()
    broken[7] = np.nan
    model, extractor = wav2vec2()
    parts = {"tokenizer": ctc_tokenizer(), "feature_extractor": extractor}
    want, got = both("automatic-speech-recognition", model, parts, broken)
    assert want == got == {"text": ""}
    with pytest.warns(UserWarning, match="audio must hold finite samples; got nan at sample 7"):
        ctc()(broken)
    found = ctc(compat=False)([GOOD, broken], on_error="record")
    assert found[1]["error"] == "audio must hold finite samples; got nan at sample 7"


def test_texts_that_cannot_be_aligned_cost_no_other():
    model, extractor = wav2vec2()
    align = pipeline("forced-alignment", model=model, tokenizer=ctc_tokenizer(), feature_extractor=extractor)
    good = {"audio": GOOD, "text": "the sea"}
    found = align([good, {"audio": GOOD}, 3, good], on_error="record")
    assert [each.get("error") for each in found] == [
        None,
        "item must have a field 'text'; got fields 'audio'",
        "item must be a dict with a recording and its text; got int",
        None,
    ]
    assert found[0] == found[3]


def test_texts_that_cannot_be_spoken_cost_no_other():
    model, tokenizer = vits()
    speak = pipeline("text-to-audio", model=model, tokenizer=tokenizer)
    found = speak(["hello there", "  ", "", "漢字", None, "hello"], on_error="record")
    assert [each.get("error") for each in found] == [
        None,
        "text must have letters that the model knows; got '  '",
        "text must not be empty; got ''",
        "text must have letters that the model knows; got '漢字'",
        "text must be a string or a chat; got NoneType",
        None,
    ]


WRONG = [
    ({"return_timestamps": True}, "return_timestamps must be 'char' or 'word' or None for Wav2Vec2ForCTC; got True"),
    ({"return_language": True}, "return_language must be None unless the model is a Whisper; got True"),
    ({"chunk_length_s": -1}, "chunk_length_s must be at least 0; got -1"),
    ({"chunk_length_s": 1.0, "stride_length_s": 0.5}, "chunk_length_s must be longer than its overlaps"),
    ({"chunk_length_s": 1.0, "stride_length_s": -1}, "stride_length_s must be at least 0; got -1"),
    ({"chunk_length_s": 1.0, "stride_length_s": (0.2, -0.5)}, "stride_length_s must be at least 0; got (0.2, -0.5)"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options(options, message):
    with pytest.raises(ValueError) as error:
        ctc()(GOOD, **options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": "x"}, "confidence must be True or False; got 'x'"),
        ({"attention": "y"}, "attention must be True or False; got 'y'"),
        ({"allow_urls": "no"}, "allow_urls must be True or False; got 'no'"),
        ({"chunk_length_s": True}, "chunk_length_s must be a number; got True"),
        ({"timeout": False}, "timeout must be a number; got False"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_options_of_the_wrong_kind(options, message):
    with pytest.raises(TypeError) as error:
        ctc()(GOOD, **options)
    assert str(error.value) == message


def test_wrong_options_of_whisper():
    model, tokenizer, extractor = whisper(longest=16)
    pipe = pipeline("automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=extractor)
    with pytest.raises(ValueError, match="return_timestamps must be True or 'word' or None"):
        pipe(GOOD, return_timestamps="char")
    with pytest.raises(ValueError, match="confidence must be False but for a CTC model"):
        pipe(GOOD, confidence=True, chunk_length_s=2)


def test_a_template_of_hypotheses_is_a_text():
    model, tokenizer, extractor = clap()
    pipe = pipeline("zero-shot-audio-classification", model, tokenizer=tokenizer, feature_extractor=extractor)
    with pytest.raises(TypeError, match=r"^hypothesis_template must be a text; got 5$"):
        pipe(GOOD, candidate_labels=["a dog"], hypothesis_template=5)


def test_a_label_longer_than_the_model_reads_is_named():
    """With the limit, in place of torch's error of an index; shorter labels of the same pipe go on."""
    model, tokenizer, extractor = clap()
    pipe = pipeline("zero-shot-audio-classification", model, tokenizer=tokenizer, feature_extractor=extractor)
    limit = position_limit(model)
    with pytest.raises(ValueError) as error:
        pipe(GOOD, candidate_labels=["a dog", "a dog " * limit])
    length = len(tokenizer("This is a sound of " + "a dog " * limit + ".").input_ids)
    told = f"candidate_labels must be at most {limit} tokens with their template; got {length} for 'a dog a dog "
    assert told in str(error.value)
    assert len(pipe(GOOD, candidate_labels=["a dog"])) == 1
