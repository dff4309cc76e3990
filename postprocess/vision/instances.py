"""Instances: the masks of the best pairs of query and class, painted into a map or each by itself.

The rule of MaskFormer and Mask2Former. Their masks are resized without interpolation, so that painting may come first:
one map is painted at the size of the masks and resized once. A pair whose class score is below the threshold cannot
reach it with its mask's share, so that its mask is never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes
from .panoptic import Segmentation, _check, no_segments
from .upsampling import resize_chosen


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


def instance_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: float = 0.5,
    mask_size: tuple[int, int] | None = None,
    compat: bool = True,
) -> list[Instances]:
    """The instances of every image: float32 maps of ids from 0, background -1.

    class_logits: [B, Q, C + 1] float, the last class is "no object". mask_logits: [B, Q, h, w] float, positive inside.
    sizes: (height, width) of each image; None keeps the size of the masks. Of the Q best pairs of query and class those
    stay whose score, class probability times mean probability inside the mask, is at least ``threshold`` and whose mask
    shows at the size of the image. mask_size: masks are first resized to it; (384, 384) for Mask2Former.
    Order, and what is painted over: as torch.topk lists the pairs, which is not by score (compat=True), or by
    ascending score, so that the best lie on top (compat=False; int32 maps). Ties: as torch.topk has them.
    """
    pairs = _check(class_logits, mask_logits, sizes)
    classes, queries = class_logits.shape[-1] - 1, class_logits.shape[1]
    found = []
    for image, logits in enumerate(class_logits):
        scores = F.softmax(logits, dim=-1)[:, :-1]
        # Unsorted, as there: the order is that of painting.
        best, pair = scores.flatten().topk(min(queries, scores.numel()), sorted=False)
        # A mean of probabilities is at most 1, and a rounding step above: what is below cannot pass.
        possible = (best * (1 + 1e-5) >= threshold).nonzero()[:, 0]
        best, pair = best[possible], pair[possible]
        query = torch.div(pair, max(classes, 1), rounding_mode="floor")
        size = None if pairs is None else pairs[image]
        label = pair % max(classes, 1)
        found.append(_painted(mask_logits[image], query, label, best, size, threshold, mask_size, compat))
    return found


def _painted(
    mask_logits: Tensor,
    query: Tensor,
    label: Tensor,
    class_scores: Tensor,
    size: tuple[int, int] | None,
    threshold: float,
    mask_size: tuple[int, int] | None,
    compat: bool,
) -> Instances:
    """The map of one image: masks of the queries above ``threshold``, later ones over earlier ones.

    mask_logits: [Q, h, w]; query, label, class_scores: [N], which of them are instances. Painted at the masks' size and
    enlarged once, by the nearest pixel, which gives what enlarging every mask gives.
    """
    masks, shares = _masks_of(mask_logits, query, mask_size)
    rows, columns = nearest(masks.shape[1:], size or masks.shape[1:], masks.device)
    scores = class_scores * shares
    # A small mask may vanish where the image is smaller than the masks.
    keep = (scores >= threshold) & _shown(masks, rows, columns)
    chosen = keep.nonzero()[:, 0]
    if not compat:
        chosen = chosen[scores[chosen].argsort(stable=True)]
    masks, ids = masks[chosen], torch.arange(len(chosen), device=masks.device)
    dtype = torch.float32 if compat else torch.int32
    if not len(chosen):
        none = no_segments((len(rows), len(columns)), masks.device, True)
        return Instances(Segmentation(none.map.to(dtype), *none_columns(none)), masks, rows, columns)
    small = torch.full(masks.shape[1:], -1, dtype=torch.int16, device=masks.device)
    for index, mask in enumerate(masks):
        small.masked_fill_(mask, index)
    painted = small.to(dtype).index_select(1, columns).index_select(0, rows)
    segments = Segmentation(painted, ids, label[chosen], scores[chosen], query[chosen], torch.zeros_like(ids).bool())
    return Instances(segments, masks, rows, columns)


def none_columns(segmentation: Segmentation) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The columns of a segmentation beside its map."""
    return (
        segmentation.ids,
        segmentation.labels,
        segmentation.scores,
        segmentation.queries,
        segmentation.fused,
    )


def _masks_of(mask_logits: Tensor, query: Tensor, mask_size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """The masks of chosen queries, [N, h, w] bool, and the mean probability inside each, [N]."""
    distinct, member = torch.unique(query, return_inverse=True)
    logits = mask_logits[distinct] if mask_size is None else resize_chosen(mask_logits, distinct.tolist(), mask_size)
    masks = logits > 0
    return masks[member], inner_shares(logits)[member]


def inner_shares(logits: Tensor) -> Tensor:
    """The mean probability of the positive pixels of each mask, [N]."""
    inside = (logits > 0).to(logits.dtype).flatten(1)
    return (logits.sigmoid().flatten(1) * inside).sum(dim=1) / (inside.sum(dim=1) + 1e-6)


def _shown(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[N] bool: whether a mask has a pixel among the rows and columns shown."""
    row_shown = torch.zeros(masks.shape[1], dtype=torch.bool, device=masks.device).index_fill_(0, rows, True)
    column_shown = torch.zeros(masks.shape[2], dtype=torch.bool, device=masks.device).index_fill_(0, columns, True)
    if bool(row_shown.all()) and bool(column_shown.all()):
        return masks.flatten(1).any(dim=1)
    return (masks & row_shown[:, None] & column_shown).flatten(1).any(dim=1)


def nearest(source: tuple[int, ...], target: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The row and the column that each row and column of a nearest-neighbour resize shows: [H], [W] int64."""
    axes = []
    for had, wanted in zip(source, target, strict=True):
        places = torch.arange(had, dtype=torch.float32, device=device).view(1, 1, 1, had)
        axes.append(F.interpolate(places, size=(1, wanted), mode="nearest").view(-1).long())
    return axes[0], axes[1]
