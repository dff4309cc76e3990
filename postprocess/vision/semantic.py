"""Maps of classes: the best class of every pixel of an upsampled stack of planes, whatever the size of the map.

transformers upsamples every class to the size of the image and takes an argmax: 7.3 GB for 150 classes at 12
megapixels. Here a class map is first taken at the size of the logits. A cell whose four corners have one winner, each
by more than rounding, is that winner's whole; in the others only classes that can win somewhere in the cell are
computed, and only at its pixels. Where two classes come within rounding, torch's own upsampling of those classes
decides. Where hardly a cell is settled (noise), classes are upsampled a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes, size_pairs
from .cell_blocks import Blocks, blocks_of
from .upsampling import (
    SLACK,
    Pixels,
    Upsampling,
    goes_whole,
    over_corners,
    resize_parts,
    resize_some,
    rounding,
    true_places,
)

Plane = Callable[[int], Tensor]
CELLS_AT_ONCE = 4096  # bounds the corners of all classes that are looked at together
SPARSE_COST = 5  # a value in a chosen cell costs as much as so many values of a whole plane


def semantic_maps(logits: Tensor, *, sizes: Sizes | None = None) -> list[Tensor]:
    """The class of every pixel of each image: B maps, [H, W] int64 each.

    logits: [B, C, h, w] float. sizes: (height, width) of each image; None keeps the size of the logits. Bilinear
    without aligned corners, then the largest; ties: the lower class; NaN is the largest, as in torch.
    Memory: a few planes of the image's size, never C of them.
    >>> semantic_maps(torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]]]]))[0]
    tensor([[1, 0]])
    """
    if logits.dim() != 4:
        raise ValueError(f"logits must be [B, C, h, w]; got shape {list(logits.shape)}")
    pairs = size_pairs(sizes, logits.shape[0])
    if pairs is None:
        return [_largest_of(planes) for planes in logits.detach()]
    return [class_map(planes, size) for planes, size in zip(logits, pairs, strict=True)]


def class_planes(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    mask_size: tuple[int, int] | None = None,
    keep_last: bool = False,
) -> Tensor:
    """The score of every class at every pixel, of models that give masks and the class of each: [B, C, h, w].

    class_logits: [B, Q, C + 1] float, the last class is "no object" and counts for nothing, unless ``keep_last``
    (Conditional DETR). mask_logits: [B, Q, h, w]. mask_size: masks are first resized to it; (384, 384) for Mask2Former.
    """
    if mask_size is not None:
        mask_logits = F.interpolate(mask_logits, size=mask_size, mode="bilinear", align_corners=False)
    classes = class_logits.softmax(dim=-1)
    classes = classes if keep_last else classes[..., :-1]
    return torch.einsum("bqc, bqhw -> bchw", classes, mask_logits.sigmoid())


def class_map(planes: Tensor, size: tuple[int, int], *, exact: Plane | None = None) -> Tensor:
    """The index of the largest upsampled plane at every pixel: [H, W] int64.

    planes: [C, h, w] float. size: (H, W). exact: plane by index at full size, where what counts is not ``planes``
    upsampled but something within a rounding step of it.
    """
    planes = planes.detach()  # what follows writes into results, which no gradient may pass
    usual = planes.device.type == "cpu" and planes.dtype in (torch.float32, torch.float64)
    enlarged = size[0] * size[1] >= 2 * planes.shape[1] * planes.shape[2] and min(planes.shape) > 0
    if not (usual and enlarged) or (exact is None and goes_whole(planes, size)):
        return _by_class(planes, size, None, exact)
    slack = rounding(planes)
    if slack == float("inf"):
        return _by_class(planes, size, None, exact)
    return _by_cell(planes, size, slack, exact)


def _by_cell(planes: Tensor, size: tuple[int, int], slack: float, exact: Plane | None) -> Tensor:
    """Each pixel's class [H, W] from logits [C, h, w] at a lower resolution, classes compared only where cells are
    open.

    A cell is settled where one class leads at all four corners by more than rounding (``slack``): interpolation cannot
    change that. Cost: one pass of the cells and of the pixels in open ones; noise goes class by class.
    """
    winner, open_cells = settle(planes, slack)
    grid = Upsampling.of((planes.shape[1], planes.shape[2]), size, planes.dtype)
    pixels_in = grid.pixels_in().flatten()
    open_cells &= pixels_in.view_as(open_cells) > 0
    crowded = int((open_cells.flatten() * pixels_in).sum()) * SPARSE_COST * 2
    if crowded > planes.shape[0] * size[0] * size[1]:
        return _by_class(planes, size, None, exact)  # noise: hardly a cell is settled, hardly a class is not possible
    if not crowded:
        return grid.spread(winner).long()
    contenders = Contenders.of(planes, winner, open_cells, slack)
    if contenders is None:
        return _by_class(planes, size, None, exact)
    classes = contenders.classes(winner)
    if contenders.values_of(pixels_in) * SPARSE_COST > len(classes) * size[0] * size[1]:
        return _by_class(planes, size, classes, exact)
    labels = grid.spread(winner).flatten()
    doubtful = []
    for blocks in blocks_of(grid, contenders.cells):
        found, close = contenders.best(planes, blocks)
        labels.scatter_(0, blocks.places().flatten(), found.flatten().to(labels.dtype))
        doubtful.append(blocks.pixels(close))
    if sum(map(len, doubtful)):
        _decide(labels, planes, contenders, Pixels.joined(doubtful), size, exact)
    return labels.view(size).long()


def settle(planes: Tensor, slack: float) -> tuple[Tensor, Tensor]:
    """The largest plane of every place, [h, w] int16 (from 2^15 planes int64), and the cells where a pixel might have
    another: [h, w] bool."""
    dtype = torch.int16 if planes.shape[0] < 2**15 else torch.int64
    best, winner = planes[0].clone(), torch.zeros_like(planes[0], dtype=dtype)
    second, lower = torch.full_like(best, -torch.inf), torch.empty_like(best)
    for index in range(1, planes.shape[0]):
        plane = planes[index]
        torch.maximum(second, torch.minimum(best, plane, out=lower), out=second)
        winner.masked_fill_(plane > best, index)
        torch.maximum(best, plane, out=best)
    # Doubtful places count as a class of their own, so that one comparison tells both.
    sure = torch.where(best - second > slack, winner, -1)
    least, most = over_corners(sure, torch.minimum), over_corners(sure, torch.maximum)
    return winner, (least != most) | (least < 0)


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
        slacks = largest * (SLACK * torch.finfo(planes.dtype).eps)
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


def _decide(
    labels: Tensor, planes: Tensor, contenders: Contenders, pixels: Pixels, size: tuple[int, int], exact: Plane | None
) -> None:
    """Write the winners of pixels whose best classes come within rounding, by torch's own values of these classes."""
    # A second look, with each value's own rounding: steps of the weighted sum of its corners' sizes.
    step = SLACK / 2 * torch.finfo(planes.dtype).eps
    sizes = (weight for _, _, weight in contenders.values(planes.abs(), pixels))
    values = [(*found, step * weight) for found, weight in zip(contenders.values(planes, pixels), sizes, strict=True)]
    floor = torch.full(pixels.place.shape, -torch.inf, dtype=planes.dtype, device="cpu")
    for live, _, value, error in values:
        torch.maximum(floor[:live], value - error, out=floor[:live])
    rivals = torch.zeros_like(pixels.place)
    for live, _, value, error in values:
        rivals[:live] += value + error >= floor[:live]
    open_pixels = rivals > 1
    close = [label[(value + error >= floor[:live]) & open_pixels[:live]] for live, label, value, error in values]
    best = torch.full_like(floor, -torch.inf)
    winner = labels.index_select(0, pixels.place).long()
    for label in torch.unique(torch.cat(close)).tolist():
        plane = exact(label) if exact else next(resize_some(planes, [label], size))[1]
        value = plane.flatten().index_select(0, pixels.place)
        winner[(value > best) & open_pixels] = label
        best = torch.maximum(best, value)
    labels.scatter_(0, pixels.place, winner.to(labels.dtype))


def _by_class(planes: Tensor, size: tuple[int, int], classes: list[int] | None, exact: Plane | None) -> Tensor:
    """The classes at full size, a few at a time; None means all."""
    if exact is not None:
        return first_largest(lambda: ((index, exact(index)[None]) for index in classes or range(planes.shape[0])))
    if classes is None:
        return first_largest(lambda: resize_parts(planes, size))
    found = first_largest(lambda: resize_some(planes, classes, size))
    return torch.tensor(classes, device=planes.device)[found]


def _largest_of(planes: Tensor) -> Tensor:
    return first_largest(lambda: [(0, planes)])


def first_largest(parts: Callable[[], Iterable[tuple[int, Tensor]]]) -> Tensor:
    """The index of the first largest of planes that come in parts, [H, W] int64; NaN is the largest.

    parts: what gives the parts, (index of the first, [c, H, W]) in ascending order; asked again if there is NaN.
    """
    best = winner = None
    for first, part in parts():
        if part.device.type != "cpu":
            best, winner = _larger(best, winner, part, first)
            continue
        for index, plane in enumerate(part, first):
            if best is None or winner is None:
                best, winner = plane.clone(), torch.full(plane.shape, index, dtype=torch.int16, device="cpu")
                continue
            winner.masked_fill_(plane > best, index)
            torch.maximum(best, plane, out=best)
    if best is None or winner is None:
        raise ValueError("logits must have at least one class; got none")
    labels = winner.long()
    if best.device.type == "cpu" and best.is_floating_point() and bool(best.sum().isnan()):
        _first_nan(labels, best, parts())
    return labels


def _larger(best: Tensor | None, winner: Tensor | None, part: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """On a device: the largest of what there was and of a part, by one reduction that reads the part once.

    There torch's largest is the first of its kind, and NaN.
    """
    value, index = part.max(dim=0)
    if best is None or winner is None:
        return value, index + first
    ahead = (value > best) | (value.isnan() & ~best.isnan())
    return torch.where(ahead, value, best), torch.where(ahead, index + first, winner)


def _first_nan(labels: Tensor, best: Tensor, parts: Iterable[tuple[int, Tensor]]) -> None:
    """Pixels of NaN get the first class that is NaN there."""
    open_pixels = best.isnan()
    for first, part in parts:
        for index, plane in enumerate(part, first):
            now = open_pixels & plane.isnan()
            labels.masked_fill_(now, index)
            open_pixels &= ~now
