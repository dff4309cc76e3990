"""The best pairs of rows of sigmoid scores: torch.topk of all scores is the oracle, ties and borders included."""

import random

import torch

from afterlogits.postprocess.vision.best_pairs import _of_logits, best_pairs

CASES = 400


def slow_pairs(logits, count, threshold):
    """Row, column and score by transformers' operations: all scores, topk, then the threshold."""
    scores, pair = logits.sigmoid().topk(count, dim=1)
    keep = torch.ones_like(pair, dtype=torch.bool) if threshold is None else scores > threshold
    return keep.nonzero()[:, 0], pair[keep], scores[keep]


def drawn_logits(choose, generator, rows, length):
    """Noise of any strength; rounded, so that many tie; saturated; a few NaN and infinities."""
    logits = torch.randn(rows, length, generator=generator) * choose.choice((0.1, 1.0, 5.0, 30.0))
    if choose.random() < 0.3:
        logits = (logits * 4).round() / 4
    if choose.random() < 0.1:
        logits[0, :: choose.randint(2, 9)] = choose.choice((float("nan"), float("inf"), float("-inf")))
    return logits


def test_equals_topk_of_all_scores():
    quick = 0
    for seed in range(CASES):
        choose, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        rows, length = choose.randint(1, 4), choose.choice((1, 30, 97, 1000, 2730))
        logits, count = drawn_logits(choose, generator, rows, length), choose.randint(1, min(length, 40))
        threshold = choose.choice((None, 0.0, 0.3, 0.5, 0.999, 1.5))
        if choose.random() < 0.2:
            threshold = float(logits.sigmoid().flatten()[choose.randrange(rows * length)])  # on the border
        expected, found = slow_pairs(logits, count, threshold), best_pairs(logits, count, threshold)
        for own, other in zip(found, expected, strict=True):
            torch.testing.assert_close(own, other, rtol=0, atol=0, equal_nan=True, msg=f"seed {seed}")
        quick += _of_logits(logits, count, threshold) is not None
    assert quick > CASES // 8  # or nothing was compared but the slow way with itself


def test_what_ties_with_the_last_of_the_chosen_is_left_to_topk():
    """61 and 40 are both a score of 1: which of them topk lists first is its own."""
    logits = torch.linspace(-1, 0, 64)[None].clone()
    logits[0, 7], logits[0, 50] = 61.0, 40.0
    assert _of_logits(logits, 1, 0.1) is None
    assert _of_logits(logits.clamp(max=3.0) - torch.linspace(0, 1, 64), 1, 0.1) is not None


def test_a_threshold_within_rounding_is_left_to_the_scores():
    logits = torch.linspace(-8, 2, 64)[None]
    level = float(torch.tensor(2.0).sigmoid())
    assert _of_logits(logits, 3, level) is None
    assert [len(column) for column in best_pairs(logits, 3, level)] == [0, 0, 0]
    assert [len(column) for column in best_pairs(logits, 3, level - 1e-4)] == [1, 1, 1]


def test_the_last_values_of_a_call_have_their_own_last_bits():
    """Of 4 x 1,001 values the last 4 are not computed in a vector; scores are those of the whole call all the same."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        logits = torch.randn(4, 1001, generator=generator)
        logits[3, -4:] += 4
        expected = logits.sigmoid().topk(9, dim=1)
        found = _of_logits(logits, 9, None)
        assert found is None or torch.equal(found[2], expected.values.flatten())


def test_a_doubtful_row_costs_the_others_nothing():
    """Rows with ties, the last one among them or not, are ranked by all of their scores, the others by their logits."""
    generator = torch.Generator().manual_seed(0)
    for unsure in ([2], [0, 5], [5]):
        logits = torch.randn(6, 1001, generator=generator)
        logits[unsure, 10:14] = 9.0
        for threshold in (None, 0.9, torch.linspace(0.5, 0.95, 6)[:, None]):
            found = _of_logits(logits, 9, threshold)
            assert found is not None
            for own, other in zip(found, slow_pairs(logits, 9, threshold), strict=True):
                torch.testing.assert_close(own, other, rtol=0, atol=0)


def test_nan_anywhere_takes_its_place_among_the_best():
    """topk ranks NaN first, and then no threshold is passed: one place fewer is left, wherever NaN stood."""
    generator = torch.Generator().manual_seed(0)
    for place in (0, 500, 1001, 1002):
        logits = torch.randn(2, 1003, generator=generator)
        logits[1, place] = torch.nan
        for threshold in (0.0, None):
            for own, other in zip(best_pairs(logits, 40, threshold), slow_pairs(logits, 40, threshold), strict=True):
                torch.testing.assert_close(own, other, rtol=0, atol=0, equal_nan=True)


def test_scores_carry_a_gradient_where_one_is_asked_for():
    logits = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    _, _, scores = best_pairs(logits, 9, 0.5)
    scores.sum().backward()
    assert int((logits.grad != 0).sum()) == len(scores) == 18
    with torch.no_grad():
        assert torch.equal(best_pairs(logits, 9, 0.5)[2], scores)
