"""The pixels of chosen cells as blocks of one shape: what a cell's four corners give at each of its pixels.

A cell of an upsampling has as many rows and columns of pixels as its place on both axes says. All blocks have the most
of both; where a cell has fewer, its last row or column is repeated, so that the same value comes twice. A block reads
its corners once, where a list of pixels reads them for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .upsampling import Axis, Pixels, Upsampling

PIXELS_AT_ONCE = 1 << 16  # of blocks that are looked at together: a few columns of them stay in cache


@lru_cache(maxsize=64)
def _padded(axis: Axis, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of an axis: the outputs of each cell [cells, most], the last repeated, and their weights. Not to be changed."""
    steps = torch.arange(most, device="cpu").minimum((axis.count - 1).clamp_min(0)[:, None])
    output = (axis.start[:, None] + steps).clamp_max(len(axis.first) - 1)
    return output, axis.weight_first[output], axis.weight_second[output]


@dataclass(frozen=True)
class Blocks:
    """Blocks of n cells, p rows of q pixels each."""

    first: int  # the number of the first cell among those asked for
    row: Tensor  # [n] int64, of the cell
    column: Tensor  # [n] int64
    corners: tuple[Tensor, Tensor, Tensor, Tensor]  # [n] int64 each: places in a plane of h * w values
    row_weights: tuple[Tensor, Tensor]  # [n, p, 1] each
    column_weights: tuple[Tensor, Tensor]  # [n, 1, q] each
    grid: Upsampling

    def __len__(self) -> int:
        return len(self.row)

    @property
    def shape(self) -> tuple[int, int]:
        """The rows and columns of a block."""
        return self.row_weights[0].shape[1], self.column_weights[0].shape[2]

    def values(self, planes: Tensor, offset: Tensor) -> Tensor:
        """[m, p, q] values of the first m blocks, to within rounding of torch's. offset: [m], where the plane of each
        begins in the flat ``planes``."""
        count = len(offset)
        a, b, c, d = (planes.index_select(0, at[:count] + offset).view(count, 1, 1) for at in self.corners)
        (top, bottom), (left, right) = self.row_weights, self.column_weights
        left, right = left[:count], right[:count]
        return (a * left + b * right) * top[:count] + (c * left + d * right) * bottom[:count]

    def places(self) -> Tensor:
        """[n, p, q] int64, row * W + column of each pixel."""
        rows, columns = self._outputs()
        return rows[:, :, None] * self.grid.size[1] + columns[:, None, :]

    def pixels(self, chosen: Tensor) -> Pixels:
        """Pixels by their places in the flat [n, p, q], ascending; those that repeat another are left out."""
        height, width = self.shape
        cell = torch.div(chosen, height * width, rounding_mode="floor")
        within = chosen - cell * (height * width)
        down = torch.div(within, width, rounding_mode="floor")
        across = within - down * width
        row, column = self.row.index_select(0, cell), self.column.index_select(0, cell)
        rows, columns = self.grid.rows, self.grid.columns
        real = (down < rows.count.index_select(0, row)) & (across < columns.count.index_select(0, column))
        row, column, down, across, cell = (each[real] for each in (row, column, down, across, cell))
        row, column = rows.start.index_select(0, row) + down, columns.start.index_select(0, column) + across
        return self.grid.pixels_at(row, column, cell + self.first)

    def _outputs(self) -> tuple[Tensor, Tensor]:
        height, width = self.shape
        rows, columns = _padded(self.grid.rows, height)[0], _padded(self.grid.columns, width)[0]
        return rows.index_select(0, self.row), columns.index_select(0, self.column)


def blocks_of(grid: Upsampling, cells: Tensor) -> Iterator[Blocks]:
    """The blocks of cells (row * w + column) in their order, some at a time. Each cell must have a pixel."""
    height, width = int(grid.rows.count.max()), int(grid.columns.count.max())
    _, top, bottom = _padded(grid.rows, height)
    _, left, right = _padded(grid.columns, width)
    at_once = max(1, PIXELS_AT_ONCE // max(height * width, 1))
    for number, some in enumerate(torch.split(cells, at_once)):
        row = torch.div(some, grid.columns.cells, rounding_mode="floor")
        column = some - row * grid.columns.cells
        below = (row + 1).clamp_max(grid.rows.cells - 1) * grid.columns.cells
        beside = (column + 1).clamp_max(grid.columns.cells - 1)
        above = row * grid.columns.cells
        yield Blocks(
            number * at_once,
            row,
            column,
            (above + column, above + beside, below + column, below + beside),
            (top.index_select(0, row)[:, :, None], bottom.index_select(0, row)[:, :, None]),
            (left.index_select(0, column)[:, None, :], right.index_select(0, column)[:, None, :]),
            grid,
        )
