"""A seed for every item of a stream, from one seed and the item's number."""

from collections.abc import Sequence

_MASK = (1 << 64) - 1


class ItemSeeds:
    """Seeds by the number of an item, from 0: what is drawn for an item depends on nothing but these two.

    As ``seeds`` of a task that generates; a call that draws nothing takes no notice of them. SplitMix64 of both
    numbers, so that streams of neighbouring seeds share no item's draws. numbers: those of the items, where they do not
    follow each other from 0.
    >>> ItemSeeds(0)[0] == ItemSeeds(0)[0], ItemSeeds(1)[0] == ItemSeeds(0)[1]
    (True, False)
    """

    def __init__(self, seed: int, numbers: Sequence[int] | None = None) -> None:
        self.seed = seed
        self.numbers = numbers

    def __getitem__(self, item: int) -> int:
        item = item if self.numbers is None else self.numbers[item]
        return _mixed(_mixed(self.seed & _MASK) + item & _MASK) >> 1  # a signed 64-bit number is not negative

    def __repr__(self) -> str:
        return f"ItemSeeds({self.seed})"


def _mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
