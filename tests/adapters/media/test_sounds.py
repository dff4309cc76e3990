"""Sounds of every form become the same samples; what is none is refused by name; nothing of the caller's changes."""

import base64
import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import torch

from afterlogits.adapters.media.sounds import read_sound, read_sounds, weigh_sound
from afterlogits.adapters.running.batching import WINDOW_WEIGHT
from tests.builders.audio_models import noise, tone

RATE = 16_000
SAMPLES = noise(0.25)


def encoded(samples, rate=RATE, kind="WAV", subtype="FLOAT"):
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind, subtype=subtype)
    return content.getvalue()


def sources(folder):
    content = encoded(SAMPLES)
    path = folder / "sound.wav"
    path.write_bytes(content)
    return {
        "array": SAMPLES,
        "tensor": torch.from_numpy(SAMPLES),
        "path": path,
        "name": str(path),
        "bytes": content,
        "file": io.BytesIO(content),
        "data URL": "data:audio/wav;base64," + base64.b64encode(content).decode(),
        "raw": {"raw": SAMPLES, "sampling_rate": RATE},
        "array in a dict": {"array": SAMPLES, "sampling_rate": RATE, "path": "somewhere.wav"},
        "datasets' dict of bytes": {"bytes": content, "path": None},
        "datasets' dict of a path": {"bytes": None, "path": str(path)},
        "row of a data set": {"audio": {"array": SAMPLES, "sampling_rate": RATE}, "text": "hello"},
        "two equal channels": np.stack([SAMPLES, SAMPLES]),
        "list in a dict": {"raw": SAMPLES.tolist(), "sampling_rate": RATE},
    }


def test_every_form_of_a_sound_is_the_same_samples(tmp_path):
    for form, source in sources(tmp_path).items():
        found = read_sound(source, RATE)
        np.testing.assert_array_equal(found.samples, SAMPLES, err_msg=form)
        assert found.rate == RATE and found.stride is None


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", None)])
def test_files_of_other_kinds(kind, subtype):
    """Whole numbers are scaled to [-1, 1) by the reader: 16 bits are exact to 2 ** -15; Vorbis is lossy."""
    sound = tone(0.25)
    found = read_sound(encoded(sound, kind=kind, subtype=subtype), RATE).samples
    assert found.dtype == np.float32 and len(found) == len(sound)
    assert np.abs(found - sound).max() <= (0.1 if kind == "OGG" else 2**-15)


def test_channels_are_averaged():
    left, right = noise(0.1, 1), noise(0.1, 2)
    np.testing.assert_array_equal(read_sound(np.stack([left, right]), RATE).samples, (left + right) / 2)
    by_file = read_sound(encoded(np.stack([left, right], axis=1)), RATE).samples
    np.testing.assert_allclose(by_file, (left + right) / 2, rtol=1e-6)


def test_another_rate_is_resampled():
    """A second of a tone at 8 kHz is a second of it at 16 kHz: sample 2 i is sample i, but for the filter's ends."""
    slow = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32)
    for source in ({"raw": slow, "sampling_rate": 8000}, encoded(slow, 8000)):
        found = read_sound(source, RATE).samples
        assert len(found) == 16_000
        assert np.abs(found[::2][100:-100] - slow[100:-100]).max() < 1e-2


def test_a_dict_is_not_emptied_and_what_else_it_holds_is_kept():
    given = {"raw": SAMPLES, "sampling_rate": RATE, "stride": (100, 200), "id": 7}
    found = read_sound(given, RATE)
    assert list(given) == ["raw", "sampling_rate", "stride", "id"]
    assert found.stride == (len(SAMPLES), 100, 200) and found.extra == {"id": 7}
    row = read_sound({"audio": {"array": SAMPLES, "sampling_rate": RATE}, "text": "hello"}, RATE)
    assert row.extra == {"text": "hello"}


def test_a_stride_is_resampled_too():
    found = read_sound({"raw": SAMPLES, "sampling_rate": 8000, "stride": (101, 50)}, RATE)
    assert found.stride == (2 * len(SAMPLES), 202, 100)


def test_numbers_may_be_arrays_as_data_sets_give_them():
    expected = read_sound({"raw": SAMPLES, "sampling_rate": 8000, "stride": (101, 50)}, RATE)
    for make in (np.array, torch.tensor):
        found = read_sound({"raw": SAMPLES, "sampling_rate": make(8000), "stride": make([101, 50])}, RATE)
        assert found.stride == expected.stride and np.array_equal(found.samples, expected.samples)


def test_whole_numbers_are_taken_as_they_are_or_scaled():
    whole = np.array([0, 16384, -32768], dtype=np.int16)
    np.testing.assert_array_equal(read_sound(whole, RATE).samples, whole)
    np.testing.assert_array_equal(read_sound(whole, RATE, compat=False).samples, [0.0, 0.5, -1.0])
    unsigned = np.array([0, 128, 192], dtype=np.uint8)
    np.testing.assert_array_equal(read_sound(unsigned, RATE, compat=False).samples, [-1.0, 0.0, 0.5])


def test_samples_that_are_no_numbers_warn_or_are_refused():
    broken = SAMPLES.copy()
    broken[3] = np.nan
    with pytest.warns(UserWarning, match="audio must hold finite samples; got nan at sample 3; transformers answers"):
        np.testing.assert_array_equal(read_sound(broken, RATE).samples, broken)
    with pytest.raises(ValueError, match=r"^audio must hold finite samples; got nan at sample 3$"):
        read_sound(broken, RATE, compat=False)


REFUSED = {
    "hello there": "audio must be a file that exists, not a text; got 'hello there'",
    "http://localhost/a.wav": "audio must not be a web address unless allow_urls=True; got 'http://localhost/a.wav'",
}


@pytest.mark.parametrize("text", REFUSED)
def test_texts_are_refused(text):
    with pytest.raises(ValueError) as error:
        read_sound(text, RATE)
    assert str(error.value) == REFUSED[text]


NO_SOUND = [
    (np.zeros(0), "audio must have samples; got an empty one"),
    (np.zeros((9, 2)), "audio must have at most two channels; got shape (9, 2): channels come first: transpose it"),
    (np.zeros((3, 9)), "audio must have at most two channels; got shape (3, 9): mix its channels down first"),
    (np.zeros((1, 1, 9)), "audio must be of shape [n] or [channels, n]; got (1, 1, 9)"),
    (np.array(["a"]), "audio must hold numbers; got <U1"),
    ({"raw": SAMPLES}, "audio must be a dict with sampling_rate beside raw or array; got none"),
    ({"raw": SAMPLES, "sampling_rate": 0}, "sampling_rate must be a number above 0; got 0"),
    ({"raw": None, "sampling_rate": 1}, "audio must be a dict with samples in raw or array; got None in array"),
    (
        {"sampling_rate": RATE},
        "audio must be a dict with sampling_rate and raw or array, or with bytes or path; got 'sampling_rate'",
    ),
    (
        {"raw": SAMPLES, "sampling_rate": RATE, "stride": (9000, 1)},
        "stride must leave samples of the sound; got 9000 + 1 of 4000",
    ),
    ([0.1, 0.2], "audio must be a path, bytes, an array or a dict; got a list: make it an array of samples"),
]


@pytest.mark.parametrize(("source", "message"), NO_SOUND, ids=[message for _, message in NO_SOUND])
def test_what_is_no_sound_is_refused_by_name(source, message):
    with pytest.raises((ValueError, TypeError)) as error:
        read_sound(source, RATE)
    assert str(error.value) == message


def test_a_broken_file_is_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = r"^audio must be a recording that soundfile can read \(Format not recognised\.\), or ffmpeg be"
    with pytest.raises(ValueError, match=said):  # the same text in every run: it stands in the output of jobs
        read_sound(b"RIFF but no sound", RATE)
    cut = encoded(SAMPLES)[:40]
    with pytest.raises(ValueError, match=r"(soundfile can read|must have samples)"):
        read_sound(cut, RATE)


@pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: formats that soundfile cannot read"
)
def test_other_formats_by_ffmpeg():
    """A tone of 440 Hz in stereo at 44.1 kHz as AAC, which soundfile does not know: the same tone at the model's rate,
    one channel, a few thousandths off in height and thousands of samples later at most (the codec's lead-in)."""
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=1"]
    made = subprocess.run(
        [*command, "-ac", "2", "-c:a", "aac", "-f", "adts", "pipe:1"], capture_output=True, check=True
    )
    found = read_sound(made.stdout, RATE).samples
    assert found.dtype == np.float32 and RATE <= len(found) <= 1.1 * RATE
    loudest = np.abs(np.fft.rfft(found)).argmax() * RATE / len(found)
    assert loudest == pytest.approx(440, abs=1.5)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_what_ffmpeg_cannot_read_is_named_too():
    with pytest.raises(
        ValueError, match=r"^audio must be a recording that soundfile or ffmpeg can read; got .*: Format"
    ):
        read_sound(b"RIFF but no sound", RATE)


def test_one_recording_or_several():
    assert read_sounds(SAMPLES).kind == read_sounds("a.wav").kind == read_sounds({"raw": SAMPLES}).kind == "single"
    assert read_sounds([SAMPLES, SAMPLES]).kind == "list"
    assert read_sounds(iter([SAMPLES])).kind == "stream"
    with pytest.raises(TypeError, match="inputs must be a recording"):
        read_sounds()


def test_long_sounds_close_a_window_early():
    """2 ** 26 samples fill a window, here 16 arrays of 2 ** 22."""
    assert 16 * weigh_sound(np.broadcast_to(np.float32(0), 1 << 22)) == WINDOW_WEIGHT
    assert weigh_sound("a.wav") == weigh_sound({"path": "a.wav"}) > weigh_sound({"raw": SAMPLES, "sampling_rate": 1})
