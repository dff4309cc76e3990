"""What is listed of a row on the host, against a comparison of the whole row."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.benchmarks.workloads import adversarial, peaked
from afterlogits.decoding.kernels.large_logits import GroupMaxima, LargeLogits
from tests.builders.logits_cases import draw_logits


def listed(logits: torch.Tensor, count: int) -> LargeLogits:
    read = GroupMaxima(logits, count)
    return read.listed(read.floor())


# golden


def test_every_logit_from_the_threshold_up_is_listed() -> None:
    """5 is the third largest; the other 5 equals it."""
    found = listed(torch.tensor([[5.0, 9.0, 7.0, 5.0, 1.0]]), 3)
    assert found.values.tolist() == [[9.0, 7.0, 5.0, 5.0]]
    assert sorted(found.token_ids[0, 2:].tolist()) == [0, 3]
    assert found.token_ids[0, :2].tolist() == [1, 2]
    assert 4.99 < found.bound.item() < 5.0


def test_a_crowded_row_has_no_list_even_alone() -> None:
    """Twenty values and equal logits have too much from the threshold up; a row of few large values has a list."""
    logits = torch.cat([peaked(2), adversarial(1), torch.zeros(1, 151_936)])[[0, 2, 1, 3]]
    for rows in (logits, *logits.split(1)):
        found = listed(rows, 384)
        crowded = found.bound[:, 0] == np.inf
        assert crowded.tolist() == [len(row.unique()) <= 20 for row in rows]
        assert (found.values[crowded] == -np.inf).all()
        assert ((found.values > -np.inf).sum(1)[~crowded] >= 384).all()


# property


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_lists_hold_exactly_what_exceeds_the_bound(seed: int) -> None:
    """Each logit above the bound once, largest first, at least ``count`` of them; rows may lie apart in memory."""
    rng = random.Random(seed)
    vocab_size = rng.choice([2, 31, 200, 257, 1009, 4096, 5003, 32_000, 50_257])
    dtype = rng.choice([torch.float32, torch.float16, torch.bfloat16])
    count = rng.choice([1, 2, 51, 384])
    wide = draw_logits(rng, vocab_size + 3, rng.choice([1, 3]), dtype)
    logits = wide[:, 3:] if rng.random() < 0.5 else wide[:, 3:].contiguous()
    logits = logits[logits.amax(1).isfinite()]
    if not len(logits):
        return
    read = GroupMaxima(logits, count)
    found = read.listed(read.floor())
    np.testing.assert_array_equal(read.top[:, 0], logits.amax(1).float().numpy())
    with_lists = found.bound[:, 0] < np.inf  # else long runs of equal logits
    logits = logits[torch.from_numpy(with_lists)]
    rows, lists = logits.float().numpy(), (found.values, found.token_ids, found.bound)
    for row, values, token_ids, bound in zip(rows, *(part[with_lists] for part in lists), strict=True):
        size = int((values > -np.inf).sum())
        assert size >= min(count, int((row > -np.inf).sum()))
        assert (np.diff(values[:size]) <= 0).all()
        np.testing.assert_array_equal(np.sort(token_ids[:size]), ((row >= bound) & (row > -np.inf)).nonzero()[0])
        np.testing.assert_array_equal(row[token_ids[:size]], values[:size])
    # What is not listed of a group exceeds neither its maximum nor the bound.
    assert found.maxima is not None
    assert found.maxima.shape[1] * found.width >= vocab_size
    starts = range(0, vocab_size, found.width)
    groups = torch.stack([logits[:, left : left + found.width].amax(1) for left in starts], 1).float()
    assert torch.equal(found.maxima[torch.from_numpy(with_lists)], groups)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_is_not_listed_weighs_what_it_is_said_to(seed: int) -> None:
    """Between least and most, up to the error: formed, or bounded."""
    rng = random.Random(seed)
    rows, vocab_size = 3, rng.choice([5003, 16_384, 50_257])
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocab_size, generator=generator) * torch.tensor([[0.5], [2.0], [5.0]])
    temperature = rng.choice([0.7, 1.0, np.array([[0.5], [1.0], [1.7]])])
    share, among = rng.choice([0.0, 0.9, np.array([[0.9], [2.0], [0.5]])]), rng.choice([None, (), [0, 2]])
    read = GroupMaxima(logits, 384)
    found = read.listed(read.floor()).weighed(temperature, logits, share, among)
    if among == () and rng.random() < 0.5:  # formed later
        found = found.weighed(temperature, logits, share, [1])
    gaps = (logits.double().numpy() - found.top.astype(np.float64)) / temperature
    listed = np.exp((found.values.astype(np.float64) - found.top) / temperature).sum(1, keepdims=True)
    mass = np.exp(gaps).sum(1, keepdims=True)
    assert (found.least <= mass - listed + found.error * mass).all()
    assert (found.most >= mass - listed - found.error * mass).all()
    formed = range(3) if among is None else among
    assert all(found.least[row] == found.most[row] for row in formed if not found.hopeless[row])


# errors


@pytest.mark.parametrize(("bad", "found"), [(torch.nan, "NaN"), (torch.inf, "+inf")])
def test_bad_rows_are_named(bad: float, found: str) -> None:
    logits = torch.zeros(2, 5003)
    logits[1, 5002] = bad
    with pytest.raises(ValueError) as caught:
        GroupMaxima(logits, 5)
    text = f"logits must have no NaN, no +inf and a finite value in every row; got {found} in row 1"
    assert str(caught.value) == text
