"""Panoptic maps of a device without a wait: which queries are kept stays there, and a kernel goes through them.

Every query stands among the results, those that are not kept as queries that show no segment.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from ..triton_kernels.panoptic import panoptic_tiles, tiles_run
from .segments import QuerySegments, Segmentation, larger_ratio, numbered
from .upsampling import resize


def in_tiles(mask_logits: Tensor, scores: Tensor) -> bool:
    """Whether the kernel maps masks of these logits: float32, of a device where it runs."""
    if {mask_logits.dtype, scores.dtype} != {torch.float32} or not mask_logits.numel():
        return False
    return tiles_run(mask_logits.device)


def tiled_queries(
    mask_logits: Tensor,
    scores: Tensor,
    labels: Tensor,
    keep: Tensor,
    pairs: list[tuple[int, int]],
    *,
    mask_threshold: float,
    overlap_threshold: float,
    fuse: Collection[int],
    mask_size: tuple[int, int] | None,
    compat: bool,
) -> list[QuerySegments]:
    """`panoptic_queries` of logits [B, Q, h, w], of which the queries ``keep`` [B, Q] are kept; with ``fuse`` it waits.

    scores, labels: [B, Q], of each query's best class. The map of an image without a kept query is int32, of -1
    (``compat``) or 0.
    """
    # The kept ones first, in their order: as many as the count says.
    order = (~keep).to(torch.uint8).argsort(dim=1, stable=True)
    count, found = keep.sum(dim=1), []
    slots = torch.arange(keep.shape[1], device=keep.device)
    for image, size in enumerate(pairs):
        masks = mask_logits[image].detach()
        planes = (masks if mask_size is None else resize(masks, mask_size)).sigmoid().contiguous()
        own = order[image]
        tiles = panoptic_tiles(planes, scores[image], own, count[image], size, mask_threshold)
        areas, covers = tiles.areas.long(), tiles.covers.long()
        passed = (areas > 0) & (covers > 0) & larger_ratio(areas, covers, overlap_threshold) & (slots < count[image])
        score, label = (column[image].index_select(0, own) for column in (scores, labels))
        ids, fused = numbered(label, passed, fuse, compat)
        shades = F.pad(ids.to(torch.int32), (1, 0), value=-1 if compat else 0)
        painted = shades.index_select(0, tiles.winners.flatten()).view(size)
        found.append(QuerySegments(painted, passed, ids, label, score, own, fused))
    return found


def without_queries(found: Segmentation) -> Segmentation:
    """A segmentation as transformers gives it: the map of an image in which no query is kept is one of floats."""
    if len(found.ids) or found.map.dtype != torch.int32 or not found.map.numel() or int(found.map[0, 0]) >= 0:
        return found
    none = found.ids
    return Segmentation(found.map.float().cpu(), none, none, found.scores, none, none.bool())
