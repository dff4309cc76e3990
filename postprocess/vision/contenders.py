"""The classes that may win somewhere in the cells of a class map that no class has for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .cell_blocks import Blocks
from .upsampling import (
    SLACK,
    Pixels,
    least_slack,
    over_corners,
    true_places,
)

CELLS_AT_ONCE = 4096  # bounds the corners of all classes that are looked at together
SPARSE_COST = 5  # a value in a chosen cell costs as much as so many values of a whole plane


@dataclass(frozen=True)
class Contenders:
    """The classes that may win in each of U open cells, as a list of pairs by cell and then class.

    The cells come by how many classes they have, so that all pixels with more than so many are the first ones.
    """

    cells: Tensor  # [U] int64, row * w + column
    start: Tensor  # [U] int64, the first pair of each
    count: Tensor  # [U] int64, descending
    slack: Tensor  # [U]: a winner by more than that is the winner
    label: Tensor  # [pairs] int64

    @classmethod
    def of(cls, planes: Tensor, winner: Tensor, open_cells: Tensor, slack: float) -> Contenders | None:
        """A class cannot win where its largest corner is below the smallest corner of another by more than rounding, or
        all of its corners below those of one. None where so many can win that whole planes cost less."""
        cells, pairs, seen = true_places(open_cells), [], 0
        # Corners of most cells come from whole rows at once; of few cells they are picked.
        parts = _by_rows if len(cells) * 8 > open_cells.numel() else _by_cells
        for some, least, most in parts(planes, open_cells):
            possible = most >= least.amax(dim=0) - slack
            seen += int(np.count_nonzero(possible.numpy()))
            if seen * SPARSE_COST > planes.shape[0] * (int(some[-1]) + 1 + open_cells.numel() // 4):
                return None
            pairs.append(_pairs(planes, winner, some, possible, (least, most), slack))
        owner, label, weight = (torch.cat(column) for column in zip(*pairs, strict=True))
        owner = torch.searchsorted(cells, owner)
        count = torch.bincount(owner, minlength=len(cells))
        largest = torch.zeros(len(cells), dtype=weight.dtype, device="cpu").scatter_reduce_(0, owner, weight, "amax")
        slacks = largest * (SLACK * torch.finfo(planes.dtype).eps) + least_slack(planes.dtype)
        start = count.cumsum(0) - count
        order = count.argsort(descending=True, stable=True)
        cells, start, count, slacks = (column.index_select(0, order) for column in (cells, start, count, slacks))
        return cls(cells, start, count, slacks, label)

    def classes(self, winner: Tensor) -> list[int]:
        """All classes that win or may win somewhere."""
        least = int(max(winner.max(), self.label.max() if len(self.label) else 0)) + 1
        seen = (torch.bincount(each.flatten().long(), minlength=least) > 0 for each in (winner, self.label))
        found: list[int] = true_places(torch.logical_or(*seen)).tolist()
        return found

    def values_of(self, pixels_in: Tensor) -> int:
        """Values to compute, of all pixels of the open cells."""
        return int((self.count * pixels_in.index_select(0, self.cells)).sum())

    def best(self, planes: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """The winning class of every pixel of some cells, [n, p, q], and the places in it where another comes within
        rounding, [M] int64."""
        cells = slice(blocks.first, blocks.first + len(blocks))
        start, rising, slack = self.start[cells], -self.count[cells], self.slack[cells]
        flat, plane_size = planes.flatten(), planes.shape[1] * planes.shape[2]
        names = self.label if planes.shape[0] >= 2**15 else self.label.to(torch.int16)  # what is written for each pixel
        best = blocks.values(flat, self.label.index_select(0, start) * plane_size)
        winner = names.index_select(0, start)[:, None, None].expand_as(best).clone()
        second = torch.full_like(best, -torch.inf)
        for rank in range(1, -int(rising[0])):
            live = int(torch.searchsorted(rising, -rank))
            pairs = start[:live] + rank
            value = blocks.values(flat, self.label.index_select(0, pairs) * plane_size)
            before, after = best[:live], second[:live]
            winner[:live] = torch.where(value > before, names.index_select(0, pairs)[:, None, None], winner[:live])
            torch.maximum(after, torch.minimum(before, value), out=after)
            torch.maximum(before, value, out=before)
        return winner, true_places(best.sub_(second) <= slack[:, None, None])

    def values(self, planes: Tensor, pixels: Pixels) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Contender after contender in the order of classes: how many first pixels have one, its class, its value."""
        flat, plane_size = planes.flatten(), planes.shape[1] * planes.shape[2]
        start, count = (column.index_select(0, pixels.cell) for column in (self.start, self.count))
        rising = -count
        for rank in range(int(count[0])):
            live = int(torch.searchsorted(rising, -rank))
            label = self.label.index_select(0, start[:live] + rank)
            yield live, label, pixels.first(live).values(flat, label * plane_size)


Ranges = Iterator[tuple[Tensor, Tensor, Tensor]]


def _by_rows(planes: Tensor, open_cells: Tensor) -> Ranges:
    """Some open cells, [n], and the smallest and largest corner of every class of each, [C, n]; of rows of cells."""
    height, width = planes.shape[1:]
    step = max(1, CELLS_AT_ONCE // 2 // width)
    for first in range(0, height, step):
        cells = true_places(open_cells[first : first + step])
        rows = planes[:, first : first + step + 1]
        least, most = (over_corners(rows, each)[:, :step].flatten(1) for each in (torch.minimum, torch.maximum))
        if len(cells) < least.shape[1]:
            least, most = least.index_select(1, cells), most.index_select(1, cells)
        if len(cells):
            yield cells + first * width, least, most


def _by_cells(planes: Tensor, open_cells: Tensor) -> Ranges:
    """The same, each corner picked."""
    flat = planes.flatten(1)
    for cells in torch.split(true_places(open_cells), CELLS_AT_ONCE):
        corners = [flat.index_select(1, place) for place in _corners(planes, cells)]
        least, most = corners[0], corners[0]
        for corner in corners[1:]:
            least, most = torch.minimum(least, corner), torch.maximum(most, corner)
        yield cells, least, most


def _corners(planes: Tensor, cells: Tensor) -> list[Tensor]:
    """The places of the four corners of cells, [n] each."""
    height, width = planes.shape[1:]
    row, column = torch.div(cells, width, rounding_mode="floor"), cells % width
    right, below = (column < width - 1).long(), (row < height - 1).long() * width
    return [cells, cells + right, cells + below, cells + right + below]


def _pairs(
    planes: Tensor, winner: Tensor, cells: Tensor, possible: Tensor, corners: tuple[Tensor, Tensor], slack: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of a cell and a class that may win there: cells and classes in order, and the size of their values.

    possible: [C, n] bool, by ``corners``, the smallest and the largest of each class and cell.
    """
    classes, count = possible.shape
    found = true_places(possible.T)
    number = torch.div(found, classes, rounding_mode="floor")
    label = found - number * classes
    kept = ~_dominated(planes, cells, winner, number, label, slack)
    number, label = number[kept], label[kept]
    low, high = (each.flatten().index_select(0, label * count + number).abs() for each in corners)
    return cells.index_select(0, number), label, torch.maximum(low, high)


def _dominated(planes: Tensor, cells: Tensor, winner: Tensor, number: Tensor, label: Tensor, slack: float) -> Tensor:
    """[pairs] bool: whether a class that wins a corner of the cell lies above by more than rounding at all four.

    cells: [n]. winner: [h, w]. number: [pairs], which of the cells. label: [pairs].
    """
    flat, plane_size, wins = planes.flatten(), planes.shape[1] * planes.shape[2], winner.flatten().long()
    corners = _corners(planes, cells)
    own = [flat.index_select(0, label * plane_size + corner.index_select(0, number)) + slack for corner in corners]
    found = torch.zeros_like(label, dtype=torch.bool)
    for corner in corners:
        first = wins.index_select(0, corner) * plane_size  # where the plane of that corner's winner begins
        above = torch.ones_like(found)
        for place, value in zip(corners, own, strict=True):
            above &= flat.index_select(0, first + place).index_select(0, number) > value
        found |= above
    return found
