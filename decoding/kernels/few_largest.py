"""The reader of few rows: their largest logits as Python numbers, with a dozen array operations in place of forty.

``large_logits`` reads any number of rows and gives arrays. After a forward pass the caches have lost the code of every
operation, so that each first call costs more than the work on a few rows. Here one selection serves: over all rows at
once, or, where a row's weight matters too, over one row after the other. Rows may lie apart, and vocabularies need be
no multiple of a group: the few logits left over are looked at one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import inf, isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .error_bounds import GROUP_ROOM, LARGEST_SUM_ERROR, MASS_ERROR, scaled_error
from .large_logits import row_mass

_BY_ROW = 3  # up to here one row after the other is cheaper
_WIDTH, _SUMMED = 64, 512  # logits to a group, and the groups whose weight is formed where the whole row's matters
_LOOSE = 0.01  # of the weight formed, what the others may weigh at most and stay a bound

_Floats = NDArray[np.float32]


class Largest(NamedTuple):
    """The largest logits of a row and their token ids, largest first.

    complete: whether the filters certainly drop everything else. mass: what the row weighs at least and at most, in
    units of its best token; known where top-p needs it.
    """

    values: Sequence[float]
    token_ids: Sequence[int]
    complete: bool
    mass: tuple[float, float] | None = None


class Groups:
    """Rows of float32 logits [N, V] on the CPU as groups [N, C, W] of neighbours, and what they leave over, [N, R]."""

    def __init__(self, logits: Tensor, near: int):
        rows, vocab_size = logits.shape
        self.width = group_width(vocab_size, near)
        self.columns = vocab_size // self.width
        shape, strides = (rows, self.columns, self.width), (logits.stride(0), self.width, 1)
        groups = logits.as_strided(shape, strides, logits.storage_offset())
        self.maxima: _Floats = groups.amax(2).numpy()
        self.logits: _Floats = groups.numpy()
        self.rest: _Floats = logits.numpy()[:, self.columns * self.width :]

    def largest(self, threshold: _Floats, most: int) -> tuple[list[list[float]], list[list[int]]] | None:
        """All logits of each row from ``threshold`` [N, 1] up and their token ids, largest first.

        None if a row has NaN or infinite ones, or if there are more than ``most`` groups or logits per row.
        """
        rows, width = len(threshold), self.width
        chosen = (~(self.maxima < threshold)).ravel().nonzero()[0]  # and NaN
        if len(chosen) > most * rows:
            return None
        row, column = np.divmod(chosen, self.columns)
        whole = self.logits.strides[0] == self.columns * self.logits.strides[1]
        picked = self.logits.reshape(-1, width).take(chosen, 0) if whole else self.logits[row, column]
        kept = (~(picked < threshold.take(row)[:, None])).ravel().nonzero()[0]
        if len(kept) > most * rows:
            return None
        place, offset = np.divmod(kept, width)
        values, row, token_ids = picked.ravel().take(kept), row.take(place), column.take(place) * width + offset
        if self.rest.shape[1]:
            found, offset = (~(self.rest < threshold)).nonzero()
            values, row = np.concatenate((values, self.rest[found, offset])), np.concatenate((row, found))
            token_ids = np.concatenate((token_ids, offset + self.columns * width))
        order = np.lexsort((values, row))[::-1]  # the last row first
        ends = np.bincount(row, minlength=rows)[::-1].cumsum().tolist()
        listed, ids = values.take(order).tolist(), token_ids.take(order).tolist()
        parts = [*zip([0, *ends[:-1]], ends, strict=True)][::-1]
        if not all(first < end and isfinite(listed[first]) for first, end in parts):
            return None
        return [listed[first:end] for first, end in parts], [ids[first:end] for first, end in parts]

    def top(self) -> list[float]:
        """The largest logit of each row; NaN if there is one."""
        top = np.maximum.reduce(self.maxima, axis=1)
        if self.rest.shape[1]:
            top = np.maximum(top, np.maximum.reduce(self.rest, axis=1))
        found: list[float] = top.tolist()
        return found


class FewRowsReader:
    """What is read of each row: its ``count`` largest logits, or all from ``least`` of its largest up.

    temperature: what the row's mass is formed with; None where it does not matter. least: None where ``count`` decides;
    otherwise more than four times ``count`` are not worth a list.
    """

    def __init__(self, count: int, temperature: float | None, least: Callable[[float], float] | None = None):
        self.count, self.temperature, self.least = count, temperature, least
        self.summed = 0 if temperature is None else _SUMMED

    def read(self, logits: Tensor) -> Iterator[Largest | None]:
        """One row of ``logits`` [N, V] after the other; None where groups of neighbours do not make up the row.

        The logits carry no gradient.
        """
        rows, vocab_size = logits.shape
        width = 2 * _WIDTH if self.temperature is None else _WIDTH
        columns = vocab_size // width
        whole = columns * width == vocab_size and logits.is_contiguous()
        if columns < 4 * self.count:
            yield from self._selected(logits)
        elif self.temperature is None and logits.stride(1) == 1 and (rows > _BY_ROW or not whole):
            yield from self._together(logits)
        elif not whole:
            yield None
        else:
            groups = logits.view(-1, width)
            maxima, listed = groups.amax(1).numpy(), groups.numpy()
            one = self._best if self.temperature is None and self.least is None else self._row
            for first in range(0, rows * columns, columns):
                row = slice(first, first + columns)
                yield one(maxima[row], listed[row])

    def _together(self, logits: Tensor) -> Iterator[Largest | None]:
        """All rows at once, where their mass does not matter."""
        groups = Groups(logits, 2 * _WIDTH)
        if self.least is None:
            last = groups.columns - self.count
            ordered = groups.maxima.copy()
            ordered.partition(last, axis=1)
            threshold = ordered[:, last, None]
        else:
            top = groups.top()
            if not all(map(isfinite, top)):
                yield None
                return
            threshold = np.array([[self.least(x)] for x in top], dtype=np.float32)
        found = groups.largest(threshold, 4 * self.count)
        if found is None:
            yield None
            return
        for values, token_ids in zip(*found, strict=True):
            yield Largest(values, token_ids, self.least is not None)

    def _selected(self, logits: Tensor) -> Iterator[Largest]:
        """Rows so short that torch's own selection is as fast."""
        count = min(self.count, logits.shape[1])
        values, token_ids = logits.topk(count)
        complete = count == logits.shape[1]
        temperature = self.temperature or 1.0
        masses = [[0.0]] * len(logits)
        if self.summed and not complete:
            masses = row_mass(logits, temperature, values[:, :1] / temperature).tolist()
        for row, row_ids, (mass,) in zip(values.tolist(), token_ids.tolist(), masses, strict=True):
            off = MASS_ERROR + scaled_error(row[0] / temperature)
            yield Largest(row, row_ids, complete, (mass * (1 - off), mass * (1 + off)))

    def _best(self, maxima: _Floats, groups: _Floats) -> Largest | None:
        """The ``count`` largest of one row, at least, from the maxima [C] of its groups [C, W].

        Fewer groups than ``count`` hold a logit larger than the least of the ``count`` largest maxima, and all of them
        are chosen. Of logits equal to it some may be missing, beyond the first ``count``.
        """
        chosen = maxima.argpartition(-self.count)[-self.count :]
        threshold = maxima.take(chosen).min()
        if not threshold > -inf:  # and NaN
            return None
        picked = groups.take(chosen, 0).ravel()
        kept = (picked >= threshold).nonzero()[0]
        if len(kept) > 4 * self.count:
            return None
        values, token_ids = _sorted(picked, kept, chosen, groups.shape[1])
        return Largest(values, token_ids, False) if isfinite(values[0]) else None

    def _row(self, maxima: _Floats, groups: _Floats) -> Largest | None:
        """One row: the maxima [C] of its groups [C, W]."""
        top, threshold, deepest = self._thresholds(maxima)
        if not isfinite(top) or threshold == -inf:
            return None
        chosen = (maxima >= deepest).nonzero()[0]
        if len(chosen) > 2 * max(self.count, self.summed):
            return None
        picked = groups.take(chosen, 0).ravel()
        kept = (picked >= threshold).nonzero()[0]
        if len(kept) > 4 * self.count:
            return None
        mass = self._mass(maxima, groups, chosen, picked, top) if self.summed else None
        return Largest(*_sorted(picked, kept, chosen, groups.shape[1]), self.least is not None, mass)

    def _thresholds(self, maxima: _Floats) -> tuple[float, float, float]:
        """The largest logit, from where on logits are listed, and from where on groups are looked into."""
        columns = len(maxima)
        summed = self.summed if columns > 2 * self.summed else 0
        ordered = maxima.copy()
        last = [columns - 1] if self.least is not None else [columns - 1, columns - self.count]
        ordered.partition([*last, columns - summed] if summed else last)
        top: float = ordered.item(columns - 1)
        if self.least is not None:
            threshold = self.least(top) if isfinite(top) else -inf
        else:
            threshold = ordered.item(columns - self.count)
        if not self.summed:
            return top, threshold, threshold
        return top, threshold, ordered.item(columns - summed) if summed else -inf

    def _mass(
        self, maxima: _Floats, groups: _Floats, chosen: NDArray[np.int64], picked: _Floats, top: float
    ) -> tuple[float, float]:
        """What a row weighs: the logits ``picked``, and at most the maxima of the groups that are not ``chosen``."""
        columns, width = groups.shape
        with np.errstate(over="ignore", under="ignore"):
            least = self._weight(picked, top).sum().item()
            bounds = self._weight(maxima, top)
            bounds[chosen] = 0.0
            others = GROUP_ROOM * width * bounds.sum().item() + 1e-30
            if others > _LOOSE * least:  # then all of it, in pieces that are few of the row
                pieces = (groups[first : first + columns // 16] for first in range(0, columns, columns // 16))
                least, others = sum(self._weight(piece, top).sum().item() for piece in pieces), 0.0
        return least * (1 - LARGEST_SUM_ERROR), least * (1 + LARGEST_SUM_ERROR) + others

    def _weight(self, logits: _Floats, top: float) -> _Floats:
        weight: _Floats = logits - np.float32(top)
        weight *= np.float32(1 / (self.temperature or 1.0))
        np.exp(weight, out=weight)
        return weight


def _sorted(
    picked: _Floats, kept: NDArray[np.int64], chosen: NDArray[np.int64], width: int
) -> tuple[Sequence[float], Sequence[int]]:
    """The logits ``kept`` [M] of the groups ``chosen``, ``picked`` one after the other, and their token ids, largest
    first."""
    starts = (chosen * width).tolist()
    token_ids = [starts[place // width] + place % width for place in kept.tolist()]
    values, ordered_ids = zip(
        *sorted(zip(picked.take(kept).tolist(), token_ids, strict=True), reverse=True), strict=True
    )
    return values, ordered_ids


@lru_cache(maxsize=64)
def group_width(vocab_size: int, near: int) -> int:
    """How many neighbours make a group: from ``near`` to a quarter more, so that few logits of a row are left over.

    >>> group_width(151_936, 128), group_width(50_257, 128), group_width(32_001, 64)
    (128, 144, 64)
    """
    return min(range(near, near + near // 4 + 1), key=lambda width: (vocab_size % width, width))
