"""Selection by bisection over the ordered bits of float32: no sort, and no kernel that takes minutes to compile."""

from .language import jit, tl

LOWEST = tl.constexpr(-2139095041)  # the place of -inf


@jit
def place_of(x):
    """The place of a float32 in ascending order, int64: larger floats have larger places. -0.0 lies below 0.0."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)


@jit
def at_place(place):
    """The float32 at a place."""
    bits = place.to(tl.int32)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.float32, bitcast=True)


@jit
def least_with_at_most(values, most, enough):
    """The smallest float32 that at most ``most`` of ``values`` reach, or a larger one that ``enough`` reach.

    values: a block of float32 without NaN. Returns -inf where no more than ``most`` are above -inf.
    """
    above = tl.sum((values > -float("inf")).to(tl.int32))
    low, high = tl.full((), LOWEST, tl.int64), place_of(tl.max(values)) + 1
    searching = above > most
    while searching:
        middle = (low + high) >> 1
        count = tl.sum((values >= at_place(middle)).to(tl.int32))
        if count > most:
            low = middle
        else:
            high = middle
        searching = (high - low > 1) & ((count > most) | (count < enough))
    return tl.where(above > most, at_place(high), -float("inf"))


@jit
def kth_largest(values, k):
    """What exactly the ``k`` largest of ``values`` and their equals reach; -inf where fewer are above -inf.

    values: a block of float32 without NaN. k: at least 1.
    """
    above = tl.sum((values > -float("inf")).to(tl.int32))
    low, high = tl.full((), LOWEST, tl.int64), place_of(tl.max(values)) + 1
    searching = above > k
    while searching:
        middle = (low + high) >> 1
        count = tl.sum((values >= at_place(middle)).to(tl.int32))
        if count >= k:
            low = middle
        else:
            high = middle
        searching = (high - low > 1) & (count != k)
    return tl.where(above > k, at_place(low), -float("inf"))
