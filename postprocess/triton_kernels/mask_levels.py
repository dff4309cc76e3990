"""What mask generation asks of upsampled mask logits, from one read: the mask, its area at two levels, its box.

torch's form reads the logits three times (the mask, and the areas above and below it) and the mask once for each side.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .language import INTERPRETED, LAUNCH, asked_for, jit, on_current, tl

__all__ = ["MaskLevels", "levels_run", "mask_levels", "mask_levels_twin"]

TILE = 1024
"""Pixels of a program."""


class MaskLevels(NamedTuple):
    """Of N masks: themselves, [N, H, W] bool; their pixels above the higher and the lower level, [N] int32; their
    boxes, left, top, right, bottom, all included, zeros if empty, [N, 4] int64."""

    masks: Tensor
    high: Tensor
    low: Tensor
    boxes: Tensor


def levels_run(masks: Tensor) -> bool:
    """Whether the kernel takes these logits, and runs on their device."""
    if masks.dtype != torch.float32 or not masks.is_contiguous() or not asked_for(masks.device):
        return False
    return INTERPRETED or (not torch.cuda.is_current_stream_capturing() and _works(masks.device))


def mask_levels(logits: Tensor, level: float, offset: float) -> MaskLevels:
    """Masks where logits [N, H, W] float32 are above ``level``, and their areas above ``level`` + and - ``offset``.

    Cost: one read of the logits and one write of the masks. NaN is above nothing. Reads nothing on the host.
    """
    count, height, width = logits.shape
    masks = torch.empty(logits.shape, dtype=torch.bool, device=logits.device)
    areas = torch.zeros(2, count, dtype=torch.int32, device=logits.device)
    # Sides as minima: those of the far sides are negative.
    sides = torch.full((count, 4), 2**30, dtype=torch.int32, device=logits.device)
    levels = [float(np.float32(each)) for each in (level, level + offset, level - offset)]
    with on_current(logits.device):
        tiles = -(-height * width // TILE)
        mask_levels_kernel[(tiles * count,)](
            logits.detach().contiguous(), masks, areas, sides, tiles, count, height * width, width, *levels, **LAUNCH
        )
    some = (sides[:, 0] < 2**30)[:, None]
    sign = torch.cat((torch.ones_like(sides[:, :2]), -torch.ones_like(sides[:, 2:])), dim=1)
    return MaskLevels(masks, areas[0], areas[1], sides.long() * sign * some)


def mask_levels_twin(logits: Tensor, level: float, offset: float) -> MaskLevels:
    """What the kernel does, in torch."""
    masks = logits > level
    high, low = ((logits > level + step).flatten(1).sum(dim=1, dtype=torch.int32) for step in (offset, -offset))
    boxes = torch.zeros(len(masks), 4, dtype=torch.int64, device=logits.device)
    for number, mask in enumerate(masks):
        row, column = mask.nonzero(as_tuple=True)
        if len(row):
            boxes[number] = torch.stack((column.min(), row.min(), column.max(), row.max()))
    return MaskLevels(masks, high, low, boxes)


@cache
def _works(device: torch.device) -> bool:
    """Whether a launch comes back from this device, asked once."""
    try:
        return int(mask_levels(torch.ones(1, 2, 2, device=device), 0.0, 0.5).high) == 4
    except Exception as error:  # whatever it is, torch's operations give the same masks
        warnings.warn(f"triton does not run on {device}, torch compares masks instead: {error!r}", stacklevel=2)
        return False


@jit
def mask_levels_kernel(logits, masks, areas, sides, tiles, count, pixels, width, level, high, low):
    """A tile of a mask: program (mask, tile), in one axis, for the others of a grid end at 65,535."""
    number = (tl.program_id(0) // tiles).to(tl.int64)
    pixel = tl.program_id(0) % tiles * 1024 + tl.arange(0, 1024)
    there = pixel < pixels
    x = tl.load(logits + number * pixels + pixel, mask=there, other=-float("inf"))
    inside = x > level
    tl.store(masks + number * pixels + pixel, inside, mask=there)
    tl.atomic_add(areas + number, tl.sum((x > high).to(tl.int32)), sem="relaxed")
    tl.atomic_add(areas + count + number, tl.sum((x > low).to(tl.int32)), sem="relaxed")
    row, column = pixel // width, pixel % width
    # Minima and sums do not depend on the order in which tiles arrive.
    tl.atomic_min(sides + number * 4, tl.min(tl.where(inside, column, 2**30)), sem="relaxed")
    tl.atomic_min(sides + number * 4 + 1, tl.min(tl.where(inside, row, 2**30)), sem="relaxed")
    tl.atomic_min(sides + number * 4 + 2, tl.min(tl.where(inside, -column, 2**30)), sem="relaxed")
    tl.atomic_min(sides + number * 4 + 3, tl.min(tl.where(inside, -row, 2**30)), sem="relaxed")
