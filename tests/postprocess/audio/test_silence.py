"""Sound told from silence by energy."""

import math

import pytest
import torch

from afterlogits.postprocess.audio import sound_spans

RATE = 1000


def parts(*seconds, level=0.5):
    """Silence and a tone by turns, of so many seconds each."""
    pieces = [
        torch.zeros(round(s * RATE)) if i % 2 == 0 else level * torch.sin(torch.arange(round(s * RATE)) * 1.0)
        for i, s in enumerate(seconds)
    ]
    return torch.cat(pieces)


def test_a_tone_between_silences():
    """0.5 s of silence, 1 s of tone, 0.5 s of silence; 0.1 s is kept on both sides."""
    assert sound_spans(parts(0.5, 1.0, 0.5)[None], RATE) == [[(400, 1600)]]


def test_short_silences_and_short_sounds():
    """A pause of 0.2 s joins, one of 0.6 s parts; a click of 0.02 s is dropped."""
    found = sound_spans(parts(0.0, 1.0, 0.2, 1.0, 0.6, 1.0, 1.0, 0.02, 1.0)[None], RATE, pad=0.0)
    assert found == [[(0, 2200), (2800, 3800)]]


def test_quiet_recordings_and_silence():
    """The threshold is relative to the loudest frame, down to a floor; nothing at all gives no span."""
    quiet = parts(0.5, 1.0, 0.5, level=0.01)
    assert sound_spans(quiet[None], RATE, pad=0.0) == [[(500, 1500)]]
    assert sound_spans(parts(0.5, 1.0, 0.5, level=1e-4)[None], RATE) == [[]]
    assert sound_spans(torch.zeros(2, 0), RATE) == [[], []]


def test_rows_of_a_batch_and_nan():
    """Rows of their own lengths, NaN as silence, spans within the row."""
    batch = torch.stack((parts(0.5, 1.0, 0.5), parts(0.2, 1.8)))
    batch[0, :300] = math.nan
    assert sound_spans(batch, RATE, lengths=torch.tensor([2000, 1500])) == [[(400, 1600)], [(100, 1500)]]


def test_errors():
    with pytest.raises(ValueError, match=r"^waveform must be \[B, T\]; got shape \[5\]$"):
        sound_spans(torch.zeros(5), RATE)
    with pytest.raises(ValueError, match=r"^sampling_rate must be positive; got 0$"):
        sound_spans(torch.zeros(1, 5), 0)
