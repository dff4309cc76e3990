"""How sure a draft must be to go on guessing, learnt from the guesses that were checked.

A guess that is checked is right or wrong, and was made with some probability. The threshold that would have cost least
so far, where going on after a guess that is wrong costs one and stopping at a right one three, is what the next guesses
are held to.
"""

from __future__ import annotations

import numpy as np

__all__ = ["cheapest_threshold"]

# What it costs to stop at a right guess, in what it costs to go on after a wrong one: both as shares of their kind.
_COST_OF_STOPPING = 3.0


def cheapest_threshold(probs: list[float], right: list[bool]) -> float | None:
    """The least costly threshold for guesses made with ``probs``, of which some were ``right``; None for too few.

    The costs are those of the points of a ROC curve: a threshold is one of ``probs``, or infinity, which stops after
    every guess. Of equal costs the highest threshold counts, among the corners of the curve alone. Needs more than five
    guesses, and both right and wrong ones. Cost: one sort. Source: transformers 5.23, where scikit-learn is installed.
    >>> cheapest_threshold([0.9, 0.8, 0.3, 0.7, 0.2, 0.6], [True, True, False, True, False, True])
    0.6
    >>> cheapest_threshold([0.9, 0.1], [True, False]) is None
    True
    """
    if len(probs) <= 5 or all(right) or not any(right):
        return None
    order = np.argsort(np.array(probs), kind="stable")[::-1]
    scores, hits = np.array(probs)[order], np.array(right)[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # the last guess of every probability
    hit = np.cumsum(hits)[ends].astype(np.float64)
    missed = 1 + ends - hit
    if len(ends) > 2:
        corners = np.flatnonzero(np.concatenate(([1], np.abs(np.diff(missed, 2)) + np.abs(np.diff(hit, 2)), [1])))
        ends, hit, missed = ends[corners], hit[corners], missed[corners]
    share_missed = np.append(0.0, missed) / missed[-1]
    share_hit = np.append(0.0, hit) / hit[-1]
    costs = share_missed + _COST_OF_STOPPING * (1 - share_hit)
    return float(np.append(np.inf, scores[ends])[np.argmin(costs)])
