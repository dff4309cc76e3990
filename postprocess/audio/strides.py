"""Chunks of long recordings: where they begin, how they overlap, and the overlap in frames of a model's output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Stride = tuple[int, int, int]  # length, left and right overlap


@dataclass(frozen=True)
class Chunk:
    """Samples ``start`` to ``start + stride[0]`` of a recording."""

    start: int
    stride: Stride
    is_last: bool


def chunk_lengths(
    chunk_seconds: float, stride_seconds: float | Sequence[float] | None, sampling_rate: int, *, align_to: int = 1
) -> Stride:
    """Samples of a chunk and of its overlaps, each a multiple of ``align_to`` (the samples of one output frame).

    stride_seconds: one number for both sides, two, or None for a sixth of the chunk. Rounding as Python's ``round``.
    Raises ValueError unless the chunk is longer than its overlaps, and they are not negative (transformers leaves out
    what lies between chunks that do not overlap).
    >>> chunk_lengths(10, None, 16000, align_to=320)
    (160000, 26560, 26560)
    """
    each = chunk_seconds / 6 if stride_seconds is None else stride_seconds
    pair = tuple(each) if isinstance(each, Sequence) else (each, each)
    if len(pair) != 2 or not all(math.isfinite(seconds) for seconds in pair):
        raise ValueError(f"stride_seconds must be one finite number or two; got {stride_seconds}")
    if min(pair) < 0:
        raise ValueError(f"stride_seconds must be at least 0; got {stride_seconds}")
    left, right = pair

    def samples(seconds: float) -> int:
        return int(round(seconds * sampling_rate / align_to) * align_to)

    chunk, stride_left, stride_right = samples(chunk_seconds), samples(left), samples(right)
    if chunk <= stride_left + stride_right:
        raise ValueError(
            f"chunk_seconds must be longer than its overlaps; got {chunk} samples with {stride_left} and {stride_right}"
        )
    return chunk, stride_left, stride_right


def chunks_of(samples: int, lengths: Stride) -> Iterator[Chunk]:
    """The chunks of a recording, the first without a left and the last without a right overlap.

    samples: of the recording. lengths: samples of a chunk, of its left and of its right overlap (`chunk_lengths`).
    >>> [chunk.stride for chunk in chunks_of(25, (10, 2, 2))]
    [(10, 0, 2), (10, 2, 2), (10, 2, 2), (7, 2, 0)]
    """
    chunk, left, right = lengths
    for start in range(0, samples, chunk - left - right):
        is_last = start + chunk >= samples
        length = min(chunk, samples - start)
        stride_left = 0 if start == 0 else left
        if length > stride_left:
            yield Chunk(start, (length, stride_left, 0 if is_last else right), is_last)
        if is_last:
            return


def rescale_stride(stride: Stride, ratio: float) -> Stride:
    """A chunk's length and overlaps in frames, from samples.

    ratio: frames a sample. The overlaps are shares of the rounded length; rounding as Python's ``round``, which takes
    halves to the even number.
    >>> rescale_stride((16160, 400, 560), 1 / 320)
    (50, 1, 2)
    """
    length, left, right = stride
    frames = round(length * ratio)
    return frames, round(left / length * frames), round(right / length * frames)
