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

LEAST_NOISE_ERROR = 3 * UNIT
"""Relative, of weight / u as a bound of weight / noise: u rounded to float32, the quotient, and the number that it is
compared with; and of u found again from the quotient."""

SEEDED_MARGIN = 1e-12
"""Relative: more than the float64 logarithms or exponentials of two libraries or devices differ by: a few thousand
units in the last place of 2**-53."""

PYTHON_MARGIN = 6e-10
"""Relative, of race times in Python: what the general way leaves open, SEEDED_MARGIN * (46 + 366), for logits of at
most 366 temperatures, where ``scaled_error`` is 1e-4."""

GROUP_ROOM = 1.0002
"""What the float32 weight of groups, the sum of their maxima's times the width, is multiplied by to bound it:
exponentials within NEAR, arguments within 87 * 3 * UNIT = 1.6e-5, ``scaled_error`` of at most 1e-4 (more is added where
it may be more), a pairwise sum within 2e-6: 1.4e-4 together."""

EQUAL_DIVIDED = 2.2e-7
"""Relative: two float32 logits further apart are unequal once divided: equal quotients are of one interval between two
floats, 2 * UNIT wide at most, and the difference is rounded here: 3 * UNIT = 1.8e-7."""

LANES, FEW_ADDITIONS = 8, 40
"""Of the normaliser of transformers' softmax over a sorted row: torch adds the row in float32, from the smallest up, in
at least 8 vector lanes, each addition within UNIT of what its lane has summed. A token takes part in the additions that
come after it, of the tokens larger than it, a lane's share of them: what is among the ``listed`` largest in at most
listed / LANES, and as it is itself off by what came before, twice that; of the others in (V + listed) / LANES at most.
40 more stand for the addition of the lanes and what is left over. In any other order it is V / LANES at most.
So the running sum, kept in float64, is off by at most, relative, where ``others`` is the share of all others' mass:
EXP_ERROR + UNIT * (FEW_ADDITIONS + 2 * listed / LANES + others * (V + listed) / LANES).
"""

FLOAT64_UNIT = 2.0**-52
"""Relative, for each of the additions of a sum in float64, and once for the difference of two sums."""


SCALED_ERROR, WITHIN = 2.4e-7, 50
"""Of ``scaled_error``: for each temperature that a logit is away from 0; how far from the largest tokens matter."""


def scaled_error(largest: Any) -> Any:
    """Absolute, of a logit divided by the temperature, by a product with its reciprocal: three roundings of a number
    of at most this size, and of one within 50 of it. As an exponent it is the relative error of a weight."""
    return SCALED_ERROR * (abs(largest) + WITHIN)


def typical_error(entropy: Any) -> Any:
    """Absolute, of the difference of two tokens' distances from the entropy.

    transformers' entropy is a cascade sum of products p * log p, each within EXP_ERROR, so within 2 * EXP_ERROR of
    itself; ours within MASS_ERROR. The end of the interval of closer tokens moves by twice that, and each surprise and
    distance is rounded at the size of a logprob, at most 100 where it matters: 4 * 100 * UNIT.
    """
    return 4 * (EXP_ERROR + MASS_ERROR) * (1 + abs(entropy)) + 400 * UNIT
