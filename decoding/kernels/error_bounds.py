"""Every bound of rounding that a fast path's proof rests on, each with its derivation.

A proof compares two numbers that both sides round differently and calls the result certain where they are further
apart than these bounds. Too wide a bound costs a fallback, too narrow a one a token: ``test_error_bounds`` halves each
and watches a proof fail, or the exact arithmetic of a row leave the halved bound.

Units: ``UNIT`` is half a unit in the last place of float32 near 1, the most that one rounding can be off by.
"""

from typing import Any

UNIT = 2.0**-24

EXP_ERROR = 8e-6
"""Relative, of a weight of transformers' softmax: two exponentials of 20 units in the last place each (Sleef's promise
for all of float32 is below that), a division and a product: (2 * 20 + 2) * 2 * UNIT = 5e-6, with room."""

MASS_ERROR = 3e-6
"""Relative, of a row's mass formed here in float32: one exponential within 4 units of ours and one of theirs near 1,
8 * 2 * UNIT = 1e-6, and a pairwise sum whose blocks of 128 run in 8 lanes, (16 + 3 + log2(2**18 / 128)) * UNIT = 2e-6.
"""

NEAR = 2e-5
"""Relative: more than two float32 weights of one logit differ by, whichever exponential formed them."""

RACE_MARGIN = 2e-5
"""Relative: what the float32 p / q of two tokens may be off by: each p within EXP_ERROR of ours, q exact, a division.
"""

SEEDED_MARGIN = 1e-12
"""Relative: more than the float64 logarithms or exponentials of two libraries or devices differ by."""


def running_sum_error(count: float) -> float:
    """Relative, of transformers' running sum over a sorted row: EXP_ERROR, and the error of its normaliser.

    The normaliser adds the row in float32 in at least 8 vector lanes from the smallest up; a token of rank r from the
    top takes part in the r / 8 last additions of its lane, each within UNIT. count: the mean rank of the mass, at most,
    twice; 40 stands for the addition of the lanes and what is left over. (The running sum itself is kept in float64.)
    """
    return EXP_ERROR + UNIT * (count / 8 + 40)


def scaled_error(largest: Any) -> Any:
    """Absolute, of a logit divided by the temperature, by a product with its reciprocal: three roundings of a number
    of at most this size, and of one within 50 of it. As an exponent it is the relative error of a weight."""
    return 2.4e-7 * (abs(largest) + 50)


def typical_error(entropy: Any) -> Any:
    """Absolute, of the difference of two tokens' distances from the entropy.

    transformers' entropy is a cascade sum of products p * log p, each within EXP_ERROR, so within 2 * EXP_ERROR of
    itself; ours within MASS_ERROR. The end of the interval of closer tokens moves by twice that, and each surprise and
    distance is rounded at the size of a logprob, at most 100 where it matters: 4 * 100 * UNIT.
    """
    return 4 * (EXP_ERROR + MASS_ERROR) * (1 + abs(entropy)) + 400 * UNIT
