"""Frames of a spectrogram at once have the numbers of transformers' loop over them."""

import numpy as np
import pytest
from transformers.audio_utils import spectrogram, window_function

from afterlogits.postprocess.audio.spectrogram import FRAMES_AT_ONCE, spectrum

KALDI = {"center": False, "preemphasis": 0.97, "remove_dc_offset": True}
SETTINGS = [
    {"frame_length": 400, "hop_length": 160, "fft_length": 512, **KALDI},
    {"frame_length": 400, "hop_length": 160},
    {"frame_length": 1024, "hop_length": 480, "onesided": False},
    {"frame_length": 64, "hop_length": 64, "dither": 0.5, "center": False},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("frames", [1, 3, FRAMES_AT_ONCE + 1])
def test_every_frame_has_the_same_bits(options, frames):
    drawn = np.random.default_rng(frames)
    window = window_function(options["frame_length"], "hann")
    sound = (drawn.standard_normal(options["frame_length"] + (frames - 1) * options["hop_length"] + 7) * 2**15).astype(
        np.float32
    )
    np.random.seed(0)
    want = spectrogram(sound, window, power=None, **options)
    np.random.seed(0)
    got = spectrum(sound, window, **options)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.T, want)


def test_a_tone_lies_in_its_bin():
    """Eight samples of a cosine of one turn: half of them in bin 1, none elsewhere."""
    tone = np.cos(2 * np.pi * np.arange(8) / 8)
    found = spectrum(tone, np.ones(8), frame_length=8, hop_length=8, center=False)
    np.testing.assert_allclose(np.abs(found), [[0, 4, 0, 0, 0]], atol=1e-6)


def test_what_holds_no_frame_is_refused():
    with pytest.raises(ValueError, match=r"^waveform must be at least one frame \(8 samples\); got 7$"):
        spectrum(np.ones(7), np.ones(8), frame_length=8, hop_length=4, center=False)
    with pytest.raises(ValueError, match=r"^waveform must be \[n\] real numbers; got shape \(2, 8\) of float64$"):
        spectrum(np.ones((2, 8)), np.ones(8), frame_length=8, hop_length=4)
    with pytest.raises(ValueError, match="hop_length must be at least 1"):
        spectrum(np.ones(8), np.ones(8), frame_length=8, hop_length=0)
