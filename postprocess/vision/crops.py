"""Points and crops that "segment everything" asks a model about: a grid of points over the image and over its parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Crops:
    """The parts of an image that are looked at, the whole first. K crops."""

    boxes: Tensor  # [K, 4] int64: left, top, right, bottom
    layer: Tensor  # [K] int64: 0 for the whole, then 1, 2, ... as parts get smaller
    points: list[Tensor]  # K of [n * n, 2] float64: x, y in pixels of the crop as the model sees it


def point_grid(per_side: int) -> Tensor:
    """The centres of a grid of squares over the unit square, row by row: [per_side ** 2, 2] float64 x, y.

    >>> point_grid(2).tolist()
    [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    """
    if per_side < 1:
        raise ValueError(f"per_side must be at least 1; got {per_side}")
    offset = 1 / (2 * per_side)
    side = torch.from_numpy(np.linspace(offset, 1 - offset, per_side))
    return torch.stack((side.repeat(per_side), side.repeat_interleave(per_side)), dim=1)


def crop_boxes(size: tuple[int, int], *, layers: int = 0, overlap_ratio: float = 512 / 1500) -> tuple[Tensor, Tensor]:
    """The whole image and its overlapping parts: boxes [K, 4] (left, top, right, bottom) and the layer of each, [K].

    size: (height, width). Layer i has 2 ** i parts a side, which overlap by ``overlap_ratio`` of the shorter side of
    the image, less in deeper layers. Parts run down the columns, as in transformers.
    """
    height, width = size
    boxes, layer = [(0, 0, width, height)], [0]
    for depth in range(1, layers + 1):
        count = 2**depth
        overlap = int(overlap_ratio * min(size) * (2 / count))
        wide = math.ceil((overlap * (count - 1) + width) / count)
        high = math.ceil((overlap * (count - 1) + height) / count)
        for left, top in product(range(count), repeat=2):
            x, y = left * (wide - overlap), top * (high - overlap)
            boxes.append((x, y, min(x + wide, width), min(y + high, height)))
            layer.append(depth)
    return torch.tensor(boxes, device="cpu"), torch.tensor(layer, device="cpu")


def plan_crops(
    size: tuple[int, int],
    *,
    input_edge: int,
    layers: int = 0,
    points_per_side: int = 32,
    downscale: int = 1,
    overlap_ratio: float = 512 / 1500,
) -> Crops:
    """Crops and the points asked in each.

    size: (height, width). input_edge: the longer side of a crop as the model sees it. points_per_side of the whole; a
    layer deeper has ``downscale`` times fewer. transformers stacks the points of all crops, and stops where a downscale
    above 1 makes their numbers differ; here each crop has its own.
    """
    boxes, layer = crop_boxes(size, layers=layers, overlap_ratio=overlap_ratio)
    grids = [point_grid(int(points_per_side / downscale**depth)) for depth in range(layers + 1)]
    points = [
        _as_seen(grids[depth], (bottom - top, right - left), input_edge)
        for (left, top, right, bottom), depth in zip(boxes.tolist(), layer.tolist(), strict=True)
    ]
    return Crops(boxes, layer, points)


def _as_seen(grid: Tensor, size: tuple[int, int], input_edge: int) -> Tensor:
    """Points of a unit grid in pixels of a crop that is resized to ``input_edge``; sides rounded as there."""
    scale = input_edge * 1.0 / max(size)
    sides = [(int(side * scale + 0.5), side) for side in reversed(size)]
    return torch.stack([grid[:, axis] * old * (new / old) for axis, (new, old) in enumerate(sides)], dim=1)
