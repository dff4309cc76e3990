"""Boxes: formats, scaling to an image, clipping, areas and overlaps. Leading axes are free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
Sizes = Tensor | Sequence[Sequence[int]]
FORMATS = ("xyxy", "xywh", "cxcywh")


def convert_boxes(boxes: Tensor, source: BoxFormat, target: BoxFormat) -> Tensor:
    """Boxes of one format in another.

    boxes: [..., 4] float or integer. Formats: "xyxy" (left, top, right, bottom), "xywh" (left, top, width, height) and
    "cxcywh" (centre, width, height). cxcywh to xyxy is computed as transformers does it, ``centre -+ 0.5 * size``, and
    back as ``(left + right) / 2``; going through xyxy keeps each of the others bit for bit as well.
    >>> convert_boxes(torch.tensor([[0.5, 0.5, 0.2, 0.4]]), "cxcywh", "xyxy")
    tensor([[0.4000, 0.3000, 0.6000, 0.7000]])
    """
    _check_boxes("boxes", boxes)
    for name, value in (("source", source), ("target", target)):
        if value not in FORMATS:
            raise ValueError(f"{name} must be one of {', '.join(FORMATS)}; got {value!r}")
    if source == target:
        return boxes
    return _from_corners(_to_corners(boxes, source), target)


def _to_corners(boxes: Tensor, source: BoxFormat) -> Tensor:
    if source == "xyxy":
        return boxes
    first, size = boxes[..., :2], boxes[..., 2:]
    if source == "xywh":
        return torch.cat((first, first + size), dim=-1)
    half = 0.5 * size
    return torch.cat((first - half, first + half), dim=-1)


def _from_corners(boxes: Tensor, target: BoxFormat) -> Tensor:
    low, high = boxes[..., :2], boxes[..., 2:]
    if target == "xyxy":
        return boxes
    first = low if target == "xywh" else (low + high) / 2
    return torch.cat((first, high - low), dim=-1)


def scale_boxes(boxes: Tensor, sizes: Sizes, *, square: bool = False, as_float: bool = False) -> Tensor:
    """Relative boxes in pixels of their images.

    boxes: [B, N, 4] of any format whose values alternate x, y. sizes: (height, width) of each image, a [B, 2] tensor or
    a list. square=True scales both axes by the longer side, for processors that pad to a square (OWLv2). as_float reads
    a list as float32, so that boxes in bfloat16 come out in float32 (DETR and its kin); else their dtype stays.
    >>> scale_boxes(torch.tensor([[[0.0, 0.25, 0.5, 1.0]]]), [(100, 200)])
    tensor([[[  0.,  25., 100., 100.]]])
    """
    _check_boxes("boxes", boxes)
    return boxes * box_scales(sizes, boxes.shape[0], square=square, as_float=as_float).to(boxes.device)[:, None]


def box_scales(sizes: Sizes, count: int, *, square: bool = False, as_float: bool = False) -> Tensor:
    """What the values of a relative box of each image are multiplied by, [B, 4]; see `scale_boxes`."""
    height, width = size_columns(sizes, count, as_float=as_float)
    if square:
        height = width = torch.maximum(height, width)
    return torch.stack((width, height, width, height), dim=1)


def size_columns(sizes: Sizes, count: int, *, as_float: bool = False) -> tuple[Tensor, Tensor]:
    """Heights [B] and widths [B] of ``count`` images; see `scale_boxes`."""
    if isinstance(sizes, Tensor):
        values = sizes
    else:
        rows = [tuple(size) for size in sizes]
        values = torch.tensor(rows, dtype=torch.float32 if as_float else None, device="cpu").reshape(len(rows), -1)
    if values.dim() != 2 or values.shape != (count, 2):
        raise ValueError(f"sizes must be (height, width) of each of {count} images; got shape {list(values.shape)}")
    height, width = values.unbind(1)
    return height, width


def size_pairs(sizes: Sizes | None, count: int) -> list[tuple[int, int]] | None:
    """(height, width) of each of ``count`` images as Python integers; None stays None."""
    if sizes is None:
        return None
    rows = sizes.tolist() if isinstance(sizes, Tensor) else [tuple(size) for size in sizes]
    if len(rows) != count or any(len(row) != 2 for row in rows):
        raise ValueError(f"sizes must be (height, width) of each of {count} images; got {rows}")
    pairs = [(int(row[0]), int(row[1])) for row in rows]
    for index, pair in enumerate(pairs):
        if min(pair) < 1:
            raise ValueError(f"sizes must be at least 1; got {pair} in row {index}")
    return pairs


def clip_boxes(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Corners moved into their image.

    boxes: [N, 4] xyxy. sizes: [N, 2] (height, width) of the image of each box. transformers never clips: a box may
    reach beyond its image there.
    >>> clip_boxes(torch.tensor([[-5.0, 2.0, 30.0, 8.0]]), torch.tensor([[10, 20]]))
    tensor([[ 0.,  2., 20.,  8.]])
    """
    _check_boxes("boxes", boxes)
    most = sizes.to(boxes.device, boxes.dtype)[..., [1, 0, 1, 0]]
    return torch.minimum(boxes.clamp_min(0), most)


def box_areas(boxes: Tensor) -> Tensor:
    """Area of each box. boxes: [..., 4] xyxy; returns [...], negative where one side is reversed."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every box with every other: [..., N, 4] and [..., M, 4] xyxy give [..., N, M].

    Computed as torchvision and transformers do. Two boxes without any area give NaN.
    >>> pairwise_iou(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 3.0, 1.0]]))
    tensor([[0.3333]])
    """
    inter = _intersections(first, second)
    return inter / (box_areas(first)[..., :, None] + box_areas(second)[..., None, :] - inter)


def _intersections(first: Tensor, second: Tensor) -> Tensor:
    low = torch.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = torch.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    sides = (high - low).clamp_min(0)
    return sides[..., 0] * sides[..., 1]


def pairwise_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over the smaller of two areas, as `pairwise_iou`: 1 where one box holds the other."""
    smaller = torch.minimum(box_areas(first)[..., :, None], box_areas(second)[..., None, :])
    return _intersections(first, second) / smaller


def whole_pixels(boxes: Tensor) -> Tensor:
    """Coordinates cut toward zero, int32: what the pipelines of transformers report."""
    return boxes.int()


def _check_boxes(name: str, boxes: Tensor) -> None:
    if boxes.dim() < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"{name} must be [..., 4]; got shape {list(boxes.shape)}")
