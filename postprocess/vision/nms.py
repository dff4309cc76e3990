"""Suppression of boxes that show what a better box shows: non-maximum suppression, by class, hard or soft.

No torchvision is needed. The hard rule is torchvision's to the last bit: boxes by descending score (ties: as they
come), each kept box removes the later ones whose intersection over union with it exceeds the threshold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..transfers import received, sent
from .boxes import pairwise_iou
from .detections import Detections

BLOCK = 256  # boxes whose overlaps are computed at once: 256 KiB of float32
BITS_LIMIT = 1 << 14  # boxes up to which a device gives all overlaps as bits, 32 MiB, which the host waits for once


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, groups: Tensor | None = None) -> Tensor:
    """Indices of the boxes that stay, best first: [K] int64.

    boxes: [N, 4] xyxy. scores: [N]. groups: [N] int64, such as labels or images: only boxes of one group suppress each
    other. iou_threshold: overlaps up to it, itself included, stay; 1 or more keeps all. Two boxes without area have an
    overlap of NaN and do not suppress each other. Raises ValueError for an iou_threshold that is NaN.
    Cost: overlaps of neighbours in blocks of 256, never N x N at once; of many groups, only those within each. On a
    device up to 16,384 boxes wait once: a bit for each pair comes to the host, which looks who is left.
    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]])
    >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), iou_threshold=0.5)
    tensor([1, 2])
    """
    if math.isnan(iou_threshold):
        raise ValueError(f"iou_threshold must be a number; got {iou_threshold}")
    if boxes.shape != (len(scores), 4):
        raise ValueError(f"boxes must be [{len(scores)}, 4]; got shape {list(boxes.shape)}")
    order = scores.argsort(descending=True, stable=True)
    if groups is not None:
        order = order[groups[order].argsort(stable=True)]
    sorted_groups = torch.zeros_like(order) if groups is None else groups[order]
    kept = _kept(order, float_boxes(boxes[order]), sorted_groups, _float32_below(iou_threshold))
    if groups is None:
        return kept
    kept = kept.sort().values
    return kept[scores[kept].argsort(descending=True, stable=True)]


def _kept(order: Tensor, boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """The entries of ``order`` that survive; boxes and groups stand in that order."""
    if boxes.device.type == "cpu" or len(boxes) > BITS_LIMIT:
        return order[survivors(boxes, groups, threshold)]
    (bits,) = received(_removal_bits(boxes, groups, threshold))
    return order.index_select(0, sent(torch.from_numpy(_left(bits.numpy())), order.device))


def _removal_bits(boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """[N, ceil(N / 8)] uint8: bit j % 8 of byte j // 8 says that box i, if kept, removes the later j."""
    count, place = len(boxes), torch.arange(len(boxes), device=boxes.device)
    weights = 1 << torch.arange(8, device=boxes.device, dtype=torch.uint8)
    rows = []
    for first in range(0, count, 16 * BLOCK):
        block = slice(first, first + 16 * BLOCK)
        removes = pairwise_iou(boxes[block], boxes) > threshold
        removes &= (groups[block, None] == groups) & (place[block, None] < place)
        padded = F.pad(removes.to(torch.uint8), (0, -count % 8))
        rows.append((padded.view(len(padded), -1, 8) * weights).sum(dim=2, dtype=torch.uint8))
    return torch.cat(rows) if rows else torch.zeros(0, 0, dtype=torch.uint8, device=boxes.device)


def _left(bits: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The boxes that no kept one removes, [K] ascending, of their bits [N, ceil(N / 8)]."""
    removed = np.zeros(bits.shape[1], dtype=np.uint8)
    removers = np.any(bits, axis=1)
    kept = []
    for place, removes in enumerate(np.atleast_1d(removers).tolist()):
        if removed[place >> 3] >> (place & 7) & 1:
            continue
        kept.append(place)
        if removes:
            removed |= bits[place]
    return np.array(kept, dtype=np.int64)


def survivors(boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """[N] bool: which boxes, by group and then best first, no kept box of their group removes.

    boxes: [N, 4] xyxy in the order in which they are kept. groups: [N] ascending.
    """
    count = len(boxes)
    alive = torch.ones(count, dtype=torch.bool, device=boxes.device)
    ends = torch.searchsorted(groups, groups, right=True)
    for first in range(0, count, BLOCK):
        last = min(first + BLOCK, count)
        block = slice(first, last)
        overlaps = pairwise_iou(boxes[block], boxes[block]) > threshold
        overlaps &= groups[block, None] == groups[None, block]
        alive[block] = _settle(overlaps.triu(1), alive[block])
        # Of the group that goes on beyond this block, the kept ones remove later ones, a block at a time.
        end = int(ends[last - 1])
        mine = alive[block] & (groups[block] == groups[last - 1])
        for later in range(last, end if bool(mine.any()) else last, 16 * BLOCK):
            rest = slice(later, min(later + 16 * BLOCK, end))
            alive[rest] &= ~(pairwise_iou(boxes[block][mine], boxes[rest]) > threshold).any(dim=0)
    return alive


def _settle(removes: Tensor, alive: Tensor) -> Tensor:
    """The kept ones of a block, where ``removes[i, j]`` says that i, if kept, removes the later j.

    Kept is what no kept one removes. Repeating that from any start settles the first, then the second, ...: it ends in
    the one solution, mostly within a few rounds.
    """
    if not bool(removes.any()):
        return alive
    kept = alive
    while True:
        after = alive & ~(removes & kept[:, None]).any(dim=0)
        if torch.equal(after, kept):
            return kept
        kept = after


def float_boxes(boxes: Tensor) -> Tensor:
    """float16, bfloat16 and integer boxes in float32, as torchvision's callers pass them."""
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def _float32_below(value: float) -> float:
    """The largest float32 up to a float64: comparing float32 overlaps with it is comparing them in float64."""
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


def suppress(detections: Detections, *, iou_threshold: float, per_label: bool = True) -> Detections:
    """Detections without those that a better one of their image covers; order within an image as before.

    per_label=False lets boxes of different labels suppress each other.
    """
    groups = _groups(detections, per_label)
    kept = nms(detections.boxes, detections.scores, iou_threshold=iou_threshold, groups=groups)
    return detections.select(kept.sort().values)


def _groups(detections: Detections, per_label: bool) -> Tensor:
    if not per_label or not len(detections.labels):
        return detections.image
    return detections.image * (detections.labels.max() + 1) + detections.labels


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    sigma: float | None = 0.5,
    iou_threshold: float | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Scores lowered by the better boxes that each overlaps, [N], in place of removing boxes.

    boxes: [N, 4] xyxy. scores: [N] in 0..1. The best box of each group stays; the score of every other is multiplied by
    ``exp(-iou^2 / sigma)``, or, with an ``iou_threshold``, by ``1 - iou`` where iou exceeds it; then the best of the
    rest stays, and so on. groups: as in `nms`. Ties: the earlier.
    Cost: as many steps as the largest group has boxes, each for all groups at once.
    Source: Bodla et al. 2017, arXiv:1704.04503.
    >>> boxes = torch.tensor([[0.0, 0, 2, 1], [1, 0, 3, 1]])
    >>> soft_nms(boxes, torch.tensor([0.9, 0.6]), sigma=None, iou_threshold=0.3)
    tensor([0.9000, 0.4000])
    """
    if (sigma is None) == (iou_threshold is None):
        iou_threshold, sigma = _one_of(sigma, iou_threshold)
    rows = padded_groups(torch.zeros_like(scores, dtype=torch.long) if groups is None else groups)
    there = rows >= 0
    member = rows.clamp_min(0)
    left, box = torch.where(there, scores[member], -torch.inf), float_boxes(boxes)[member]
    lowered = F.pad(scores, (0, 1))  # what groups that are through write goes to the end
    for _ in range(rows.shape[1]):
        best, place = left.max(dim=1)
        chosen = rows.gather(1, place[:, None])[:, 0]
        lowered.scatter_(0, torch.where(best > -torch.inf, chosen, len(scores)), best)
        left.scatter_(1, place[:, None], -torch.inf)
        overlap = pairwise_iou(box.gather(1, place[:, None, None].expand(-1, 1, 4)), box)[:, 0].nan_to_num(0.0)
        left = torch.where(left > -torch.inf, left * _decay(overlap, sigma, iou_threshold), left)
    return lowered[:-1]


def _one_of(sigma: float | None, iou_threshold: float | None) -> tuple[float | None, float | None]:
    """An iou_threshold given beside the default sigma chooses the linear rule."""
    if sigma is None:
        raise ValueError("sigma must be a number where there is no iou_threshold; got None")
    return iou_threshold, None


def _decay(overlap: Tensor, sigma: float | None, iou_threshold: float | None) -> Tensor:
    if sigma is not None:
        return torch.exp(-(overlap * overlap) / sigma)
    return torch.where(overlap > float(iou_threshold or 0.0), 1 - overlap, 1.0)


def padded_groups(groups: Tensor) -> Tensor:
    """Members of every group, one row each: [G, M] int64 indices in order, -1 where a group has fewer than M.

    On a device it waits once, for the groups.
    """
    (listed,) = received(groups)
    values, owner, counts = torch.unique(listed, return_inverse=True, return_counts=True)
    rows = torch.full((len(values), int(counts.max()) if len(values) else 0), -1, device="cpu")
    order = owner.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(listed), device="cpu") - starts[owner[order]]
    rows[owner[order], place] = order
    return sent(rows, groups.device)
