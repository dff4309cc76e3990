"""The largest logits of a few rows, all rows at once: one selection in place of one per row.

After a forward pass the caches have lost the code of every operation and the logits. So each operation runs once, on
all rows. Rows may lie apart, and vocabularies need be no multiple of a group: the few logits left over are looked at
one by one.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


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
        self.maxima: NDArray[np.float32] = groups.amax(2).numpy()
        self.logits: NDArray[np.float32] = groups.numpy()
        self.rest: NDArray[np.float32] = logits.numpy()[:, self.columns * self.width :]

    def largest(self, threshold: NDArray[np.float32], most: int) -> tuple[list[list[float]], list[list[int]]] | None:
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


@lru_cache(maxsize=64)
def group_width(vocab_size: int, near: int) -> int:
    """How many neighbours make a group: from ``near`` to a quarter more, so that few logits of a row are left over.

    >>> group_width(151_936, 128), group_width(50_257, 128), group_width(32_001, 64)
    (128, 144, 64)
    """
    return min(range(near, near + near // 4 + 1), key=lambda width: (vocab_size % width, width))
