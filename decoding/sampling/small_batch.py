"""Draws of a few rows in plain Python: the same tokens with a dozen array operations in place of sixty.

The work on the candidates of one row is nothing; calling the operations is all. After a forward pass the caches have
lost them, and the first call of each costs more than the exponentials of a whole list. So here the largest logits
of a row, as ``few_largest`` reads them, are Python numbers.

The filters keep a prefix of the sorted row. How long it is, is proven as in ``decision`` but with wider margins: the
rounding of the logits divided by the temperature is bounded, not followed. Rows that the margins leave open are not
drawn here. What is drawn is what the general path draws.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, chain
from math import exp, inf, log
from operator import neg
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..kernels.counter_noise import counter_exponential, counter_keys, exponentials, row_key
from ..kernels.decision import RowFilters, float32_border, nucleus_ends
from ..kernels.error_bounds import EQUAL_DIVIDED, EXP_ERROR, FLOAT64_UNIT, PYTHON_MARGIN, scaled_error
from ..kernels.few_largest import FewRowsReader, Largest
from ..kernels.rejection import WITHIN
from ..options.batch_options import CompiledParams

MOST_ROWS = 8  # from about here on operations on the whole batch are cheaper than Python
_BY_ROW = 3  # so many short rows are raced faster here than whole
_PATIENCE = 8  # so many calls in succession may fail before it is no longer tried
_SHORT = 4096
_MOST_TOP_K, _COUNT, _COUNT_FOR_MIN_P = 128, 96, 32
_LOWEST = -float(np.finfo(np.float32).max)  # what lies below it is -inf in float32, with a warning
_LEAST_WEIGHT = 1e-290  # relative to the best: a race time of 2**-64 over it still loses


class Prefix(NamedTuple):
    """What the filters may keep of one row, largest first: token ids and weights exp((logit - largest) / T).

    sure: how many of them they keep for certain, whatever the order of equal logits. error: of the weights, relative.
    """

    token_ids: Sequence[int]
    weights: Sequence[float]
    sure: int
    error: float

    def winner(self, noise: Sequence[float], margin: float) -> int | None:
        """The token with the smallest noise / weight; None if the next is within ``margin`` or it may be dropped."""
        times = [e / w for e, w in zip(noise, self.weights, strict=True)]
        first, *rest = sorted(times)
        place = times.index(first)
        if place >= self.sure or (rest and rest[0] <= first * (1 + margin)):
            return None
        return self.token_ids[place]


class FewRows:
    """The filters of a batch whose options are one number each, for a few rows of float32 logits on the CPU."""

    def __init__(self, temperature: float, top_k: int, top_p: float | None, min_p: float | None):
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p
        self.border = 0.0 if top_p is None else float32_border(top_p)
        count = top_k + 1 if top_k else _COUNT_FOR_MIN_P if top_p is None else _COUNT
        # The weight of the whole row matters where top-p comes first.
        weighs, by_min_p = top_p is not None and not top_k, not top_k and top_p is None
        self.reader = FewRowsReader(count, temperature if weighs else None, self._least if by_min_p else None)
        self.failed = self._skipped = 0  # calls in succession that drew nothing, and that were not tried

    def may_draw(self, rows: int, vocab_size: int, dtype: torch.dtype) -> bool:
        """Whether it is worth a try: few rows of float32, and it has not failed all the time; then every 32nd time."""
        if not 0 < rows <= MOST_ROWS or dtype != torch.float32:
            return False
        if vocab_size < _SHORT and (rows > _BY_ROW or not self.top_k):
            return False  # whole rows are raced as fast
        if self.failed < _PATIENCE:
            return True
        self._skipped = (self._skipped + 1) % 32
        return self._skipped == 0

    def seeded(self, logits: Tensor, seeds: list[int], step: int) -> list[int] | None:
        """The tokens of the rows with these seeds, or None if one of them is not certain."""
        prefixes = self.prefixes(logits)
        if prefixes is None:
            return None
        tokens = []
        for prefix, noise in zip(prefixes, _noise(prefixes, seeds, step), strict=True):
            token = prefix.winner(noise, PYTHON_MARGIN)
            if token is None:
                return None
            tokens.append(token)
        return tokens

    def prefixes(self, logits: Tensor) -> list[Prefix] | None:
        """What is kept of each row of ``logits`` [N, V], or None if that is not certain enough in one of them."""
        self.failed += 1
        found = []
        for largest in self.reader.read(logits):
            prefix = None if largest is None else self._prefix(largest, logits.shape[1])
            if prefix is None:
                return None
            found.append(prefix)
        self.failed = 0
        return found

    def _least(self, top: float) -> float:
        """From where on min-p may keep a logit, and as low as ``flat_rows`` asks for."""
        lowest = min(log(self.min_p or 1.0) - 1e-3, -1.01 * WITHIN)
        return float(np.float32(max(top + self.temperature * lowest - 1e-5 * abs(top), _LOWEST)))

    def _prefix(self, largest: Largest, vocab_size: int) -> Prefix | None:
        """What the filters keep of one row, or None where the listed logits do not settle it."""
        values, top, temperature = largest.values, largest.values[0], self.temperature
        error = scaled_error(top / temperature)  # of a weight, where it matters: within 50 of the best
        if not error < 1e-4:  # and for NaN and +-inf
            return None
        size, complete = self._after_top_k(values, largest.complete)
        if not size:
            return None
        weights = [exp((x - top) / temperature) for x in values[:size]]
        sure = possible = size
        if self.top_p is not None:
            sure, possible = self._nucleus(values, weights, None if complete else largest.mass, vocab_size, error)
            complete = complete or possible < size
        if self.min_p is not None:
            band = 2 * (EXP_ERROR + error)
            sure = min(sure, bisect_left(weights, -self.min_p * (1 + band), key=neg))
            least = bisect_left(weights, -self.min_p * (1 - band), key=neg)
            complete, possible = complete or least < size, min(possible, least)
        if not complete:
            return None
        while weights[possible - 1] < _LEAST_WEIGHT:
            possible -= 1
        return Prefix(largest.token_ids[:possible], weights[:possible], sure, error)

    def _after_top_k(self, values: Sequence[float], complete: bool) -> tuple[int, bool]:
        """How many of the listed logits are left by top-k, and whether nothing else is; 0 where that is not known."""
        size, top = len(values), values[0]
        if values[-1] == -inf:
            size, complete = values.index(-inf), True
        if self.top_k:
            if self.top_k >= size:
                return size, True
            return (0 if _equal(values[self.top_k - 1], values[self.top_k]) else self.top_k), True
        if not complete and values[-1] > top - 1.01 * WITHIN * self.temperature - 1e-5 * abs(top):
            return 0, False  # perhaps a flat row, which is drawn in another way
        return size, complete

    def _nucleus(
        self,
        values: Sequence[float],
        weights: Sequence[float],
        mass: tuple[float, float] | None,
        vocab_size: int,
        error: float,
    ) -> tuple[int, int]:
        """How many tokens top-p certainly keeps, and how many it may keep. Its ends are ``nucleus_ends``.

        mass: of the row; None where nothing but these tokens counts.
        """
        upto, size = [*accumulate(weights)], len(weights)
        least, most = mass or (upto[-1], upto[-1])
        others = 0.0 if mass is None else max(1 - upto[-1] / most, 0.0)
        # The weights here are off by ``error``, on either side of the comparison.
        sums = FLOAT64_UNIT * (size + 1) + 2 * error * (self.border + (mass is not None))
        sure_below, possible_below = nucleus_ends(self.border, least, most, sums, vocab_size, size, others)
        sure = min(bisect_left(upto, sure_below) + 1, size)
        possible = min(bisect_left(upto, possible_below) + 1, size)
        # Equal logits stand in any order: all of them are kept if the last one is, and may be if the first one may.
        while 0 < sure < size and _equal(values[sure - 1], values[sure]):
            sure -= 1
        while possible < size and _equal(values[possible - 1], values[possible]):
            possible += 1
        return sure, possible


def few_rows(params: CompiledParams, device: torch.device) -> FewRows | None:
    """The draw of few rows for these options; None where they differ by row, are extreme or not listable."""
    plain = params.uniform and not (params.greedy or params.joint) and params.min_tokens_to_keep == 1
    if not plain or device.type != "cpu" or (filters := RowFilters.of(params)) is None or not filters.listable:
        return None
    on = {name: value for name, value in params.on.items() if isinstance(value, float)}
    if not _in_range(on):
        return None
    return FewRows(on.get("temperature", 1.0), int(on.get("top_k", 0)), on.get("top_p"), on.get("min_p"))


def _in_range(on: dict[str, float]) -> bool:
    """Whether the numbers are such that the margins here cover their rounding."""
    top_k, top_p, min_p = on.get("top_k", 0), on.get("top_p", 1.0), on.get("min_p", 0.5)
    return 1e-3 <= on.get("temperature", 1.0) <= 1e3 and top_k <= _MOST_TOP_K and top_p >= 0.1 and 1e-20 <= min_p <= 0.9


def _noise(prefixes: list[Prefix], seeds: list[int], step: int) -> list[list[float]]:
    """Exp(1) of the tokens of each row; by numpy where they are so many that its calls cost less."""
    if len(prefixes) <= 2:
        return [exponentials(row_key(seed, step), part.token_ids) for seed, part in zip(seeds, prefixes, strict=True)]
    sizes = [len(part.token_ids) for part in prefixes]
    keys = counter_keys(np.array(seeds), step)[:, 0].repeat(sizes)
    noise = counter_exponential(keys, np.array([*chain.from_iterable(part.token_ids for part in prefixes)])).tolist()
    ends = [*accumulate(sizes)]
    return [noise[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _equal(larger: float, smaller: float) -> bool:
    """Whether two logits may be equal in float32 once they are divided."""
    return larger - smaller <= EQUAL_DIVIDED * abs(larger) + 1e-30
