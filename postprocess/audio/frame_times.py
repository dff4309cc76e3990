"""Seconds of frames and of short spans of frames as Python numbers, made once and shared by all records."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
KEPT_FRAMES = 1 << 12  # 82 seconds in frames of 20 ms
KEPT_LENGTHS = 16  # frames of a span; characters have few, words more


class FrameTimes:
    """What the frames of one model are in seconds; `frame_times` gives the one that all calls share.

    Frames are multiplied, then divided, as transformers does: the other order differs in the last bit. The pair of a
    start and an end is made when it is first met: characters have few frames, so that most pairs of a batch are met
    again and again, as those of the next batch are. Long spans, and recordings of more than ``KEPT_FRAMES``, get pairs
    of their own. At most 4 MB stay.
    """

    def __init__(self, samples_per_frame: float, sampling_rate: float):
        self.samples_per_frame, self.sampling_rate = samples_per_frame, sampling_rate
        self._seconds = np.empty(0, dtype=object)
        # By start * KEPT_LENGTHS + length, and whether they were met yet; one attribute, for the sake of threads.
        self._pairs = np.empty(0, dtype=object), np.empty(0, dtype=bool)

    def seconds(self, count: int) -> Array:
        """[count or more] the seconds of frame 0, 1, 2 and so on as objects: floats of their own would double the work
        of every record."""
        kept = self._seconds
        if len(kept) >= count:
            return kept
        made = np.empty(_rounded_up(count), dtype=object)
        made[:] = (np.arange(len(made)) * self.samples_per_frame / self.sampling_rate).tolist()
        if count <= KEPT_FRAMES:
            self._seconds = made
        return made

    def spans(self, starts: Array, ends: Array) -> Array:
        """[N] the tuple ``(start, end)`` in seconds of every span. starts, ends: [N] int64 frames, half-open."""
        frames, lengths = int(ends.max(initial=0)) + 1, ends - starts
        long = np.flatnonzero(lengths >= KEPT_LENGTHS)
        if frames > KEPT_FRAMES or len(long) > len(starts) // 4:
            return self._made(starts, ends)
        lengths[long] = 0  # theirs are put in afterwards
        codes = starts * KEPT_LENGTHS + lengths
        spans: Array = self._table(frames, codes).take(codes)
        if len(long):
            spans[long] = self._made(starts[long], ends[long])
        return spans

    def _made(self, starts: Array, ends: Array) -> Array:
        seconds = self.seconds(int(ends.max(initial=0)) + 1)
        pairs = zip(seconds[starts].tolist(), seconds[ends].tolist(), strict=True)
        return np.fromiter(pairs, dtype=object, count=len(starts))

    def _table(self, frames: int, codes: Array) -> Array:
        """The pairs by code, all of ``codes`` among them."""
        pairs, known = self._pairs
        size = _rounded_up(frames) * KEPT_LENGTHS
        if len(pairs) < size:
            pairs = np.concatenate((pairs, np.empty(size - len(pairs), dtype=object)))
            known = np.concatenate((known, np.zeros(size - len(known), dtype=bool)))
            self._pairs = pairs, known
        if not known[codes].all():
            asked = np.zeros(len(known), dtype=bool)
            asked[codes] = True
            keys = np.flatnonzero(asked & ~known)
            first, length = np.divmod(keys, KEPT_LENGTHS)
            pairs[keys] = self._made(first, first + length)
            known[keys] = True  # last: a thread that sees the flag finds the pair
        return pairs


def _rounded_up(count: int) -> int:
    """The next power of two, so that growing recordings do not make the tables anew each time."""
    return 1 << max(0, count - 1).bit_length()


@lru_cache(maxsize=8)
def frame_times(samples_per_frame: float, sampling_rate: float) -> FrameTimes:
    """The seconds of a model's frames, shared by all of its calls.

    >>> frame_times(320, 16000).spans(np.array([2]), np.array([4]))
    array([(0.04, 0.08)], dtype=object)
    """
    return FrameTimes(samples_per_frame, sampling_rate)
