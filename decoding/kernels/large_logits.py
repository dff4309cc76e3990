"""The reader: the largest logits of each row on the CPU with proof of what is not among them, as ``LargeLogits``.

A row is seen as groups of neighbouring logits. One read of the row gives the maxima of its groups. The k-th
largest of any set of group maxima is a lower bound of the k-th largest logit, so maxima of maxima give a threshold;
only the groups whose maximum reaches it are looked into. What is below the threshold is known to be.

Source: group maxima as bounds of what is not looked at, the idea of the threshold algorithm (Fagin, Lotem and Naor
2003), two levels deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..options.numpy_or_torch import Array, single
from ..options.validation import check_row_maxima
from .error_bounds import EQUAL_DIVIDED, EXP_ERROR, GROUP_ROOM, MASS_ERROR, SCALED_ERROR, WITHIN

_WIDTH = 64  # four cache lines: shorter groups take torch longer to reduce, and are fetched no faster
_LOWEST = np.float32(torch.finfo(torch.float32).min)
_SHARE = 8  # of a row, one in so many logits may be listed
_WORKSPACE = 2**19  # floats that stay in the second-level cache of two cores
_SPREAD = 20  # the bound of a group's weight from its maximum is at most so many times too large, in practice
_SMALL = 512  # so many of a row may be listed whatever their share


@dataclass(frozen=True)
class LargeLogits:
    """The largest logits of N rows, largest first.

    values: [N, M] float32, -inf behind the end of a row's list. token_ids: [N, M] int64.
    bound: [N, 1] float32, what nothing that is not listed exceeds; -inf where every finite logit is listed, +inf where
    a row has no list.
    maxima, width: [N, C] float32, the maxima of groups of at most ``width`` logits that make up the row; None if
    unknown.
    least, most, error: what the logits that are not listed weigh together, in units of the best, at least and at most,
    and the relative error of the whole row's mass; [N, 1] float64. None until ``weighed`` says.
    hopeless: [N] bool, rows whose nucleus no list of this length holds once they are weighed, by a guess that costs
    time where it is wrong; True before that.
    """

    values: Array
    token_ids: Array
    bound: Array
    maxima: Tensor | None = None
    width: int = 1
    least: Array = None
    most: Array = None
    error: Array = None
    hopeless: Array = True

    @property
    def top(self) -> Array:
        """The largest logit of each row, [N, 1] float32."""
        return self.values[:, :1]

    def weighed(
        self,
        temperature: float | Array,
        logits: Tensor,
        share: float | Array = 0.0,
        among: Sequence[int] | None = None,
    ) -> LargeLogits:
        """With what the logits that are not listed weigh.

        Each of them exceeds neither its group's maximum nor the bound; that bounds their weight. For the rows ``among``
        (None: all) it is formed from the logits [N, V] up to the error of ``row_mass``, unless a nucleus of ``share``
        of the row is hopeless: not listed even if the bound is twenty times too large.
        """
        top, bounded = self.values[:, :1], self
        if self.most is None:
            if self.maxima is None:
                raise ValueError("maxima must be known to bound a row's mass; got None")
            # What is not listed of a group exceeds neither its maximum nor the bound of the list.
            weight = np.minimum(self.maxima.numpy(), self.bound)
            weight -= top
            weight *= np.float32(1 / temperature)
            np.exp(weight, out=weight)
            room = GROUP_ROOM + SCALED_ERROR * (np.abs(top) / np.float64(temperature) + WITHIN)
            most = weight.sum(1, keepdims=True).astype(np.float64) * (self.width * room) + 1e-30
            listed = np.exp((self.values - top) / np.float32(temperature)).sum(1)[:, None]
            hopeless = ~(listed >= share * (listed + most / _SPREAD))[:, 0]
            bounded = replace(self, least=0.0 * most, most=most, error=0.0 * most, hopeless=hopeless)
        some = (
            (~bounded.hopeless).nonzero()[0]
            if among is None
            else np.array([x for x in among if not bounded.hopeless[x]])
        )
        if not len(some):
            return bounded
        least, most, error = (part.copy() for part in (bounded.least, bounded.most, bounded.error))
        divisor = temperature if isinstance(temperature, float) else temperature[some]
        scaled = top[some] / np.float32(divisor)
        chosen = logits if len(some) == len(top) else logits[torch.from_numpy(some)]
        by_row = divisor if isinstance(divisor, float) else torch.from_numpy(divisor)
        mass = row_mass(chosen, by_row, torch.from_numpy(scaled)).numpy()
        listed = np.exp((self.values[some] - top[some]).astype(np.float64) / divisor).sum(1)[:, None]
        least[some] = most[some] = np.maximum(mass - listed, 0.0)
        error[some] = MASS_ERROR + SCALED_ERROR * (np.abs(scaled.astype(np.float64)) + WITHIN)
        return replace(bounded, least=least, most=most, error=error)


class GroupMaxima:
    """The group maxima of a batch of logits [N, V] on the CPU, ready to list what is large.

    count: how many of the largest will be asked for at most; it decides the size of the groups where ``width`` is None:
    long groups are read faster, of short ones fewer logits are looked into.
    Raises ValueError naming the row if it has NaN, +inf or nothing above -inf.
    """

    def __init__(self, logits: Tensor, count: int, *, width: int | None = None):
        logits = logits.detach()
        self.logits = logits if logits.stride(1) == 1 else logits.contiguous()
        vocab_size = logits.shape[1]
        self.count = min(count, vocab_size)
        self.width = width or _group_width(vocab_size, self.count)
        self.maxima = group_maxima(self.logits, self.width).to(torch.float32)
        self._coarse = _folded_maxima(self.maxima, _group_width(self.maxima.shape[1], self.count))
        self.top: NDArray[np.float32] = self._coarse.numpy().max(1, keepdims=True)
        if not np.isfinite(self.top).all():
            check_row_maxima(torch.from_numpy(self.top[:, 0]))

    def first(self) -> Tensor:
        """The token id of each row's largest logit, the first of equals: int64 [N]."""
        return first_of_groups(self.logits, self.maxima, self.width)

    def floor(self) -> NDArray[np.float32]:
        """What at least ``count`` logits of each row reach, [N, 1]."""
        if self.count == self.logits.shape[1]:
            return np.full_like(self.top, _LOWEST)
        last = self._coarse.topk(self.count).values[:, -1:].numpy()
        # Logits that the temperature makes equal to the last one asked for are listed too.
        return np.asarray(last - (np.abs(last) * np.float32(EQUAL_DIVIDED) + np.float32(1e-30)))

    def min_p_floor(self, min_p: float | Array, temperature: float | Array) -> NDArray[np.float32]:
        """What min-p keeps is not below this, [N, 1]; rounding of the quotients is within the last term."""
        least = self.top + temperature * (np.log(min_p) - 4 * EXP_ERROR) - 4 * EQUAL_DIVIDED * np.abs(self.top)
        return np.asarray(np.minimum(single(least), self.top))

    def listed(self, floor: NDArray[np.float32]) -> LargeLogits:
        """All logits of each row from ``floor`` [N, 1] up, largest first.

        Rows where that is too much to be worth a list have none: their bound is +inf.
        """
        rows, vocab_size = self.logits.shape
        floor = np.maximum(floor, _LOWEST)
        reached = self.maxima.numpy() >= floor
        too_many = np.count_nonzero(reached, axis=1)[:, None] * self.width > max(vocab_size // 2, _SMALL)
        if too_many.any():
            reached, floor = reached & ~too_many, np.where(too_many, np.float32(np.inf), floor)
        row, column = reached.nonzero()
        values = self.groups(row, column)
        kept = (values >= floor.take(row)[:, None]).ravel().nonzero()[0]
        group = kept // self.width
        token_ids = kept + ((column - np.arange(len(column))) * self.width).take(group)
        values, row = values.ravel().take(kept), row.take(group)
        counts = np.bincount(row, minlength=rows)
        most = max(vocab_size // _SHARE, _SMALL)
        if counts.max(initial=0) > most:
            fits = (counts <= most).take(row)
            values, token_ids, row = values[fits], token_ids[fits], row[fits]
            floor = np.where((counts > most)[:, None], np.float32(np.inf), floor)
            counts = np.bincount(row, minlength=rows)
        values, token_ids = _side_by_side(values, token_ids, row, counts)
        bound = np.where(floor > _LOWEST, floor, np.float32(-np.inf))
        return LargeLogits(values, token_ids, bound, self.maxima, self.width)

    def groups(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of the groups [G] as [G, width], -inf where the last group of a row is shorter."""
        rows, vocab_size = self.logits.shape
        whole = vocab_size // self.width
        grouped = self.logits.as_strided(
            (rows, whole, self.width), (self.logits.stride(0), self.width, 1), self.logits.storage_offset()
        )
        inside = np.minimum(column, whole - 1) if whole * self.width < vocab_size else column
        values: NDArray[np.float32]
        if grouped.dtype == torch.float32:
            array = grouped.numpy()
            values = array[0].take(inside, axis=0) if rows == 1 else array[row, inside]
        else:
            values = grouped[torch.from_numpy(row), torch.from_numpy(inside)].to(torch.float32).numpy()
        if inside is not column:
            short = column == whole
            rest = self.logits[:, whole * self.width :].to(torch.float32).numpy()
            values[short] = -np.inf
            values[short, : rest.shape[1]] = rest[row[short]]
        return values


def _side_by_side(
    values: NDArray[np.float32], token_ids: NDArray[np.int64], row: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Entries in the order of their rows as [N, longest], each row largest first, -inf behind its end."""
    if len(counts) == 1 and len(values):
        order = np.negative(values).argsort()
        return values.take(order)[None], token_ids.take(order)[None]
    rows, longest = len(counts), max(int(counts.max(initial=0)), 1)
    first = np.arange(0, rows * longest, longest)
    place = np.arange(len(row)) + (first - counts.cumsum() + counts).take(row)
    spread = np.full(rows * longest, -np.inf, dtype=np.float32)
    spread[place] = values
    ids = np.zeros(rows * longest, dtype=np.int64)
    ids[place] = token_ids
    order = np.negative(spread).reshape(rows, longest).argsort(1) + first[:, None]
    return spread.take(order), ids.take(order)


@lru_cache(maxsize=256)
def _group_width(size: int, count: int) -> int:
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


def first_of_groups(logits: Tensor, maxima: Tensor, width: int) -> Tensor:
    """The token id of each row's largest logit by its groups' maxima: the first of equals, NaN first; int64 [N]."""
    places = maxima.argmax(1, keepdim=True) * width + torch.arange(width, device="cpu")
    places.clamp_(max=logits.shape[1] - 1)  # a short last group sees its last logit again: not the first of equals
    inside = logits.gather(1, places).argmax(1, keepdim=True)
    return places.gather(1, inside)[:, 0]


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


def row_mass(logits: Tensor, temperature: float | Tensor, top: Tensor) -> Tensor:
    """Sum of exp(logits / temperature - top) over each row, float64 [N, 1].

    logits: [N, V]. temperature: float or float64 [N, 1]. top: [N, 1] float32, the largest of logits / temperature.
    Relative error: ``error_bounds.MASS_ERROR``, and 2e-7 for each unit of |top|, since the division is a product here.
    Goes through the batch in pieces that stay in cache and never hold more than a sixth of the logits; on a device all
    of it at once.
    """
    logits, top = logits.detach(), top.detach()
    rows, vocab_size = logits.shape
    if logits.device.type != "cpu":
        divisor = temperature.to(torch.float32) if isinstance(temperature, Tensor) else temperature
        return (logits.to(torch.float32) / divisor).sub_(top).exp_().sum(-1, keepdim=True, dtype=torch.float64)
    piece = min(_WORKSPACE, max(rows * vocab_size // 6, 1024))
    height = min(max(piece // vocab_size, 1), max(rows, 1))
    width = min(vocab_size, piece // height)
    space = torch.empty(height * width, dtype=torch.float32, device=logits.device)
    total = torch.zeros(rows, 1, dtype=torch.float64, device=logits.device)
    if isinstance(temperature, Tensor):
        inverse = temperature.reciprocal().to(torch.float32)
    bottom = -top
    for first in range(0, rows, height):
        some = slice(first, first + height)
        for left in range(0, vocab_size, width):
            part = logits[some, left : left + width]
            scratch = space[: part.numel()].view(part.shape)
            if isinstance(temperature, Tensor):
                torch.addcmul(bottom[some], part, inverse[some], out=scratch)
            else:
                torch.add(bottom[some], part, alpha=1 / temperature, out=scratch)
            total[some] += scratch.exp_().sum(-1, keepdim=True)
    return total
