"""Chunk and stride arithmetic, against the pipeline's own."""

import random

import numpy as np
import pytest
from transformers.pipelines.automatic_speech_recognition import chunk_iter
from transformers.pipelines.automatic_speech_recognition import rescale_stride as transformers_rescale

from afterlogits.postprocess.audio import chunk_lengths, chunks_of, rescale_stride


class Extractor:
    """Gives the samples back."""

    sampling_rate = 16000

    def __call__(self, chunk, **_options):
        return {"samples": chunk}


# golden


def test_chunks():
    """Steps of 6: the first has no left overlap, the last no right one and what is left."""
    assert [c.stride for c in chunks_of(25, (10, 2, 2))] == [(10, 0, 2), (10, 2, 2), (10, 2, 2), (7, 2, 0)]
    assert [c.start for c in chunks_of(25, (10, 2, 2))] == [0, 6, 12, 18]
    assert [(c.stride, c.is_last) for c in chunks_of(16, (10, 2, 2))] == [((10, 0, 2), False), ((10, 2, 0), True)]
    assert list(chunks_of(0, (10, 2, 2))) == []


def test_rescale():
    """50.5 frames round to the even 50; 400 / 16160 and 560 / 16160 of 50 are 1.24 and 1.73."""
    assert rescale_stride((16160, 400, 560), 1 / 320) == (50, 1, 2)


def test_lengths_align_to_frames():
    """A third of a second is 5,333.3 samples, 16.67 frames of 320: 17 of them."""
    assert chunk_lengths(2, (1 / 3, 0), 16000, align_to=320) == (32000, 5440, 0)


# parity


def assert_same_as_transformers(draw):
    """A drawn recording and chunk length, and every chunk's stride in frames."""
    samples, chunk = draw.randint(1, 300), draw.randint(3, 60)
    left, right = draw.randint(0, (chunk - 1) // 2), draw.randint(0, (chunk - 1) // 2)
    audio = np.arange(samples)
    theirs = list(chunk_iter(audio, Extractor(), chunk, left, right))
    ours = list(chunks_of(samples, (chunk, left, right)))
    assert [(c.stride, c.is_last) for c in ours] == [(item["stride"], item["is_last"]) for item in theirs]
    for mine, item in zip(ours, theirs, strict=True):
        assert np.array_equal(audio[mine.start : mine.start + mine.stride[0]], item["samples"])
    ratio = 1 / draw.choice([320, 160, 7, 2.5])
    assert [rescale_stride(c.stride, ratio) for c in ours] == transformers_rescale([c.stride for c in ours], ratio)


def test_same_as_transformers():
    """2,000 draws."""
    draw = random.Random(0)
    for _ in range(2000):
        assert_same_as_transformers(draw)


# errors


def test_a_chunk_must_be_longer_than_its_overlaps():
    with pytest.raises(ValueError) as caught:
        chunk_lengths(1, 0.5, 16000)
    assert str(caught.value) == "chunk_seconds must be longer than its overlaps; got 16000 samples with 8000 and 8000"


@pytest.mark.parametrize("strides", [(1, 2, 3), (1,), float("nan"), (0.1, float("inf"))])
def test_overlaps_are_one_number_or_two(strides):
    with pytest.raises(ValueError) as caught:
        chunk_lengths(2, strides, 16000)
    assert str(caught.value) == f"stride_seconds must be one finite number or two; got {strides}"


@pytest.mark.parametrize("strides", [-1, (0.2, -0.5)])
def test_overlaps_are_not_negative(strides):
    with pytest.raises(ValueError) as caught:
        chunk_lengths(2, strides, 16000)
    assert str(caught.value) == f"stride_seconds must be at least 0; got {strides}"
