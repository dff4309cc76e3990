"""Pooling: by hand, against a loop, on either side of the padding."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess import pool, token_vectors

POOLINGS = ("cls", "mean", "max", "last")


def test_by_hand():
    """Tokens (1, 4), (3, 2) and padding on the left that holds NaN."""
    hidden = torch.tensor([[[math.nan, math.nan], [1.0, 4.0], [3.0, 2.0]]])
    mask = torch.tensor([[0, 1, 1]])
    expected = {"cls": [1.0, 4.0], "mean": [2.0, 3.0], "max": [3.0, 4.0], "last": [3.0, 2.0]}
    for pooling, vector in expected.items():
        assert pool(hidden, mask, pooling=pooling).tolist() == [vector]


def test_normalised_to_one_and_zero_stays_zero():
    """(3, 4) becomes (.6, .8); a text without tokens stays (0, 0) in every pooling."""
    hidden = torch.tensor([[[3.0, 4.0]], [[1.0, 1.0]]])
    mask = torch.tensor([[1], [0]])
    for pooling in POOLINGS:
        found = pool(hidden, mask, pooling=pooling, normalize=True)
        torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
        assert pool(hidden[:, :0], mask[:, :0], pooling=pooling).tolist() == [[0, 0], [0, 0]]


def test_half_precision_means_are_summed_in_float32():
    """3,000 ones: float16 sums stop at 2,048; the mean is 1."""
    hidden = torch.ones(1, 3000, 1, dtype=torch.float16)
    found = pool(hidden, torch.ones(1, 3000))
    assert (found.dtype, found.item()) == (torch.float16, 1.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), pooling=st.sampled_from(POOLINGS))
def test_equals_a_loop(seed, pooling):
    """Random masks, holes included; and the vectors of each text's own tokens."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(3, 5, 2, generator=generator)
    mask = torch.rand(3, 5, generator=generator) < 0.6
    rows = token_vectors(hidden, mask)
    for i, row in enumerate(rows):
        assert torch.equal(row, hidden[i][mask[i]])
    one = {"cls": lambda r: r[0], "last": lambda r: r[-1], "mean": lambda r: r.mean(0), "max": lambda r: r.amax(0)}
    expected = torch.stack([one[pooling](row) if len(row) else torch.zeros(2) for row in rows])
    torch.testing.assert_close(pool(hidden, mask, pooling=pooling), expected)


def test_errors():
    """What is wrong, what was wanted, what came."""
    with pytest.raises(ValueError) as caught:
        pool(torch.zeros(1, 2, 3), torch.ones(1, 2), pooling="sum")
    assert str(caught.value) == "pooling must be one of cls, mean, max, last; got 'sum'"
    with pytest.raises(ValueError) as caught:
        pool(torch.zeros(1, 2, 3), torch.ones(2, 1))
    assert str(caught.value) == "attention_mask must be [1, 2]; got shape [2, 1]"
