"""The windowed sinc: its formula term by term, tones that stay tones, and what it refuses."""

import math

import pytest
import torch

from afterlogits.postprocess.audio import resample


def by_formula(samples, old, new, width=6, rolloff=0.99):
    """Every output sample as a sum over every input sample: sinc times Hann, in Python floats."""
    divisor = math.gcd(old, new)
    old, new = old // divisor, new // divisor
    cutoff = min(old, new) * rolloff
    out = []
    for place in range(math.ceil(len(samples) * new / old)):
        total = 0.0
        for index, sample in enumerate(samples):
            t = cutoff * (index / old - place / new)
            if abs(t) < width:
                sinc = 1.0 if t == 0 else math.sin(math.pi * t) / (math.pi * t)
                total += sample * sinc * math.cos(math.pi * t / width / 2) ** 2 * cutoff / old
        out.append(total)
    return out


@pytest.mark.parametrize(
    ("old", "new"), [(8000, 16000), (16000, 8000), (44100, 16000), (22050, 16000), (3, 2), (16000, 22050)]
)
@pytest.mark.parametrize("count", [1, 7, 150])
def test_the_formula(old, new, count):
    """float64 against the sum written out, for rates that share much or little."""
    samples = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    expected = torch.tensor(by_formula(samples.tolist(), old, new), dtype=torch.float64)
    torch.testing.assert_close(resample(samples, old, new), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(resample(samples.float(), old, new), expected.float(), rtol=1e-4, atol=1e-4)


def test_a_tone_keeps_its_pitch():
    """440 Hz at 44,100 becomes 440 Hz at 16,000, away from the ends."""
    time = torch.arange(44100, dtype=torch.float64) / 44100
    found = resample(torch.sin(2 * math.pi * 440 * time), 44100, 16000)
    expected = torch.sin(2 * math.pi * 440 * torch.arange(16000, dtype=torch.float64) / 16000)
    assert found.shape == (16000,)
    assert (found - expected)[200:-200].abs().max() < 2e-3


def test_shapes_rows_and_equal_rates():
    waveform = torch.randn(2, 3, 1001)
    found = resample(waveform, 8000, 16000)
    assert found.shape == (2, 3, 2002)
    torch.testing.assert_close(resample(waveform[1, 2], 8000, 16000), found[1, 2])
    assert resample(waveform, 16000, 16000) is waveform
    assert resample(waveform[..., :0], 8000, 16000).shape == (2, 3, 0)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((torch.zeros(4), 0, 16000), {}, ValueError, "from_rate must be a positive whole number; got 0"),
        ((torch.zeros(4), 16000, 8000.5), {}, ValueError, "to_rate must be a positive whole number; got 8000.5"),
        ((torch.zeros(4).long(), 1, 2), {}, TypeError, "waveform must be floating point; got torch.int64"),
        (
            (torch.zeros(4), 1, 2),
            {"lowpass_filter_width": 0},
            ValueError,
            "lowpass_filter_width must be at least 1; got 0",
        ),
    ],
)
def test_errors(arguments, options, error, message):
    with pytest.raises(error) as caught:
        resample(*arguments, **options)
    assert str(caught.value) == message
