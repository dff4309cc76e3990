"""Instances: the masks of the best pairs of query and class, painted into a map or each by itself.

The rule of MaskFormer and Mask2Former. Their masks are resized without interpolation, so that painting may come first:
one map is painted at the size of the masks and resized once. A pair whose class score is below the threshold cannot
reach it with its mask's share, so that its mask is never looked at. On a device all masks are, which are small, rather
than that the host should wait for which these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes
from .panoptic import _check, best_pairs, best_pairs_there
from .segments import QuerySegments, Segmentation, Shown, shown_places
from .upsampling import DEVICE_CHUNK_BYTES, resize, resize_chosen


@dataclass(frozen=True)
class Instances:
    """The instances of one image, the later painted over the earlier. S instances."""

    segments: Segmentation
    masks: Tensor  # [S, h, w] bool, at the size of the model's masks
    rows: Tensor  # [H] int64, the row of the masks that each row of the image shows
    columns: Tensor  # [W] int64

    def full_masks(self) -> Tensor:
        """The mask of each instance at the size of the image, [S, H, W] bool; those painted over are whole here."""
        return self.masks[:, self.rows][:, :, self.columns]


@dataclass(frozen=True)
class QueryInstances:
    """What each of the N pairs of query and class that may pass becomes in one image."""

    segments: QuerySegments
    masks: Tensor  # [N, h, w] bool
    rows: Tensor  # [H] int64
    columns: Tensor  # [W] int64


def instance_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: float = 0.5,
    mask_size: tuple[int, int] | None = None,
    compat: bool = True,
) -> Shown[QueryInstances, Instances]:
    """The instances of every image: float32 maps of ids from 0, background -1.

    class_logits: [B, Q, C + 1] float, the last class is "no object". mask_logits: [B, Q, h, w] float, positive inside.
    sizes: (height, width) of each image; None keeps the size of the masks. Of the Q best pairs of query and class those
    stay whose score, class probability times mean probability inside the mask, is at least ``threshold`` and whose mask
    shows at the size of the image. mask_size: masks are first resized to it; (384, 384) for Mask2Former.
    Order, and what is painted over: as torch.topk lists the pairs, which is not by score (compat=True), or by
    ascending score, so that the best lie on top (compat=False; int32 maps). Ties: as torch.topk has them.
    On a device it waits once, for which of them are shown.
    """
    pairs = _check(class_logits, mask_logits, sizes)
    classes, on_host = class_logits.shape[-1] - 1, mask_logits.device.type == "cpu"
    found = []
    # Unsorted, as there: the order is painting's.
    for image, (scores, pair) in enumerate((best_pairs if on_host else best_pairs_there)(class_logits)):
        if on_host:
            # A mean of probabilities is at most 1, and a rounding step above: what is below cannot pass.
            possible = (scores * (1 + 1e-5) >= threshold).nonzero()[:, 0]
            scores, pair = scores[possible], pair[possible]
        query = torch.div(pair, max(classes, 1), rounding_mode="floor")
        size = None if pairs is None else pairs[image]
        label = pair % max(classes, 1)
        found.append(_painted(mask_logits[image], query, label, scores, size, threshold, mask_size, compat))
    return Shown(found, _shown_instances)


def _shown_instances(found: Sequence[QueryInstances]) -> list[Instances]:
    """The instances of every image; on a device it waits once for all."""
    return [
        Instances(each.segments.segments(chosen), each.masks.index_select(0, chosen), each.rows, each.columns)
        for each, chosen in zip(found, shown_places([each.segments for each in found]), strict=True)
    ]


def _painted(
    mask_logits: Tensor,
    query: Tensor,
    label: Tensor,
    class_scores: Tensor,
    size: tuple[int, int] | None,
    threshold: float,
    mask_size: tuple[int, int] | None,
    compat: bool,
) -> QueryInstances:
    """The pairs of one image. query, label, class_scores: [N], where the masks are."""
    masks, shares = _masks_of(mask_logits, query, mask_size)
    rows, columns = nearest(masks.shape[1:], size or masks.shape[1:], masks.device)
    scores = class_scores * shares
    # A small mask may vanish where the image is smaller than the masks.
    keep = (scores >= threshold) & _shown(masks, rows, columns)
    if not compat:
        order = scores.masked_fill(~keep, torch.inf).argsort(stable=True)
        masks, keep, scores, label, query = (x.index_select(0, order) for x in (masks, keep, scores, label, query))
    small = painted_over(masks, keep).to(torch.float32 if compat else torch.int32)
    painted = small.index_select(1, columns).index_select(0, rows)
    ids, none = keep.cumsum(0) - 1, torch.zeros_like(keep)
    return QueryInstances(QuerySegments(painted, keep, ids, label, scores, query, none), masks, rows, columns)


def painted_over(masks: Tensor, keep: Tensor) -> Tensor:
    """The number among the kept of the last kept mask that covers each pixel: [h, w] int16, -1 where none does."""
    small = torch.full(masks.shape[1:], -1, dtype=torch.int16, device=masks.device)
    if masks.device.type == "cpu":
        for number, place in enumerate(keep.nonzero()[:, 0].tolist()):
            small.masked_fill_(masks[place], number)
        return small
    numbers = (keep.cumsum(0) * keep).to(torch.int16)  # from 1
    at_once = max(1, DEVICE_CHUNK_BYTES // max(2 * small.numel(), 1))
    for some, own in zip(torch.split(masks, at_once), torch.split(numbers, at_once), strict=True):
        if len(own):
            torch.maximum(small, (some * own[:, None, None]).amax(dim=0) - 1, out=small)
    return small


def _masks_of(mask_logits: Tensor, query: Tensor, mask_size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """The masks of chosen queries [N], [N, h, w] bool, and the mean probability inside each, [N]."""
    if query.device.type != "cpu":
        logits, member = mask_logits if mask_size is None else resize(mask_logits, mask_size), query
    else:
        distinct, member = torch.unique(query, return_inverse=True)
        if mask_size is None:
            logits = mask_logits.index_select(0, distinct)
        else:
            logits = resize_chosen(mask_logits, distinct.tolist(), mask_size)
    masks = logits > 0
    return masks.index_select(0, member), inner_shares(logits).index_select(0, member)


def inner_shares(logits: Tensor) -> Tensor:
    """The mean probability of the positive pixels of each mask, [N]."""
    inside = (logits > 0).float().flatten(1)  # so that halves are summed in float32, as there
    return (logits.sigmoid().flatten(1) * inside).sum(dim=1) / (inside.sum(dim=1) + 1e-6)


def _shown(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[N] bool: whether a mask has a pixel among the rows and columns shown."""
    row_shown = torch.zeros(masks.shape[1], dtype=torch.bool, device=masks.device).index_fill_(0, rows, True)
    column_shown = torch.zeros(masks.shape[2], dtype=torch.bool, device=masks.device).index_fill_(0, columns, True)
    if masks.device.type == "cpu" and bool(row_shown.all()) and bool(column_shown.all()):
        return masks.flatten(1).any(dim=1)
    return (masks & row_shown[:, None] & column_shown).flatten(1).any(dim=1)


def nearest(source: tuple[int, ...], target: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The row and the column that each row and column of a nearest-neighbour resize shows: [H], [W] int64."""
    axes = []
    for had, wanted in zip(source, target, strict=True):
        places = torch.arange(had, dtype=torch.float32, device=device).view(1, 1, 1, had)
        axes.append(F.interpolate(places, size=(1, wanted), mode="nearest").view(-1).long())
    return axes[0], axes[1]
