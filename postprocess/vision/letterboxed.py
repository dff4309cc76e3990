"""Segments of models that see a picture in the corner of a square: masks are cut to the picture, then resized to it.

The rule of EoMT. Of its queries only those are resized, to the square and to the picture, that are kept or can be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..transfers import received, sent
from .boxes import Sizes
from .instances import inner_shares, painted_over
from .panoptic import _check
from .segments import QuerySegments, Segmentations, larger_ratio, no_segments
from .slots import Slots, painted
from .upsampling import resize, resize_chosen


def letterboxed_panoptic_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    square: tuple[int, int],
    shown: Sequence[tuple[int, int]],
    sizes: Sizes,
    threshold: float = 0.8,
    mask_threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    fuse: Collection[int] = (),
) -> Segmentations:
    """One segmentation per image: int64 maps, ids from 0 in the order of the queries, -1 where a query failed.

    class_logits: [B, Q, C + 1] float, the last class is "no object". mask_logits: [B, Q, h, w] float. square: (height,
    width) that the model saw. shown: the part of it, from its corner, that holds each image. sizes: (height, width) of
    each image. A query is kept if its best class is an object with a score above ``threshold``. Pixels go to the kept
    query with the largest score * mask probability (ties: the first). A query becomes a segment where it has pixels
    whose mask probability reaches ``mask_threshold``, if its pixels are more than ``overlap_threshold`` of all that
    reach it. fuse: classes whose segments are one, listed once. An image without a kept query has a float32 map.
    On a device it waits once for the batch, and with ``fuse`` once more an image.
    """
    pairs = _sizes_of(class_logits, mask_logits, shown, sizes)
    scores, labels = class_logits.softmax(dim=-1).max(dim=-1)
    keep = (labels != class_logits.shape[-1] - 1) & (scores > threshold)

    def none_kept(image: int) -> QuerySegments:
        return no_segments(torch.full(pairs[image], -1.0, device="cpu"), scores, fused=False)

    def paint(image: int, query: Tensor, slots: Slots | None) -> QuerySegments:
        probs = _full_logits(mask_logits, image, query, square, shown[image], pairs[image]).sigmoid()
        query = sent(query, probs.device)
        score, label = scores[image].index_select(0, query), labels[image].index_select(0, query)
        winners = (probs * score[:, None, None]).argmax(dim=0)
        reach = probs >= mask_threshold
        own = reach.gather(0, winners[None])[0]  # whether the winner itself reaches it
        areas, held = _counts(winners, own, len(query))
        passed = (held > 0) & larger_ratio(areas, reach.sum(dim=(1, 2)), overlap_threshold)
        ids, listed = _numbered(label, passed if slots is None else passed & slots.filled, fuse)
        painting = torch.where(own, ids.index_select(0, winners.flatten()).view(winners.shape), -1)
        return QuerySegments(painting, listed, ids, label, score, query)

    return painted(keep, paint, none_kept, [*pairs, square])


def _counts(winners: Tensor, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The pixels of each of ``count`` winners, and those of them where ``own``: [count] int64 each."""
    if winners.device.type == "cpu":
        return torch.bincount(winners.flatten(), minlength=count), torch.bincount(winners[own], minlength=count)
    of_each = winners == torch.arange(count, device=winners.device)[:, None, None]
    return of_each.sum(dim=(1, 2)), (of_each & own).sum(dim=(1, 2))


def letterboxed_instance_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    square: tuple[int, int],
    shown: Sequence[tuple[int, int]],
    sizes: Sizes,
    threshold: float = 0.8,
) -> Segmentations:
    """The instances of every image: float32 maps of ids from 0 in the order of the queries, background -1.

    Arguments as in `letterboxed_panoptic_maps`. A query is an instance if its best class's score times the mean
    probability inside its mask is at least ``threshold``; later ones are painted over earlier ones.
    On a device it waits once for the batch.
    """
    pairs = _sizes_of(class_logits, mask_logits, shown, sizes)
    scores, labels = class_logits.softmax(dim=-1)[..., :-1].max(dim=-1)
    # A mean of probabilities is at most 1, and a rounding step above: what is below cannot pass.
    possible = scores * (1 + 1e-5) >= threshold

    def none_kept(image: int) -> QuerySegments:
        return no_segments(torch.full(pairs[image], -1.0, device=mask_logits.device), scores, fused=False)

    def paint(image: int, query: Tensor, slots: Slots | None) -> QuerySegments:
        logits = _full_logits(mask_logits, image, query, square, shown[image], pairs[image])
        masks, query = logits > 0, sent(query, logits.device)
        score = scores[image].index_select(0, query) * inner_shares(logits)
        passed = masks.flatten(1).any(dim=1) & (score >= threshold)
        passed = passed if slots is None else passed & slots.filled
        label = labels[image].index_select(0, query)
        return QuerySegments(painted_over(masks, passed).float(), passed, passed.cumsum(0) - 1, label, score, query)

    return painted(possible, paint, none_kept, [*pairs, square])


def _sizes_of(
    class_logits: Tensor, mask_logits: Tensor, shown: Sequence[tuple[int, int]], sizes: Sizes
) -> list[tuple[int, int]]:
    pairs = _check(class_logits, mask_logits, sizes)
    if pairs is None or len(shown) != len(class_logits):
        raise ValueError(f"sizes and shown must name every image of the batch; got {sizes!r:.60} and {shown!r:.60}")
    return pairs


def _full_logits(
    mask_logits: Tensor,
    image: int,
    query: Tensor,
    square: tuple[int, int],
    shown: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """The mask logits of some queries at the size of the picture, as the resizes of all queries give them.

    query: [K] int64, on the host or where the masks are.
    """
    if mask_logits.device.type != "cpu":
        masks = resize(mask_logits[image].index_select(0, sent(query, mask_logits.device)), square)
        return resize(masks[:, : shown[0], : shown[1]], size)
    if not mask_logits.is_contiguous():
        mask_logits = F.interpolate(mask_logits, size=square, mode="bilinear", align_corners=False)
        return resize(mask_logits[image][:, : shown[0], : shown[1]], size)[query]
    whole = size[0] + size[1] <= 128 or 3 in (mask_logits.shape[1], len(query))
    first = [*range(mask_logits.shape[1])] if whole else query.tolist()
    cut = resize_chosen(mask_logits[image], first, square)[:, : shown[0], : shown[1]]
    resized = resize(cut, size)
    return resized[query] if whole else resized


def _numbered(labels: Tensor, passed: Tensor, fuse: Collection[int]) -> tuple[Tensor, Tensor]:
    """The id of each query's segment, -1 for none, and whether it is listed: [K] int64 and bool."""
    if not fuse:
        return torch.where(passed, passed.cumsum(0) - 1, -1), passed
    known, there = received(labels, passed)
    ids, places = _ids(known.tolist(), there.tolist(), fuse)
    listed = torch.zeros(len(ids), dtype=torch.bool, device="cpu")
    listed[places] = True
    return sent(torch.tensor(ids, device="cpu"), labels.device), sent(listed, labels.device)


def _ids(labels: list[int], passed: list[bool], fuse: Collection[int]) -> tuple[list[int], list[int]]:
    """The id of each query's segment, -1 for none, and the places of those that are listed: a fused class once."""
    known: dict[int, int] = {}
    ids: list[int] = []
    listed: list[int] = []
    for place, (label, there) in enumerate(zip(labels, passed, strict=True)):
        if there and label in known:
            ids.append(known[label])
            continue
        ids.append(len(listed) if there else -1)
        if there:
            if label in fuse:
                known[label] = len(listed)
            listed.append(place)
    return ids, listed
