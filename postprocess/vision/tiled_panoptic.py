"""Panoptic maps of a device without a wait: which queries are kept stays there, and a kernel goes through them.

Every query stands among the results, those that are not kept as queries that show no segment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..triton_kernels.panoptic import panoptic_tiles, tiles_run
from .boxes import Sizes
from .segments import QuerySegments, larger_ratio, numbered
from .upsampling import resize


def in_tiles(class_logits: Tensor, mask_logits: Tensor, sizes: Sizes | None, antialias: bool) -> bool:
    """Whether the kernel maps these masks: float32, of a device where it runs, upsampled without smoothing."""
    if sizes is None or antialias or {class_logits.dtype, mask_logits.dtype} != {torch.float32}:
        return False
    return mask_logits.numel() > 0 and tiles_run(mask_logits.device)


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
    none_kept: Callable[[int], QuerySegments],
) -> list[QuerySegments]:
    """What `panoptic_maps` makes of logits [B, Q, h, w] of which the queries ``keep`` [B, Q] are kept.

    scores, labels: [B, Q], of each query's best class. The map of an image without a kept query is int32, of -1
    (``compat``) or 0; ``none_kept``, given its number, says what it is for who reads the segments. With ``fuse`` it
    waits.
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
        columns = (painted, passed, ids, label, score, own, fused)
        # Every query has a slot: only where none is kept it is asked what the image is.
        found.append(QuerySegments(*columns, kept=count[image], otherwise=partial(_of_none, none_kept, image)))
    return found


def _of_none(none_kept: Callable[[int], QuerySegments], image: int, kept: int) -> QuerySegments:
    return none_kept(image)
