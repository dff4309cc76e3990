"""Every bound of rounding that a fast way's proof rests on, each with its derivation.

A proof compares two numbers that both sides round differently and calls the result certain where they are further
apart than these bounds. Too wide a bound costs a fallback, too narrow a one a token. ``test_error_bounds`` measures
what each bounds against exact arithmetic, or halves it and sees a proof fail that must not.

``UNIT`` is half a unit in the last place of float32 near 1: the most that one rounding is off by, relative.
"""

from typing import Any

UNIT = 2.0**-24

EXP_ERROR = 8e-6
"""Relative, of a probability of transformers' softmax: an exponential and a normaliser of 20 units in the last place
each, a division and a product: (2 * 20 + 2) * 2 * UNIT = 5e-6, with room for other builds' exponentials."""

MASS_ERROR = 3e-6
"""Relative, of a row's mass formed here in float32: one exponential within 4 units of ours and one of theirs near 1,
8 * 2 * UNIT = 1e-6, and a pairwise sum whose blocks of 128 run in 8 lanes, (16 + 3 + log2(2**18 / 128)) * UNIT = 2e-6.
"""

LARGEST_SUM_ERROR = 1e-5
"""Relative, of the same of a few rows in Python: the arguments are products with the reciprocal of the temperature too,
within 50 of the largest: 50 * 3 * UNIT = 9e-6 but for those of no weight, and MASS_ERROR's sum."""

NEAR = 2e-5
"""Relative: more than two float32 weights of one logit differ by, whichever exponential formed them: EXP_ERROR for each
side and for the border that they are compared with."""

RACE_MARGIN = 2e-5
"""Relative: what the float32 p / q of two tokens may be off by: each p within EXP_ERROR of ours, q exact, a division:
2 * EXP_ERROR + 4 * UNIT = 1.7e-5."""

SEEDED_MARGIN = 1e-12
"""Relative: more than the float64 logarithms or exponentials of two libraries or devices differ by: a few thousand
units in the last place of 2**-53."""

PYTHON_MARGIN = 1e-8
"""The same where Python's logarithm and exponential stand against numpy's scores of logits up to 1e4 temperatures:
1e4 * 2**-52, with room."""

GROUP_ROOM = 1.001
"""What the float32 weight of a group, its maximum's times its width, is multiplied by to bound it: exponentials within
NEAR, their arguments within ``scaled_error`` of at most 1e3, the sum."""

EQUAL_DIVIDED = 3e-7
"""Relative: two float32 logits further apart are unequal once divided: each quotient is rounded within UNIT, so equal
ones come of numbers within 2 * 2 * UNIT = 2.4e-7 of each other."""


def running_sum_error(count: float) -> float:
    """Relative, of transformers' running sum over a row of ``count`` in any order: EXP_ERROR, and its normaliser.

    The normaliser adds the row in float32 in at least 8 vector lanes, so that each lane makes count / 8 additions, each
    within UNIT of what it has summed; 40 stands for the addition of the lanes and what is left over. (The running sum
    itself is kept in float64.)
    """
    return EXP_ERROR + UNIT * (count / 8 + 40)


def listed_sum_error(listed: int, others: Any, vocab_size: int) -> Any:
    """Relative, of the same where the row's mass lies among its ``listed`` largest but for a share ``others``.

    The row is added from the smallest up, so that a token takes part in as many additions as tokens are larger, a lane
    8 of them at a time: of what is listed that is at most listed / 8 each (twice that, for two roundings), of the
    others (vocab_size + listed) / 8.
    """
    return EXP_ERROR + UNIT * (listed / 4 + 40) + others * (UNIT * (vocab_size + listed) / 8)


def float64_sum_error(count: int) -> float:
    """Relative, of a sum of ``count`` positive numbers in float64, and of the difference that ``before`` is."""
    return 2.0**-52 * (count + 1)


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
