"""The candidates of beams by kernels: the twin's where nothing is flagged; equal and close candidates are flagged."""

import pytest
import torch

from afterlogits.decoding.search.beam_candidates import top_candidates
from afterlogits.decoding.triton_kernels.beam_select import beam_select, beam_select_twin
from afterlogits.decoding.triton_kernels.row_stats import empty_stats, row_stats

from .cases import batch_of, interpreted


def selected(logits, scores, count):
    temperature = torch.ones(len(logits), dtype=torch.float64)
    stats = row_stats(logits, temperature, empty_stats(logits))
    return beam_select(logits, stats, scores, count)


def scores_of(items, beams, seed=0):
    return torch.randn(items, beams, generator=torch.Generator().manual_seed(seed)).mul_(3)


def test_the_twin_is_the_search_s_candidates():
    logits, scores = batch_of(("wide", "peaked") * 4, 900, 0), scores_of(2, 4)
    best, parent, token = beam_select_twin(logits, scores, 8)
    expected = top_candidates(logits, scores, 8, normalized=False)
    torch.testing.assert_close(best, expected[0])
    assert torch.equal(parent, expected[1])
    assert torch.equal(token, expected[2])


@interpreted
@pytest.mark.parametrize(("beams", "count"), [(1, 2), (4, 8), (3, 7), (8, 16)])
def test_kernels_select_what_the_twin_does(beams, count):
    kinds = (("wide", "peaked", "flat", "wide") * beams)[: 3 * beams]
    logits, scores = batch_of(kinds, 6007, beams, apart=3), scores_of(3, beams, count)
    best, parent, token, tied = selected(logits, scores, count)
    expected = beam_select_twin(logits, scores, count)
    torch.testing.assert_close(best, expected[0], rtol=1e-6, atol=1e-6)
    fine = tied == 0
    assert int(fine.sum()) >= 2
    assert torch.equal(parent[fine], expected[1][fine])
    assert torch.equal(token[fine], expected[2][fine])


@interpreted
def test_ties_are_flagged():
    """Equal beams make every candidate twice; a constant row has no order; two finite logits are not three."""
    equal = batch_of(("wide",), 4500, 1).expand(2, -1).contiguous()
    assert selected(equal, torch.zeros(1, 2), 4)[3].tolist() == [1]
    assert selected(batch_of(("one value", "wide"), 4500, 2), torch.zeros(1, 2), 4)[3].tolist() == [1]
    short = torch.full((1, 4500), -torch.inf)
    short[0, :2] = torch.tensor([1.0, 2.0])
    assert selected(short, torch.zeros(1, 1), 3)[3].tolist() == [1]


@interpreted
def test_rows_that_are_no_distribution_are_flagged():
    """NaN and +inf among the largest logits and far from them, nothing above -inf, a score of NaN: that item alone."""
    logits, scores = batch_of(("wide",) * 8, 6007, 4), scores_of(2, 4)
    assert selected(logits, scores, 8)[3].tolist() == [0, 0]
    for bad in (torch.nan, torch.inf):
        for place in (17, int(logits[5].argmax()) ^ 1):
            spoiled = logits.clone()
            spoiled[5, place] = bad
            assert selected(spoiled, scores, 8)[3].tolist() == [0, 1]
    nothing, unknown = logits.clone(), scores.clone()
    nothing[2], unknown[1, 3] = -torch.inf, torch.nan
    assert selected(nothing, scores, 8)[3].tolist() == [1, 0]
    assert selected(logits, unknown, 8)[3].tolist() == [0, 1]


@interpreted
def test_sixteen_bits():
    logits, scores = batch_of(("wide",) * 4, 4500, 3, torch.bfloat16), scores_of(1, 4)
    best, _, token, tied = selected(logits, scores, 8)
    expected = beam_select_twin(logits, scores, 8)
    torch.testing.assert_close(best, expected[0], rtol=1e-6, atol=1e-6)
    if not tied.any():
        assert torch.equal(token, expected[2])
