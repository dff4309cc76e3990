"""Instances that do not overlap: every pixel to the best of the instances whose mask covers it. The rule of RF-DETR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..transfers import sent
from .boxes import Sizes, size_pairs
from .segments import QuerySegments, Segmentations
from .slots import Slots, painted
from .upsampling import CHUNK_BYTES, DEVICE_CHUNK_BYTES


def ranked_maps(
    logits: Tensor,
    mask_logits: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: float = 0.5,
    mask_threshold: float = 0.0,
    top_k: int | None = None,
) -> Segmentations:
    """One segmentation per image: int32 maps, ids from 1 by descending score, -1 where no mask is.

    logits: [B, Q, C] float, a sigmoid a class. mask_logits: [B, Q, h, w] float. sizes: (height, width) of each image;
    None keeps the size of the masks. Of the ``top_k`` best pairs of query and class (None: as many as queries) those
    with a score above ``threshold`` stay. A pixel goes to the first of them whose mask, upsampled, is above
    ``mask_threshold`` there; a pair that gets no pixel is no segment. Ties: as torch.topk lists the pairs.
    Masks are upsampled few at a time, and only until every pixel is taken; of a query that comes twice, once. On a
    device it waits once a batch.

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
    scores, pair = logits.sigmoid().flatten(1).topk(count, dim=1)

    def paint(image: int, places: Tensor, slots: Slots | None) -> QuerySegments:
        there = sent(places, scores.device)
        own, score = pair[image].index_select(0, there), scores[image].index_select(0, there)
        query = torch.div(own, classes, rounding_mode="floor")
        size = (mask_logits.shape[2], mask_logits.shape[3]) if pairs is None else pairs[image]
        taken = _taken(mask_logits[image], query, size, mask_threshold, None if slots is None else slots.filled)
        shown = _any_pixel(taken, len(query))
        ids = torch.where(shown, shown.cumsum(0), -1)
        painting = F.pad(ids.to(torch.int32), (1, 0), value=-1).index_select(0, taken.flatten() + 1).view(taken.shape)
        return QuerySegments(painting, shown, ids, own % classes, score, query)

    def none_kept(image: int) -> QuerySegments:
        return paint(image, torch.zeros(0, dtype=torch.int64, device="cpu"), None)

    return painted(scores > threshold, paint, none_kept, pairs or [(mask_logits.shape[2], mask_logits.shape[3])])


def _any_pixel(taken: Tensor, count: int) -> Tensor:
    """[count] bool: which entries have a pixel."""
    if taken.device.type == "cpu":
        return torch.bincount(taken.flatten() + 1, minlength=count + 1)[1:] > 0
    # A pixel of each, whichever is written last: unlike a count, its place does not have to be waited for.
    held = torch.zeros(count + 1, dtype=torch.bool, device=taken.device)
    return held.index_fill_(0, taken.flatten() + 1, True)[1:]


def _taken(
    mask_logits: Tensor, query: Tensor, size: tuple[int, int], mask_threshold: float, filled: Tensor | None
) -> Tensor:
    """[H, W] int64: the first entry of ``query`` [N] whose mask covers the pixel, -1 for none.

    filled: [N] bool, the entries that count, on a device; None: all of them.
    """
    if mask_logits.device.type == "cpu":
        return _taken_on_host(mask_logits, query, size, mask_threshold)
    taken = torch.full(size, -1, dtype=torch.int64, device=mask_logits.device)
    step = max(1, DEVICE_CHUNK_BYTES // max(4 * size[0] * size[1], 1))
    for first in range(0, len(query), step):
        covered = _covered(mask_logits, query[first : first + step], size, mask_threshold)
        if filled is not None:
            covered = covered & filled[first : first + step, None, None]
        best = covered.to(torch.uint8).argmax(dim=0)
        taken = torch.where((taken < 0) & covered.any(dim=0), best + first, taken)
    return taken


def _taken_on_host(mask_logits: Tensor, query: Tensor, size: tuple[int, int], mask_threshold: float) -> Tensor:
    """The same of each query once, until every pixel is taken."""
    taken = torch.full(size, -1, dtype=torch.int64, device="cpu")
    rank = {number: place for place, number in reversed([*enumerate(query.tolist())])}
    distinct = sorted(rank, key=lambda number: rank[number])
    step = max(1, CHUNK_BYTES // max(4 * size[0] * size[1], 1))
    for first in range(0, len(distinct), step):
        chosen = distinct[first : first + step]
        covered = _covered(mask_logits, torch.tensor(chosen, device="cpu"), size, mask_threshold)
        best = covered.to(torch.uint8).argmax(dim=0)
        free = (taken < 0) & covered.any(dim=0)
        taken = torch.where(free, torch.tensor([rank[number] for number in chosen], device="cpu")[best], taken)
        if bool((taken >= 0).all()):
            break
    return taken


def _covered(mask_logits: Tensor, query: Tensor, size: tuple[int, int], mask_threshold: float) -> Tensor:
    """[N, H, W] bool: where the masks of ``query`` [N], upsampled, are above the threshold."""
    # A batch of single planes, as there: then no plane's last bits depend on the others.
    planes = mask_logits.index_select(0, query)[:, None].float()
    return F.interpolate(planes, size=size, mode="bilinear", align_corners=False)[:, 0] > mask_threshold
