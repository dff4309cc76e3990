"""Bilinear upsampling as torch computes it: which corners and weights an output pixel has, and what follows from them.

An output pixel lies in a cell of four neighbouring inputs and is their weighted mean, so that what holds for the four
corners by more than rounding holds for every pixel of the cell. Most cells of a mask or of a map of classes are settled
that way; only the pixels of the others need values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..transfers import sent

# A value is four products and three sums of inputs up to M: computed with fused or with plain rounding, it is within
# 4 steps of M. The difference of two is within 8 of the one that torch computes; a factor on top adds 2.
SLACK = 10
PIXELS_AT_ONCE = 1 << 18  # output pixels that are looked at together
CHUNK_BYTES = 1 << 22  # output of the planes that are upsampled at once on the CPU
DEVICE_CHUNK_BYTES = 1 << 28  # and on another device


@dataclass(frozen=True)
class Axis:
    """What an upsampled axis reads. O outputs."""

    first: Tensor  # [O] int64, the lower of the two inputs: the cell
    second: Tensor  # [O] int64, the higher; the same at the last input
    weight_first: Tensor  # [O], the dtype of the computation
    weight_second: Tensor  # [O]
    start: Tensor  # [cells] int64, the first output of each cell
    count: Tensor  # [cells] int64, the outputs of each cell: they follow one another

    @property
    def cells(self) -> int:
        """How many cells the axis has."""
        return len(self.start)

    def ranges(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """The first output and the number of outputs of chosen cells."""
        return self.start.index_select(0, at), self.count.index_select(0, at)


@lru_cache(maxsize=64)
def linear_axis(source: int, target: int, dtype: torch.dtype) -> Axis:
    """The inputs and weights of ``F.interpolate(mode="bilinear", align_corners=False)`` along one axis.

    The weights are read off torch's own result for three rows, each one at every third place: they are exact whatever
    it multiplies and rounds. Do not write into the result: it is kept.
    """
    thirds = (torch.arange(source, device="cpu") % 3 == torch.arange(3, device="cpu")[:, None]).to(dtype)
    held = torch.stack([resize(row.view(1, 1, -1), (1, target))[0, 0] for row in thirds])  # [3, O]
    place = ((torch.arange(target, dtype=torch.float64, device="cpu") + 0.5) * (source / target) - 0.5).clamp(
        0, source - 1
    )
    # Near a whole place, rounding decides between two cells: the third place has no weight in the one that torch took.
    guesses = (
        (place.floor() + torch.tensor([[0.0], [-1.0], [1.0]], dtype=torch.float64, device="cpu"))
        .clamp(0, source - 1)
        .long()
    )
    weights, others = held.gather(0, (guesses + 1) % 3), held.gather(0, (guesses + 2) % 3)
    best = ((guesses + weights - place).abs() + 4 * (others != 0)).argmin(dim=0, keepdim=True)
    first = guesses.gather(0, best)[0]
    second = (first + 1).clamp_max(source - 1)
    count = torch.bincount(first, minlength=source)
    weight_first, weight_second = (held.gather(0, ((first + step) % 3)[None])[0] for step in (0, 1))
    return Axis(first, second, weight_first, weight_second, count.cumsum(0) - count, count)


@dataclass(frozen=True)
class Upsampling:
    """An upsampling of [h, w] planes to [H, W]."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, source: tuple[int, int], target: tuple[int, int], dtype: torch.dtype) -> Upsampling:
        """From ``source`` to ``target``, each (height, width), with weights in the type that torch interpolates in."""
        return cls(linear_axis(source[0], target[0], dtype), linear_axis(source[1], target[1], dtype))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what it is enlarged to."""
        return len(self.rows.first), len(self.columns.first)

    def spread(self, cells: Tensor) -> Tensor:
        """A value per cell [h, w] as a value per pixel [H, W]."""
        return cells.index_select(1, self.columns.first).index_select(0, self.rows.first)

    def pixels_in(self) -> Tensor:
        """[h, w] int64: the pixels of each cell."""
        return self.rows.count[:, None] * self.columns.count[None, :]

    def count(self, cells: Tensor) -> int:
        """The pixels of all cells of a [h, w] bool mask."""
        # A column's pixels are at most H, which float32 holds exactly; a product of floats is three times as fast.
        of_columns = self.rows.count.float() @ cells.float()
        return int((of_columns.long() * self.columns.count).sum())

    def pixels_of(self, cells: Tensor) -> Iterator[Pixels]:
        """The pixels of cells (row * w + column) in their order, some cells at a time."""
        row = torch.div(cells, self.columns.cells, rounding_mode="floor")
        column = cells - row * self.columns.cells
        (top, height), (left, width) = (axis.ranges(at) for axis, at in ((self.rows, row), (self.columns, column)))
        counts = height * width
        ends = counts.cumsum(0)
        first = 0
        while first < len(cells):
            done = int(ends[first - 1]) if first else 0
            last = max(int(torch.searchsorted(ends, done + PIXELS_AT_ONCE, right=True)), first + 1)
            part = slice(first, last)
            owner = torch.repeat_interleave(torch.arange(first, last, device="cpu"), counts[part])
            if len(owner):
                step = torch.arange(len(owner), device="cpu") - (ends - counts - done).index_select(0, owner)
                wide = width.index_select(0, owner)
                down = torch.div(step, wide, rounding_mode="floor")
                yield self.pixels_at(
                    top.index_select(0, owner) + down, left.index_select(0, owner) + step - down * wide, owner
                )
            first = last

    def pixels_at(self, row: Tensor, column: Tensor, owner: Tensor) -> Pixels:
        """The pixels at (row, column) [P] with the places of their four corners and the weights of both directions."""
        rows, columns = self.rows, self.columns
        top, bottom = (side.index_select(0, row) * columns.cells for side in (rows.first, rows.second))
        left, right = (side.index_select(0, column) for side in (columns.first, columns.second))
        return Pixels(
            row * self.size[1] + column,
            owner,
            (top + left, top + right, bottom + left, bottom + right),
            (rows.weight_first.index_select(0, row), rows.weight_second.index_select(0, row)),
            (columns.weight_first.index_select(0, column), columns.weight_second.index_select(0, column)),
        )


@dataclass(frozen=True)
class Pixels:
    """Chosen output pixels with what each reads. P pixels."""

    place: Tensor  # [P] int64, row * W + column
    cell: Tensor  # [P] int64, which of the cells asked for
    corners: tuple[Tensor, Tensor, Tensor, Tensor]  # [P] int64 each: places in a plane of h * w values
    row_weights: tuple[Tensor, Tensor]  # [P] each
    column_weights: tuple[Tensor, Tensor]  # [P] each

    def __len__(self) -> int:
        return len(self.place)

    def columns(self) -> tuple[Tensor, ...]:
        """Its ten columns, each [P]."""
        return (self.place, self.cell, *self.corners, *self.row_weights, *self.column_weights)

    @classmethod
    def from_columns(cls, columns: list[Tensor]) -> Pixels:
        """From ten columns in the order of ``columns``."""
        place, cell, a, b, c, d, top, bottom, left, right = columns
        return cls(place, cell, (a, b, c, d), (top, bottom), (left, right))

    @classmethod
    def joined(cls, parts: list[Pixels]) -> Pixels:
        """Several one after another."""
        return cls.from_columns([torch.cat(column) for column in zip(*(part.columns() for part in parts), strict=True)])

    def select(self, index: Tensor) -> Pixels:
        """The pixels at ``index`` [M]."""
        return self.from_columns([column.index_select(0, index) for column in self.columns()])

    def first(self, count: int) -> Pixels:
        """The first ``count`` pixels, over the same memory."""
        return self.from_columns([column[:count] for column in self.columns()])

    def values(self, planes: Tensor, offset: Tensor | int = 0) -> Tensor:
        """[P] values of flat planes, to within rounding of torch's. offset: where the plane of each pixel begins."""
        (a, b, c, d), (top, bottom), (left, right) = self.corners, self.row_weights, self.column_weights
        upper = planes.index_select(0, a + offset) * left + planes.index_select(0, b + offset) * right
        lower = planes.index_select(0, c + offset) * left + planes.index_select(0, d + offset) * right
        return upper * top + lower * bottom


def true_places(mask: Tensor) -> Tensor:
    """The places of True in a bool mask, by rows: [N] int64. numpy finds them five times as fast as torch's nonzero."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def over_corners(values: Tensor, combine: Callable[..., Tensor]) -> Tensor:
    """What ``combine`` (such as torch.minimum) makes of the four corners of every cell of [..., h, w] planes."""
    across = values.clone()
    combine(values[..., :-1], values[..., 1:], out=across[..., :-1])
    down = across.clone()
    combine(across[..., :-1, :], across[..., 1:, :], out=down[..., :-1, :])
    return down


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Planes [C, h, w] at [C, H, W]: the call of transformers."""
    return F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]


def goes_whole(planes: Tensor, size: tuple[int, int]) -> bool:
    """Whether torch's last bits depend on which planes a call is given together.

    Its CPU kernel computes eight planes as a vector, the rest one by one, for outputs of H + W <= 128 and planes in
    channels-last order, and has a way of its own for three planes in one thread.
    """
    return size[0] + size[1] <= 128 or planes.shape[0] == 3 or not planes.is_contiguous()


def resize_parts(planes: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """`resize` a few planes at a time, bit for bit: (index of the first, [c, H, W]).

    A part is overwritten by the next.
    """
    if planes.device.type != "cpu":
        step = max(1, DEVICE_CHUNK_BYTES // (size[0] * size[1] * planes.element_size()))
        yield from ((first, resize(planes[first : first + step], size)) for first in range(0, planes.shape[0], step))
        return
    if goes_whole(planes, size):
        yield from _resize_apart(planes, size)
    else:
        yield from _resize_few(planes, size)


def _resize_few(planes: Tensor, size: tuple[int, int], out: Tensor | None = None) -> Iterator[tuple[int, Tensor]]:
    """Any number of planes but three at a time, so that torch takes its usual way; into ``out`` [1, C, H, W] if given.

    A part is overwritten by the next otherwise.
    """
    # Reused memory of a few MB stays in cache; fresh memory costs as much as the upsampling.
    step = max(1, CHUNK_BYTES // (size[0] * size[1] * planes.element_size()))
    step = min(2 if step == 3 else step, max(planes.shape[0], 1))
    held = planes.new_empty(1, step, *size) if out is None else out
    planes, first = planes.detach(), 0
    while first < planes.shape[0]:
        count = min(step, planes.shape[0] - first)
        count = 2 if count == 3 else count
        part = held[:, :count] if out is None else held[:, first : first + count]
        torch.ops.aten.upsample_bilinear2d.out(planes[None, first : first + count], size, False, None, None, out=part)
        yield first, part[0]
        first += count


def _resize_apart(planes: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """At once; or, where planes are many and large, in parts that keep their order in memory and whole vectors."""
    last = planes[None].is_contiguous(memory_format=torch.channels_last) and planes.shape[0] > 32
    if not last or size[0] * size[1] * planes.shape[0] < CHUNK_BYTES:
        yield 0, resize(planes, size)
        return
    for first in range(0, planes.shape[0], 32):
        part = planes[None, first : first + 32]
        yield first, resize(part.contiguous(memory_format=torch.channels_last)[0], size)


def resize_some(planes: Tensor, index: list[int], size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Some planes of a stack as `resize` of the whole stack gives them: (place in ``index``, [c, H, W])."""
    if index == [*range(planes.shape[0])]:
        yield from resize_parts(planes, size)
    elif goes_whole(planes, size):
        yield 0, resize(planes, size)[index]
    else:
        yield from _resize_few(planes[index], size)


def resize_chosen(planes: Tensor, index: list[int], size: tuple[int, int]) -> Tensor:
    """`resize_some` in one tensor, laid out in memory as the resize of the whole stack is."""
    if planes.device.type != "cpu":
        return resize(planes.index_select(0, sent(torch.tensor(index, device="cpu"), planes.device)), size)
    if goes_whole(planes, size):
        return resize(planes, size)[index]
    found = planes.new_empty(1, len(index), *size)
    for _ in _resize_few(planes[index], size, found):
        pass
    return found[0]


def rounding(planes: Tensor) -> float:
    """How far two values computed from the planes may be from what they stand for; inf where values are not finite."""
    if planes.numel() == 0:
        return 0.0
    low, high = planes.aminmax()
    most = float(torch.maximum(low.abs(), high.abs()))
    return SLACK * torch.finfo(planes.dtype).eps * most + least_slack(planes.dtype) if most < math.inf else math.inf


def least_slack(dtype: torch.dtype) -> float:
    """The same where the values are next to nothing: there a step is the smallest number, whatever the size."""
    return SLACK * torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
