"""Segments of models that see a picture in the corner of a square: masks are cut to the picture, then resized to it.

The rule of EoMT. Of its queries only those are resized, to the square and to the picture, that are kept or can be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes
from .instances import inner_shares
from .panoptic import Segmentation, _check, _ratio
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
) -> list[Segmentation]:
    """One segmentation per image: int64 maps, ids from 0 in the order of the queries, -1 where a query failed.

    class_logits: [B, Q, C + 1] float, the last class is "no object". mask_logits: [B, Q, h, w] float. square: (height,
    width) that the model saw. shown: the part of it, from its corner, that holds each image. sizes: (height, width) of
    each image. A query is kept if its best class is an object with a score above ``threshold``. Pixels go to the kept
    query with the largest score * mask probability (ties: the first). A query becomes a segment where it has pixels
    whose mask probability reaches ``mask_threshold``, if its pixels are more than ``overlap_threshold`` of all that
    reach it. fuse: classes whose segments are one, listed once. An image without a kept query has a float32 map.
    """
    pairs = _sizes_of(class_logits, mask_logits, shown, sizes)
    scores, labels = class_logits.softmax(dim=-1).max(dim=-1)
    keep = (labels != class_logits.shape[-1] - 1) & (scores > threshold)
    found = []
    for image, kept in enumerate(keep):
        query = kept.nonzero()[:, 0]
        if not len(query):
            found.append(_nothing(torch.full(pairs[image], -1.0), scores))
            continue
        probs = _full_logits(mask_logits, image, query, square, shown[image], pairs[image]).sigmoid()
        score, label = scores[image, query], labels[image, query]
        winners = (probs * score[:, None, None]).argmax(dim=0)
        reach = probs >= mask_threshold
        own = reach.gather(0, winners[None])[0]  # whether the winner itself reaches it
        areas, held, covers = (
            values.tolist()
            for values in (
                torch.bincount(winners.flatten(), minlength=len(query)),
                torch.bincount(winners[own], minlength=len(query)),
                reach.sum(dim=(1, 2)),
            )
        )
        passed = [h > 0 and _ratio(a, c) > overlap_threshold for a, h, c in zip(areas, held, covers, strict=True)]
        ids, listed = _ids(label.tolist(), passed, fuse)
        painted = torch.where(own, torch.tensor(ids, device=winners.device)[winners], -1)
        chosen = torch.tensor(listed, dtype=torch.int64, device=winners.device)
        numbers = torch.tensor([ids[place] for place in listed], dtype=torch.int64, device=winners.device)
        found.append(Segmentation(painted, numbers, label[chosen], score[chosen], query[chosen]))
    return found


def letterboxed_instance_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    square: tuple[int, int],
    shown: Sequence[tuple[int, int]],
    sizes: Sizes,
    threshold: float = 0.8,
) -> list[Segmentation]:
    """The instances of every image: float32 maps of ids from 0 in the order of the queries, background -1.

    Arguments as in `letterboxed_panoptic_maps`. A query is an instance if its best class's score times the mean
    probability inside its mask is at least ``threshold``; later ones are painted over earlier ones.
    """
    pairs = _sizes_of(class_logits, mask_logits, shown, sizes)
    scores, labels = class_logits.softmax(dim=-1)[..., :-1].max(dim=-1)
    found = []
    for image in range(len(scores)):
        # A mean of probabilities is at most 1, and a rounding step above: what is below cannot pass.
        query = (scores[image] * (1 + 1e-5) >= threshold).nonzero()[:, 0]
        painted = torch.full(pairs[image], -1.0, device=mask_logits.device)
        if not len(query):
            found.append(_nothing(painted, scores))
            continue
        logits = _full_logits(mask_logits, image, query, square, shown[image], pairs[image])
        masks = logits > 0
        score = scores[image, query] * inner_shares(logits)
        chosen = (masks.flatten(1).any(dim=1) & (score >= threshold)).nonzero()[:, 0]
        for number, place in enumerate(chosen.tolist()):
            painted.masked_fill_(masks[place], number)
        ids = torch.arange(len(chosen), device=painted.device)
        found.append(Segmentation(painted, ids, labels[image, query[chosen]], score[chosen], query[chosen]))
    return found


def _sizes_of(
    class_logits: Tensor, mask_logits: Tensor, shown: Sequence[tuple[int, int]], sizes: Sizes
) -> list[tuple[int, int]]:
    pairs = _check(class_logits, mask_logits, sizes)
    if pairs is None or len(shown) != len(class_logits):
        raise ValueError(f"sizes and shown must name every image of the batch; got {sizes!r:.60} and {shown!r:.60}")
    return pairs


def _nothing(empty: Tensor, scores: Tensor) -> Segmentation:
    none = torch.zeros(0, dtype=torch.int64, device=scores.device)
    return Segmentation(empty, none, none, scores.new_zeros(0), none)


def _full_logits(
    mask_logits: Tensor,
    image: int,
    query: Tensor,
    square: tuple[int, int],
    shown: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """The mask logits of some queries at the size of the picture, as the resizes of all queries give them."""
    if not mask_logits.is_contiguous():
        mask_logits = F.interpolate(mask_logits, size=square, mode="bilinear", align_corners=False)
        return resize(mask_logits[image][:, : shown[0], : shown[1]], size)[query]
    whole = size[0] + size[1] <= 128 or 3 in (mask_logits.shape[1], len(query))
    first = [*range(mask_logits.shape[1])] if whole else query.tolist()
    cut = resize_chosen(mask_logits[image], first, square)[:, : shown[0], : shown[1]]
    resized = resize(cut, size)
    return resized[query] if whole else resized


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
