"""first_argmax against torch.argmax: ties, NaN, infinities, odd sizes, strides, number types."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afterlogits.decoding import first_argmax
from afterlogits.decoding.kernels.argmax import _SMALL, _WIDTH

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LEVELS = torch.tensor([-torch.inf, -3.0, 0.0, 2.0, 2.0])
TOPS = [2.0, torch.inf, torch.nan]


@st.composite
def tied_logits(draw):
    """Rows of few values and many ties, with tops planted anywhere, at the borders of groups above all."""
    rows = draw(st.integers(1, 5))
    vocab_size = draw(st.integers(-(-_SMALL // rows), _SMALL + 3 * _WIDTH))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    below = draw(st.integers(1, len(LEVELS)))
    logits = LEVELS[torch.randint(below, (rows, vocab_size), generator=generator)].to(draw(st.sampled_from(DTYPES)))
    edges = [0, _WIDTH - 1, _WIDTH, vocab_size // _WIDTH * _WIDTH - 1, vocab_size - 1]
    places = st.one_of(st.sampled_from(edges), st.integers(0, vocab_size - 1))
    for row, place, top in draw(
        st.lists(st.tuples(st.integers(0, rows - 1), places, st.sampled_from(TOPS)), max_size=8)
    ):
        logits[row, place] = top
    return logits


@given(tied_logits())
def test_equals_torch(logits):
    assert torch.equal(first_argmax(logits), logits.argmax(-1))


@pytest.mark.parametrize("vocab_size", [1, 7, 50_257, 151_936])
def test_shapes_and_strides(vocab_size):
    logits = torch.randn(3, 4, vocab_size)
    for view in (
        logits,
        logits[:, 1],
        logits[:, ::2],
        logits[..., : -(-vocab_size // 2)],
        logits.transpose(0, 1),
        logits[:0],
    ):
        assert torch.equal(first_argmax(view), view.argmax(-1))
    apart = torch.randn(vocab_size, 3).T
    assert torch.equal(first_argmax(apart), apart.argmax(-1))
