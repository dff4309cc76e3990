"""The large logits of each row on the host: group maxima, a threshold, and everything above it.

A row is seen as groups of neighbouring logits. One read of the row gives the maxima of its groups. The k-th largest of
any set of group maxima is a lower bound of the k-th largest logit, so maxima of maxima give a threshold; only the
groups whose maximum reaches it are looked into. What is below the threshold is known to be.

Source: as for ``candidates``, two levels deep.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..options.numpy_or_torch import Array
from ..options.validation import check_row_maxima

_WIDTH = 64  # four cache lines: shorter groups take torch longer to reduce, and are fetched no faster
_LOWEST = np.float32(torch.finfo(torch.float32).min)
_SHARE = 8  # of a row, one in so many logits may be listed
_SMALL = 512  # so many of a row may be listed whatever their share


@dataclass(frozen=True)
class Listed:
    """The largest logits of N rows, largest first.

    values: [N, M] float32, -inf behind the end of a row's list. token_ids: [N, M] int64.
    bound: [N, 1] float32, what nothing that is not listed exceeds; -inf where every finite logit is listed.
    maxima, width: [N, C] float32, the maxima of groups of at most ``width`` logits that make up the row; None if
    unknown.
    """

    values: Array
    token_ids: Array
    bound: Array
    maxima: Tensor | None = None
    width: int = 1

    @property
    def top(self) -> Array:
        """The largest logit of each row, [N, 1] float32."""
        return self.values[:, :1]

    def row(self, i: int) -> "Listed":
        """Row i alone."""
        one = slice(i, i + 1)
        maxima = None if self.maxima is None else self.maxima[one]
        return Listed(self.values[one], self.token_ids[one], self.bound[one], maxima, self.width)


class Peaks:
    """The group maxima of a batch of logits [N, V] on the CPU, ready to list what is large.

    count: how many of the largest will be asked for at most; it decides the size of the groups.
    Raises ValueError naming the row if it has NaN, +inf or nothing above -inf.
    """

    def __init__(self, logits: Tensor, count: int):
        logits = logits.detach()
        self.logits = logits if logits.stride(1) == 1 else logits.contiguous()
        vocab_size = logits.shape[1]
        count = min(count, vocab_size)
        self.width = _width(vocab_size, count)
        self.maxima = group_maxima(self.logits, self.width).to(torch.float32)
        self._count, self._coarse = count, _folded_maxima(self.maxima, _width(self.maxima.shape[1], count))
        self.top: NDArray[np.float32] = self._coarse.numpy().max(1, keepdims=True)
        if not np.isfinite(self.top).all():
            check_row_maxima(torch.from_numpy(self.top[:, 0]))

    @cached_property
    def threshold(self) -> NDArray[np.float32]:
        """What at least ``count`` logits of each row reach, [N, 1]."""
        if self._count == self.logits.shape[1]:
            return np.full_like(self.top, _LOWEST)
        last = self._coarse.topk(self._count).values[:, -1:].numpy()
        # Logits that the temperature makes equal to the last one asked for are listed too.
        return np.asarray(last - (np.abs(last) * np.float32(3e-7) + np.float32(1e-30)))

    def listed(self, threshold: NDArray[np.float32] | None = None) -> Listed | None:
        """All logits of each row from ``threshold`` [N, 1] up (by default: at least ``count`` of them), largest first.

        None if that is too much of the row to be worth a list.
        """
        rows, vocab_size = self.logits.shape
        threshold = np.maximum(self.threshold if threshold is None else threshold, _LOWEST)
        maxima, width = self.maxima.numpy(), self.width
        columns = maxima.shape[1]
        groups = (maxima >= threshold).ravel().nonzero()[0]
        if len(groups) * width > rows * max(vocab_size // 2, _SMALL):
            return None
        row = groups // columns if rows > 1 else None
        column = groups if row is None else groups - row * columns
        values = self._groups(row, column)
        kept = (values >= (threshold if row is None else threshold.take(row)[:, None])).ravel().nonzero()[0]
        group = kept // width
        values, token_ids = values.ravel().take(kept), kept + ((column - np.arange(len(column))) * width).take(group)
        if row is None:
            order = np.negative(values).argsort()
            values, token_ids = values.take(order)[None], token_ids.take(order)[None]
        else:
            row = row.take(group)
            counts = np.bincount(row, minlength=rows)
            longest = int(counts.max())
            if rows * longest > rows * max(vocab_size // _SHARE, _SMALL):
                return None
            first = np.arange(0, rows * longest, longest)
            place = np.arange(len(row)) + (first - counts.cumsum() + counts).take(row)
            spread = np.full((rows, longest), -np.inf, dtype=np.float32)
            spread.ravel()[place] = values
            ids = np.zeros((rows, longest), dtype=np.int64)
            ids.ravel()[place] = token_ids
            order = np.negative(spread).argsort(1) + first[:, None]
            values, token_ids = spread.ravel().take(order), ids.ravel().take(order)
        bound = np.where(threshold > _LOWEST, threshold, np.float32(-np.inf))
        return Listed(values, token_ids, bound, self.maxima, width)

    def crowded(self) -> list[bool]:
        """Which rows have too much from their threshold up to be worth a list, each on its own, [N]."""
        large = (self.maxima.numpy() >= np.maximum(self.threshold, _LOWEST)).sum(1) * self.width
        crowded: list[bool] = (large > max(self.logits.shape[1] // 2, _SMALL)).tolist()
        return crowded

    def _groups(self, row: NDArray[np.int64] | None, column: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of the groups [G] as [G, width], -inf where the last group of a row is shorter."""
        rows, vocab_size = self.logits.shape
        whole = vocab_size // self.width
        grouped = self.logits.as_strided(
            (rows, whole, self.width), (self.logits.stride(0), self.width, 1), self.logits.storage_offset()
        )
        inside = np.minimum(column, whole - 1) if whole * self.width < vocab_size else column
        if grouped.dtype == torch.float32:
            array = grouped.numpy()
            values = array[0].take(inside, axis=0) if row is None else array[row, inside]
        else:
            which = 0 if row is None else torch.from_numpy(row)
            values = grouped[which, torch.from_numpy(inside)].to(torch.float32).numpy()
        if inside is not column:
            short = column == whole
            rest = self.logits[:, whole * self.width :].to(torch.float32).numpy()
            values[short] = -np.inf
            values[short, : rest.shape[1]] = rest if row is None else rest[row[short]]
        return values


def _width(size: int, count: int) -> int:
    """How many to a group: at least four groups for each of the largest asked for, so that few of them share one."""
    width = _WIDTH
    while width > 1 and size < width * max(4 * count, width):
        width //= 2
    return width


def group_maxima(logits: Tensor, width: int) -> Tensor:
    """The maxima of neighbours, [N, ceil(V / width)]. NaN counts as the largest."""
    if width == 1:
        return logits
    rows, vocab_size = logits.shape
    whole = vocab_size // width
    maxima = logits.as_strided((rows, whole, width), (logits.stride(0), width, 1), logits.storage_offset()).amax(2)
    if whole * width < vocab_size:
        maxima = torch.cat([maxima, logits[:, whole * width :].amax(1, keepdim=True)], 1)
    return maxima


def _folded_maxima(maxima: Tensor, lines: int) -> Tensor:
    """The maxima of the groups {c, c + C, c + 2C, ...}, [N, C]: C as short as ``lines`` allows."""
    if lines == 1:
        return maxima
    rows, size = maxima.shape
    columns = size // lines
    stride = maxima.stride(0)
    folded = maxima.as_strided((rows, lines, columns), (stride, columns, 1), maxima.storage_offset()).amax(1)
    if lines * columns < size:
        rest = maxima[:, lines * columns :]  # fewer than ``lines``, no more than C
        torch.maximum(folded[:, : rest.shape[1]], rest, out=folded[:, : rest.shape[1]])
    return folded
