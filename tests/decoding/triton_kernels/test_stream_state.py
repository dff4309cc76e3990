"""torch's CUDA stream by the formula: the numbers that torch is known to print, and the arithmetic of its offsets."""

import numpy as np
import pytest
import torch

from afterlogits.decoding.triton_kernels.stream_noise import stream_exponentials
from afterlogits.decoding.triton_kernels.stream_state import (
    StreamDraw,
    draw_threads,
    exponentials_at,
    offset_after,
    uniforms_at,
)

from .cases import interpreted


@pytest.mark.parametrize(
    ("seed", "printed"),
    [
        (0, [0.3990, 0.5167, 0.0249, 0.9401, 0.9459, 0.7967]),
        (42, [0.6130, 0.0101, 0.3984, 0.0403, 0.1563, 0.4825]),
    ],
)
def test_uniforms_are_what_torch_prints(seed, printed):
    """``torch.manual_seed(seed); torch.rand(6, device="cuda")``, four digits."""
    found = uniforms_at(np.arange(6), StreamDraw(seed, 0, 256))
    assert np.abs(found - np.array(printed)).max() < 5.1e-5


def test_threads_and_offsets_of_an_h100():
    """132 processors of 2,048 threads, V 151,936: 1, 8, 64, 256 rows move the offset by 4, 8, 36, 144."""
    moved = []
    for rows in (1, 8, 64, 256):
        threads = draw_threads(rows * 151_936, 132, 2048)
        moved.append(offset_after(0, rows * 151_936, threads))
    assert moved == [4, 8, 36, 144]
    assert draw_threads(300, 132, 2048) == 512


def test_later_elements_of_a_thread_are_the_next_words():
    """Elements 0, G, 2G, 3G are the four words of one counter, 4G begins the next, which is 4 further in the stream."""
    draw = StreamDraw(7, 8, 256)
    assert uniforms_at(np.array([5 + 4 * 256]), draw) == uniforms_at(np.array([5]), StreamDraw(7, 12, 256))
    words = uniforms_at(np.array([5, 5 + 256, 5 + 512, 5 + 768]), draw)
    assert len(set(words.tolist())) == 4


def test_the_largest_uniform_gives_the_smallest_noise():
    noise = exponentials_at(np.arange(2_000_000), StreamDraw(3, 0, 270_336))
    assert noise.min() >= 2.0**-24
    assert abs(noise.mean() - 1) < 0.005


@interpreted
def test_the_kernel_s_noise_is_the_formula_s():
    """Elements on both sides of G and of 2**32, a seed and an offset above 2**32; the logarithm nearly."""
    elements = torch.tensor([0, 1, 255, 256, 1023, 1024, 10**6, 2**32 + 5] * 40)
    for draw in (StreamDraw(0, 0, 256, False), StreamDraw(2**40 + 17, 2**34 + 4, 270_336, False)):
        found = stream_exponentials(elements, draw)
        expected = torch.from_numpy(exponentials_at(elements.numpy(), draw))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
