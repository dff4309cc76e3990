"""Boxes of several passes (tiles, models, flips) made one: weighted box fusion, and tiles put back into their image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .boxes import pairwise_iou
from .detections import Detections, merge_images
from .nms import _groups, float_boxes, padded_groups, suppress


@dataclass(frozen=True)
class FusedBoxes:
    """Boxes fused from several, by group and then in the order in which they were begun. F boxes."""

    boxes: Tensor  # [F, 4] xyxy
    scores: Tensor  # [F]
    counts: Tensor  # [F] int64, the boxes that each is made of
    groups: Tensor  # [F] int64


def fuse_boxes(
    boxes: Tensor,
    scores: Tensor,
    *,
    iou_threshold: float = 0.55,
    groups: Tensor | None = None,
    passes: int | None = None,
) -> FusedBoxes:
    """Weighted box fusion: boxes that overlap become their mean, weighted by their scores.

    boxes: [N, 4] xyxy. scores: [N] above 0. groups: [N] int64, such as labels; only boxes of one group are fused. By
    descending score (ties: as they come) a box joins the fused box of its group that it overlaps most, if by more than
    ``iou_threshold``, or begins one; a fused box is the mean of its members weighted by their scores, and its score the
    mean. passes: the number of passes; a fused box found by fewer loses score in proportion. None leaves scores alone.
    Cost: as many steps as the largest group has boxes, all groups at once.
    Source: Solovyev et al. 2021, arXiv:1910.13302.
    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 12]])
    >>> fused = fuse_boxes(boxes, torch.tensor([0.75, 0.25]))
    >>> fused.boxes.tolist(), fused.scores.tolist(), fused.counts.tolist()
    ([[0.0, 0.0, 10.0, 10.5]], [0.5], [2])
    """
    if boxes.shape != (len(scores), 4):
        raise ValueError(f"boxes must be [{len(scores)}, 4]; got shape {list(boxes.shape)}")
    order = scores.argsort(descending=True, stable=True)
    owner = torch.zeros_like(order) if groups is None else groups[order]
    rows = padded_groups(owner)
    state = _Clusters.empty(rows.shape, boxes.device)
    there = rows >= 0
    member = order[rows.clamp_min(0)] if len(order) else rows
    wide, weight = float_boxes(boxes), scores.float()
    for step in range(rows.shape[1]):
        state.add(wide[member[:, step]], weight[member[:, step]], there[:, step], iou_threshold)
    live = state.count > 0
    mean = (state.weight / state.count)[live]
    if passes is not None:
        mean = mean * state.count[live].clamp_max(passes) / passes
    values = torch.unique(owner)
    return FusedBoxes(state.boxes[live], mean, state.count[live].long(), values[live.nonzero()[:, 0]])


class _Clusters:
    """Fused boxes of G groups, up to M each, in growth."""

    def __init__(self, boxes: Tensor, weight: Tensor, count: Tensor) -> None:
        self.boxes = boxes  # [G, M, 4]
        self.weight = weight  # [G, M], the sum of scores
        self.count = count  # [G, M] float

    @classmethod
    def empty(cls, shape: torch.Size, device: torch.device) -> _Clusters:
        return cls(*(torch.zeros(*shape, *more, device=device) for more in ((4,), (), ())))

    def add(self, box: Tensor, score: Tensor, there: Tensor, iou_threshold: float) -> None:
        """One box of each group: [G, 4], [G], and whether the group has one more, [G] bool."""
        overlap = pairwise_iou(box[:, None], self.boxes)[:, 0].nan_to_num(0.0)
        overlap = torch.where(self.count > 0, overlap, -1.0)
        best, place = overlap.max(dim=1)
        place = torch.where(best > iou_threshold, place, (self.count > 0).sum(dim=1))
        group, place = there.nonzero()[:, 0], place[there]
        weight, joined = self.weight[group, place], score[there]
        total = weight + joined
        mixed = self.boxes[group, place] * weight[:, None] + box[there] * joined[:, None]
        self.boxes[group, place] = mixed / total[:, None]
        self.weight[group, place] = total
        self.count[group, place] += 1


def fuse(
    detections: Detections, *, iou_threshold: float = 0.55, per_label: bool = True, passes: int | None = None
) -> Detections:
    """Detections with overlapping boxes of an image fused, best first; the query of a fused box is -1.

    per_label=False fuses boxes of different labels, under the label of the best.
    """
    groups = _groups(detections, per_label)
    found = fuse_boxes(detections.boxes, detections.scores, iou_threshold=iou_threshold, groups=groups, passes=passes)
    # Any box of a group tells its image, and the best of it its label.
    best_first = detections.scores.argsort(descending=True, stable=True)
    order = best_first[groups[best_first].argsort(stable=True)]
    example = order[torch.searchsorted(groups[order], found.groups)]
    fused = Detections(
        found.scores.to(detections.scores.dtype),
        detections.labels[example],
        found.boxes.to(detections.boxes.dtype),
        detections.image[example],
        torch.full_like(found.counts, -1),
        detections.num_images,
    )
    return merge_images(fused, torch.arange(fused.num_images, device="cpu"), num_images=fused.num_images)


def plan_tiles(size: tuple[int, int], tile: tuple[int, int], *, overlap: tuple[int, int] = (0, 0)) -> Tensor:
    """Tiles that cover an image, row by row: [T, 4] int64 left, top, right, bottom.

    size, tile, overlap: (height, width) in pixels. The last tile of a row or column is moved back into the image, so
    that all are of one size, unless the image is smaller than a tile.
    >>> plan_tiles((10, 15), (10, 10), overlap=(0, 2)).tolist()
    [[0, 0, 10, 10], [5, 0, 15, 10]]
    """
    axes = []
    for length, step, shared in zip(size, tile, overlap, strict=True):
        if not 0 <= shared < step:
            raise ValueError(f"overlap must be at least 0 and below the tile; got {shared} for {step}")
        starts = [*range(0, max(length - step, 0), step - shared), max(length - step, 0)]
        axes.append([(start, min(start + step, length)) for start in dict.fromkeys(starts)])
    return torch.tensor(
        [(left, top, right, bottom) for top, bottom in axes[0] for left, right in axes[1]], device="cpu"
    )


def merge_tiles(
    detections: Detections,
    tiles: Tensor,
    owner: Sequence[int] | Tensor,
    *,
    num_images: int,
    iou_threshold: float = 0.5,
    per_label: bool = True,
    fusion: bool = False,
) -> Detections:
    """Detections of tiles as those of their images, best first: boxes moved, and what several tiles show once.

    detections: of T tiles, boxes in pixels of the tile. tiles: [T, 4] left, top, right, bottom. owner: [T], the image
    of each. Doubles go by non-maximum suppression, or by weighted box fusion with ``fusion``.
    """
    if tiles.shape != (detections.num_images, 4):
        raise ValueError(f"tiles must be [{detections.num_images}, 4]; got shape {list(tiles.shape)}")
    corner = tiles.to(detections.boxes.device)[detections.image][:, [0, 1, 0, 1]]
    moved = replace(detections, boxes=detections.boxes + corner.to(detections.boxes.dtype))
    merged = merge_images(moved, owner, num_images=num_images)
    unite = fuse if fusion else suppress
    return unite(merged, iou_threshold=iou_threshold, per_label=per_label)
