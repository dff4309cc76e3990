"""Seconds of frames and spans, whatever was asked before."""

import numpy as np
import pytest

from afterlogits.postprocess.audio.frame_times import KEPT_FRAMES, KEPT_LENGTHS, FrameTimes, frame_times


def by_hand(starts, ends, samples, rate):
    return [(i * samples / rate, j * samples / rate) for i, j in zip(starts.tolist(), ends.tolist(), strict=True)]


@pytest.mark.parametrize(("samples", "rate"), [(320, 16000), (160.5, 8000)])
def test_spans_are_multiplied_and_divided(samples, rate):
    """100 draws on one object: recordings that grow and shrink, spans short, long and none, beyond what is kept."""
    drawn, times = np.random.default_rng(0), FrameTimes(samples, rate)
    for _ in range(100):
        frames = int(drawn.choice([1, 7, 200, 1500, KEPT_FRAMES, KEPT_FRAMES + 9]))
        starts = np.sort(drawn.integers(0, frames, drawn.integers(0, 300)))
        longest = int(drawn.choice([1, 3, KEPT_LENGTHS, 90]))
        ends = np.minimum(starts + drawn.integers(0, longest + 1, len(starts)), frames)
        assert times.spans(starts, ends).tolist() == by_hand(starts, ends, samples, rate)
    assert len(times._pairs[0]) <= KEPT_FRAMES * KEPT_LENGTHS * 2
    assert len(times._seconds) <= 2 * KEPT_FRAMES


def test_short_spans_are_one_object():
    """The next call of a model meets the pairs of the last; numbers are plain floats."""
    starts, ends = np.array([3, 3, 5, 9]), np.array([4, 4, 5 + KEPT_LENGTHS, 9])
    first, again = frame_times(320, 16000).spans(starts, ends), frame_times(320, 16000).spans(starts, ends)
    assert first[0] is first[1] is again[0]
    assert type(first[0]) is tuple and type(first[0][1]) is float
