"""The best query of every pixel: masks upsampled, weighed and compared in tiles, no plane at full size ever written.

torch's form writes every upsampled plane and reads it three times (the product with the score, the threshold, the
maximum), and the host has to say which queries are kept. Here a tile of pixels keeps its best query in registers while
it goes through the kept ones, whose list and number stay on the device.

Maps must be torch's to the last pixel, so that the upsampled values must be torch's to the last bit. Which products and
sums its kernel fuses is its compiler's choice: ``fusion_of`` tries the possible ones on a device, once.
"""

from __future__ import annotations

import warnings
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .language import INTERPRETED, LAUNCH, asked_for, jit, on_current, tl

__all__ = ["Fusion", "PanopticTiles", "fusion_of", "panoptic_tiles", "panoptic_twin", "tiles_run", "upsampled_planes"]

TILE = 1024
"""Pixels of a program."""


class Fusion(NamedTuple):
    """Which operations of a bilinear value are one: 0 none, 1 the first product with the sum, 2 the second.

    place: of the source of a pixel, (i + .5) * scale - .5 (0 or 1). inner: of a row's two products; outer: of the two
    rows' products.
    """

    place: int = 0
    inner: int = 0
    outer: int = 0


class PanopticTiles(NamedTuple):
    """What the kept queries make of a picture of H x W; K slots, of which as many count as are kept.

    winners: [H, W] int32, the place of the best query among the kept, from 1; 0 where none is kept. areas: [K] int32,
    the pixels that each wins. covers: [K] int32, the pixels where each reaches the threshold.
    """

    winners: Tensor
    areas: Tensor
    covers: Tensor


def tiles_run(device: torch.device) -> bool:
    """Whether the kernel runs on this device and gives torch's values there."""
    if not asked_for(device):
        return False
    return INTERPRETED or (not torch.cuda.is_current_stream_capturing() and fusion_of(device) is not None)


def panoptic_tiles(
    planes: Tensor, scores: Tensor, order: Tensor, count: Tensor, size: tuple[int, int], threshold: float
) -> PanopticTiles:
    """Every pixel to the kept query with the largest probability times score; ties: the first; NaN is the largest.

    planes: [Q, h, w] float32 mask probabilities. scores: [Q] float32. order: [Q] int64, the queries with
    the kept ones first; count: [] int64, how many those are. size: (H, W). threshold: what is counted as covered.
    Cost: for each pixel and kept query four reads of a small plane, which stays in the cache, and one write of the map.
    Reads nothing on the host. Source: torch's bilinear upsampling without aligned corners.
    """
    queries, device = len(scores), planes.device
    winners = torch.empty(size, dtype=torch.int32, device=device)
    areas, covers = (torch.zeros(queries, dtype=torch.int32, device=device) for _ in range(2))
    fusion = Fusion() if INTERPRETED else fusion_of(device) or Fusion()
    with on_current(device):
        panoptic_kernel[(-(-winners.numel() // TILE),)](
            planes.contiguous(), scores.contiguous(), order.contiguous(), count, winners, areas, covers,
            *_sizes(planes, size),
            float(np.float32(threshold)), SAME=size == tuple(planes.shape[1:]),
            PLACE=fusion.place, INNER=fusion.inner, OUTER=fusion.outer, **LAUNCH,
        )  # fmt: skip
    return PanopticTiles(winners, areas, covers)


def panoptic_twin(planes: Tensor, scores: Tensor, order: Tensor, count: Tensor, threshold: float) -> PanopticTiles:
    """What the kernel does, in torch, of planes [Q, H, W] that are upsampled already."""
    slots = torch.arange(len(scores), device=planes.device)
    kept = (slots < count)[:, None, None]
    values = planes.index_select(0, order) * scores.index_select(0, order)[:, None, None]
    best = values.masked_fill(~kept, -torch.inf).argmax(dim=0)
    winners = torch.where(count > 0, best + 1, 0)
    areas = (winners == slots[:, None, None] + 1).sum(dim=(1, 2))
    covers = ((values >= threshold) & kept).sum(dim=(1, 2))
    return PanopticTiles(*(each.to(torch.int32) for each in (winners, areas, covers)))


def upsampled_planes(planes: Tensor, size: tuple[int, int], fusion: Fusion) -> Tensor:
    """The values that the kernel compares, [Q, H, W]: those of ``F.interpolate`` with the fusion of torch's kernel."""
    found = torch.empty(len(planes), *size, device=planes.device)
    tiles = -(-size[0] * size[1] // TILE)
    with on_current(planes.device):
        upsampled_kernel[(tiles, len(planes))](
            planes.contiguous(), found, *_sizes(planes, size), SAME=size == tuple(planes.shape[1:]),
            PLACE=fusion.place, INNER=fusion.inner, OUTER=fusion.outer, **LAUNCH,
        )  # fmt: skip
    return found


def upsampled_twin(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """The same in torch, nothing fused."""
    if size == tuple(planes.shape[1:]):
        return planes.clone()
    height, width, source_height, source_width, row_scale, column_scale = _sizes(planes, size)
    top, bottom, above, below = _corners(height, source_height, row_scale)
    left, right, before, behind = _corners(width, source_width, column_scale)
    upper = before * planes[:, top][:, :, left] + behind * planes[:, top][:, :, right]
    lower = before * planes[:, bottom][:, :, left] + behind * planes[:, bottom][:, :, right]
    return above[:, None] * upper + below[:, None] * lower


def _corners(target: int, source: int, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    place = ((torch.arange(target, dtype=torch.float32, device="cpu") + 0.5) * scale - 0.5).clamp_(min=0.0)
    first = place.int().long()
    share = place - first
    return first, (first + 1).clamp_(max=source - 1), 1.0 - share, share


def _sizes(planes: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int, float, float]:
    """Sizes as the kernels take them, and the scales as torch rounds them."""
    source_height, source_width = planes.shape[1:]
    scales = (float(np.float32(had) / np.float32(wanted)) for had, wanted in zip(planes.shape[1:], size, strict=True))
    return (*size, source_height, source_width, *scales)  # type: ignore[return-value]


@cache
def fusion_of(device: torch.device) -> Fusion | None:
    """The fusion with which the kernel's values are those of torch's upsampling on this device, bit for bit.

    None where there is none, or where triton does not run. Asked once a device; waits for it.
    """
    generator = torch.Generator().manual_seed(0)
    cases = [((17, 23), (61, 90)), ((25, 34), (480, 640)), ((40, 31), (37, 45)), ((96, 128), (333, 500))]
    planes = [torch.rand(2, *had, generator=generator, device="cpu").to(device) for had, _ in cases]
    expected = [
        F.interpolate(each[None], size=wanted, mode="bilinear", align_corners=False)[0]
        for each, (_, wanted) in zip(planes, cases, strict=True)
    ]
    try:
        for fusion in (Fusion(*chosen) for chosen in product((1, 0), (1, 2, 0), (1, 2, 0))):
            # The first case refuses most of them: the others are not looked at then.
            if all(
                torch.equal(upsampled_planes(each, wanted, fusion), its)
                for each, (_, wanted), its in zip(planes, cases, expected, strict=True)
            ):
                return fusion
    except Exception as error:  # whatever it is, torch's operations give the same maps
        warnings.warn(f"triton does not run on {device}, torch compares masks instead: {error!r}", stacklevel=2)
    return None


@jit
def summed(x, a, y, b, FUSED: tl.constexpr):
    """x * a + y * b, rounded three times or twice."""
    if FUSED == 1:
        return tl.fma(x, a, y * b)
    elif FUSED == 2:
        return tl.fma(y, b, x * a)
    else:
        return x * a + y * b


@jit
def corners(place, scale, source, PLACE: tl.constexpr):
    """The two neighbours of an output place along an axis, and their weights."""
    middle = place.to(tl.float32) + 0.5
    if PLACE == 1:
        at = tl.fma(middle, middle * 0.0 + scale, middle * 0.0 - 0.5)
    else:
        at = middle * scale - 0.5
    at = tl.maximum(at, 0.0)
    first = at.to(tl.int32)
    share = at - first.to(tl.float32)
    return first, tl.minimum(first + 1, source - 1), 1.0 - share, share


@jit
def grid(pixel, width, source_height, source_width, row_scale, column_scale, PLACE: tl.constexpr):
    """Of some pixels the places of their four corners in a plane, and the weights of rows and columns."""
    top, bottom, above, below = corners(pixel // width, row_scale, source_height, PLACE)
    left, right, before, behind = corners(pixel % width, column_scale, source_width, PLACE)
    upper, lower = top * source_width, bottom * source_width
    return upper + left, upper + right, lower + left, lower + right, above, below, before, behind


@jit
def bilinear(
    plane, there, a, b, c, d, above, below, before, behind, SAME: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr
):  # fmt: skip
    """The values of a plane at some pixels."""
    first = tl.load(plane + a, mask=there, other=0.0)
    if SAME:  # which torch copies: a neighbour of weight 0 is not looked at
        return first
    else:
        upper = summed(before, first, behind, tl.load(plane + b, mask=there, other=0.0), INNER)
        lower = summed(
            before,
            tl.load(plane + c, mask=there, other=0.0),
            behind,
            tl.load(plane + d, mask=there, other=0.0),
            INNER,
        )
        return summed(above, upper, below, lower, OUTER)


@jit
def panoptic_kernel(
    planes, scores, order, count, winners, areas, covers,
    height, width, source_height, source_width, row_scale, column_scale, threshold,
    SAME: tl.constexpr, PLACE: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr,
):  # fmt: skip
    """A tile of pixels: program (tile)."""
    pixel = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    there = pixel < height * width
    a, b, c, d, above, below, before, behind = grid(
        pixel, width, source_height, source_width, row_scale, column_scale, PLACE
    )
    best, winner = tl.full((1024,), -float("inf"), tl.float32), tl.full((1024,), 0, tl.int32)
    kept = tl.load(count).to(tl.int32)
    for place in range(kept):
        query = tl.load(order + place)
        plane = planes + query * source_height * source_width
        value = bilinear(plane, there, a, b, c, d, above, below, before, behind, SAME, INNER, OUTER)
        value = value * tl.load(scores + query)
        # NaN is the largest, and the first NaN stays.
        ahead = (value > best) | ((value != value) & (best == best)) | (winner == 0)
        best, winner = tl.where(ahead, value, best), tl.where(ahead, place + 1, winner)
        # Sums of whole numbers do not depend on the order in which tiles arrive.
        tl.atomic_add(covers + place, tl.sum(((value >= threshold) & there).to(tl.int32)), sem="relaxed")
    tl.store(winners + pixel, winner, mask=there)
    for place in range(kept):
        won = tl.sum(((winner == place + 1) & there).to(tl.int32))
        tl.atomic_add(areas + place, won, sem="relaxed")


@jit
def upsampled_kernel(
    planes, found, height, width, source_height, source_width, row_scale, column_scale,
    SAME: tl.constexpr, PLACE: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr,
):  # fmt: skip
    """A tile of a plane: program (tile, plane)."""
    pixel = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    there = pixel < height * width
    number = tl.program_id(1).to(tl.int64)
    a, b, c, d, above, below, before, behind = grid(
        pixel, width, source_height, source_width, row_scale, column_scale, PLACE
    )
    plane = planes + number * source_height * source_width
    value = bilinear(plane, there, a, b, c, d, above, below, before, behind, SAME, INNER, OUTER)
    tl.store(found + number * height * width + pixel, value, mask=there)
