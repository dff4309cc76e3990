"""Maps of classes: the best class of every pixel of an upsampled stack of planes, whatever the size of the map.

transformers upsamples every class to the size of the image and takes an argmax: 7.3 GB for 150 classes at 12
megapixels. Here a class map is first taken at the size of the logits. A cell whose four corners have one winner, each
by more than rounding, is that winner's whole; in the others only classes that can win somewhere in the cell are
computed, and only at its pixels. Where two classes come within rounding, torch's own upsampling of those classes
decides. Where hardly a cell is settled (noise), classes are upsampled a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes, size_pairs
from .cell_blocks import blocks_of
from .contenders import SPARSE_COST, Contenders
from .upsampling import (
    SLACK,
    Pixels,
    Upsampling,
    goes_whole,
    least_slack,
    over_corners,
    resize_parts,
    resize_some,
    rounding,
)

Plane = Callable[[int], Tensor]


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


def _decide(
    labels: Tensor, planes: Tensor, contenders: Contenders, pixels: Pixels, size: tuple[int, int], exact: Plane | None
) -> None:
    """Write the winners of pixels whose best classes come within rounding, by torch's own values of these classes."""
    # A second look, with each value's own rounding: steps of the weighted sum of its corners' sizes.
    step, least = SLACK / 2 * torch.finfo(planes.dtype).eps, least_slack(planes.dtype)
    errors = (step * weight + least for _, _, weight in contenders.values(planes.abs(), pixels))
    values = [(*found, error) for found, error in zip(contenders.values(planes, pixels), errors, strict=True)]
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
