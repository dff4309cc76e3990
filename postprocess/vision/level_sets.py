"""Where an upsampled plane lies above a level: pixel counts and masks, from the cells that the level cuts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .upsampling import Upsampling, over_corners, true_places


def count_above(plane: Tensor, size: tuple[int, int], level: float, slack: float, exact: Callable[[], Tensor]) -> int:
    """Pixels of an upsampled plane at or above a level.

    plane: [h, w] float32 or float64, to within a rounding step of what is upsampled. slack: `rounding` of the plane.
    exact: the plane [H, W] as torch computes it; asked for only where a value comes within rounding of the level, or
    where nothing is to be gained.
    """
    usual = plane.device.type == "cpu" and plane.dtype in (torch.float32, torch.float64)
    if not usual or slack == float("inf") or size[0] * size[1] < 2 * plane.numel():
        return int((exact() >= level).sum())
    inside, cut = split_cells(plane, level, slack)
    grid = Upsampling.of((plane.shape[0], plane.shape[1]), size, plane.dtype)
    total = grid.count(inside)
    flat = plane.flatten()
    for pixels in grid.pixels_of(true_places(cut)):
        values = pixels.values(flat)
        if bool(((values - level).abs() <= slack).any()):
            return int((exact() >= level).sum())
        total += int((values > level).sum())
    return total


def split_cells(plane: Tensor, level: float, slack: float) -> tuple[Tensor, Tensor]:
    """Cells that lie above a level whole, and cells that may lie on both sides: [..., h, w] bool each."""
    inside = over_corners(plane > level + slack, torch.logical_and)
    outside = over_corners(plane < level - slack, torch.logical_and)
    return inside, ~(inside | outside)
