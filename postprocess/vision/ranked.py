"""Instances that do not overlap: every pixel to the best of the instances whose mask covers it. The rule of RF-DETR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes, size_pairs
from .panoptic import Segmentation
from .upsampling import CHUNK_BYTES, DEVICE_CHUNK_BYTES


def ranked_maps(
    logits: Tensor,
    mask_logits: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: float = 0.5,
    mask_threshold: float = 0.0,
    top_k: int | None = None,
) -> list[Segmentation]:
    """One segmentation per image: int32 maps, ids from 1 by descending score, -1 where no mask is.

    logits: [B, Q, C] float, a sigmoid a class. mask_logits: [B, Q, h, w] float. sizes: (height, width) of each image;
    None keeps the size of the masks. Of the ``top_k`` best pairs of query and class (None: as many as queries) those
    with a score above ``threshold`` stay. A pixel goes to the first of them whose mask, upsampled, is above
    ``mask_threshold`` there; a pair that gets no pixel is no segment. Ties: as torch.topk lists the pairs.
    Masks are upsampled few at a time, and only until every pixel is taken; of a query that comes twice, once.

    >>> masks = torch.tensor([[[[1.0, 1.0, -1.0]], [[-1.0, 1.0, -1.0]]]])
    >>> found = ranked_maps(torch.tensor([[[2.0], [3.0]]]), masks)[0]
    >>> found.map, found.ids, found.queries
    (tensor([[ 2,  1, -1]], dtype=torch.int32), tensor([1, 2]), tensor([1, 0]))
    """
    if logits.dim() != 3 or mask_logits.dim() != 4 or mask_logits.shape[:2] != logits.shape[:2]:
        shapes = f"{list(logits.shape)} and {list(mask_logits.shape)}"
        raise ValueError(f"logits and mask_logits must be [B, Q, C] and [B, Q, h, w]; got shapes {shapes}")
    pairs = size_pairs(sizes, logits.shape[0])
    classes = logits.shape[2]
    count = min(logits.shape[1] if top_k is None else top_k, logits.shape[1] * classes)
    scores, places = logits.sigmoid().flatten(1).topk(count, dim=1)
    found = []
    for image, kept in enumerate(scores > threshold):
        place, score = places[image][kept], scores[image][kept]
        query = torch.div(place, classes, rounding_mode="floor")
        size = (mask_logits.shape[2], mask_logits.shape[3]) if pairs is None else pairs[image]
        taken = _taken(mask_logits[image], query, size, mask_threshold)
        held = torch.bincount(taken.flatten() + 1, minlength=len(query) + 1) > 0
        shown = held[1:].nonzero()[:, 0]
        ids = torch.full((len(query) + 1,), -1, dtype=torch.int32, device=taken.device)
        ids[1 + shown] = torch.arange(1, len(shown) + 1, dtype=torch.int32, device=taken.device)
        painted = ids[taken + 1]
        label = place % classes
        found.append(Segmentation(painted, ids[1 + shown].long(), label[shown], score[shown], query[shown]))
    return found


def _taken(mask_logits: Tensor, query: Tensor, size: tuple[int, int], mask_threshold: float) -> Tensor:
    """[H, W] int64: the first entry of ``query`` whose mask covers the pixel, -1 for none."""
    taken = torch.full(size, -1, dtype=torch.int64, device=mask_logits.device)
    rank = {number: place for place, number in reversed([*enumerate(query.tolist())])}
    distinct = sorted(rank, key=lambda number: rank[number])
    budget = CHUNK_BYTES if taken.device.type == "cpu" else DEVICE_CHUNK_BYTES
    step = max(1, budget // (4 * size[0] * size[1]))
    for first in range(0, len(distinct), step):
        chosen = distinct[first : first + step]
        # A batch of single planes, as there: then no plane's last bits depend on the others.
        planes = mask_logits[chosen][:, None].float()
        covered = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)[:, 0] > mask_threshold
        best = covered.to(torch.uint8).argmax(dim=0)
        free = (taken < 0) & covered.any(dim=0)
        ranks = torch.tensor([rank[number] for number in chosen], device=taken.device)
        taken = torch.where(free, ranks[best], taken)
        if bool((taken >= 0).all()):
            break
    return taken
