"""A seed for every line, from the job's seed and the line's number."""

_MASK = (1 << 64) - 1


class LineSeeds:
    """Seeds by the number of an item, from 0: what ``generate`` draws for a line depends on nothing but these two.

    SplitMix64 of both, so that jobs of neighbouring seeds share no line's draws.
    >>> LineSeeds(0)[0] == LineSeeds(0)[0], LineSeeds(1)[0] == LineSeeds(0)[1]
    (True, False)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __getitem__(self, line: int) -> int:
        return _mixed(_mixed(self.seed & _MASK) + line & _MASK) >> 1  # a signed 64-bit number is not negative

    def __repr__(self) -> str:
        return f"LineSeeds({self.seed})"


def _mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
