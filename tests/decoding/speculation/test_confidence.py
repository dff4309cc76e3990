"""The threshold learnt from checked guesses: the arithmetic, a slow reading of the same rule, and scikit-learn's."""

import math
import random

import pytest

from afterlogits.decoding.speculation.confidence import cheapest_threshold


def slow(probs: list[float], right: list[bool]) -> set[float]:
    """Every threshold of least cost: a guess passes if it is at least as probable; infinity passes none."""
    thresholds = [math.inf, *sorted(set(probs), reverse=True)]
    costs = []
    for threshold in thresholds:
        passed = [prob >= threshold for prob in probs]
        missed = sum(p and not r for p, r in zip(passed, right, strict=True)) / right.count(False)
        hit = sum(p and r for p, r in zip(passed, right, strict=True)) / right.count(True)
        costs.append(missed + 3 * (1 - hit))
    return {threshold for threshold, cost in zip(thresholds, costs, strict=True) if cost <= min(costs) + 1e-12}


def drawn(random_: random.Random) -> tuple[list[float], list[bool]]:
    """Six to forty guesses with many equal probabilities."""
    count = random_.randint(6, 40)
    return [random_.randint(0, 9) / 8 for _ in range(count)], [random_.random() < 0.6 for _ in range(count)]


def test_golden() -> None:
    """Right at .9, .8, .7 and .6, wrong at .3 and .2: from .6 on no guess is wrong and none is missed, cost 0.

    At .7 a quarter of the right ones is missed, 3 / 4; at .3 half of the wrong ones passes, 1 / 2.
    """
    assert cheapest_threshold([0.9, 0.8, 0.3, 0.7, 0.2, 0.6], [True, True, False, True, False, True]) == 0.6


def test_too_little_is_known() -> None:
    """Five guesses, or guesses of one kind alone."""
    assert cheapest_threshold([0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, False, True]) is None
    assert cheapest_threshold([0.5] * 9, [True] * 9) is None
    assert cheapest_threshold([0.5] * 9, [False] * 9) is None


def test_is_of_least_cost() -> None:
    """500 drawn sets of guesses."""
    random_ = random.Random(3)
    for _ in range(500):
        probs, right = drawn(random_)
        if len(set(right)) == 2:
            assert cheapest_threshold(probs, right) in slow(probs, right)


def test_is_that_of_scikit_learn() -> None:
    """The rule of transformers, by the ROC curve of the installed scikit-learn: ties between thresholds too."""
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random_ = random.Random(4)
    for _ in range(500):
        probs, right = drawn(random_)
        if len(set(right)) < 2:
            continue
        missed, hit, thresholds = metrics.roc_curve(right, probs)
        assert cheapest_threshold(probs, right) == thresholds[(missed + 3 * (1 - hit)).argmin()]
