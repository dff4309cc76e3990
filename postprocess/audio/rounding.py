"""Python's ``round(x, 2)`` of many numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
NEAR_HALF = 1e-6  # hundredths; far above the error of x * 100 for any time below a year


def round_to_hundredths(values: Array) -> Array:
    """``round(x, 2)`` of every value, bit for bit. values: [N] float64, finite, below 1e7 in size.

    Python rounds the exact binary value; x * 100 is exact to a part in 1e15, so the nearest hundredth is certain unless
    x lies half way between two, and those few go through ``round`` itself.
    >>> round_to_hundredths(np.array([1.005, 2.675, 0.125])).tolist()
    [1.0, 2.67, 0.12]
    """
    hundredths = values * 100.0
    nearest = np.rint(hundredths)
    out: Array = nearest / 100.0
    doubtful = np.flatnonzero(np.abs(np.abs(hundredths - nearest) - 0.5) < NEAR_HALF)
    for place in doubtful.tolist():
        out[place] = round(float(values[place]), 2)
    return out
