"""Panoptic maps: every pixel to the best of the queries that are kept, and the segments that come of it.

One rule serves MaskFormer, Mask2Former, OneFormer, DETR and Conditional DETR, and the instance maps of the latter two,
which are the same without fusing. transformers resizes the masks of all queries; here only those that are kept are
resized, and of the map at full size only the pixels where the winner is open are computed (`semantic`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes, size_pairs
from .level_sets import count_above
from .semantic import class_map, first_largest
from .upsampling import goes_whole, resize, resize_chosen, resize_some, rounding


@dataclass(frozen=True)
class Segmentation:
    """The segments of one image and the map that shows them. S segments."""

    map: Tensor  # [H, W]; a segment's pixels hold its id
    ids: Tensor  # [S] int64
    labels: Tensor  # [S] int64
    scores: Tensor  # [S] float
    queries: Tensor  # [S] int64, the query that each comes from
    fused: Tensor | None = None  # [S] bool: of a class whose segments are one

    def records(self) -> dict[str, Any]:
        """``{segmentation, segments_info}`` as transformers returns them; scores rounded to six digits."""
        rows = zip(self.ids.tolist(), self.labels.tolist(), self.scores.tolist(), strict=True)
        info: list[dict[str, Any]] = [
            {"id": id_, "label_id": label, "score": round(score, 6)} for id_, label, score in rows
        ]
        if self.fused is not None:
            for row, fused in zip(info, self.fused.tolist(), strict=True):
                row["was_fused"] = fused
        return {"segmentation": self.map, "segments_info": info}


def panoptic_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    fuse: Collection[int] = (),
    mask_size: tuple[int, int] | None = None,
    antialias: bool = False,
    compat: bool = True,
) -> list[Segmentation]:
    """One segmentation per image: int32 maps, ids from 1 in the order of the queries, 0 where a query failed.

    class_logits: [B, Q, C + 1] float, the last class is "no object". mask_logits: [B, Q, h, w] float. sizes: (height,
    width) of each image; None keeps the size of the masks. A query is kept if its best class is an object with a score
    above ``threshold``. Pixels go to the kept query with the largest score * mask probability (ties: the first). A
    query becomes a segment if it has pixels, if pixels reach ``mask_threshold`` with that product, and if the ratio of
    both numbers exceeds ``overlap_threshold``. fuse: classes whose segments are one. mask_size: masks are first
    resized to it; (384, 384) for Mask2Former. antialias: masks that shrink are smoothed first, as torchvision does it
    for OneFormer.

    compat=True is transformers: after a fused class repeats, ids are counted on from its id, so that two segments may
    share one; and an image without a kept query has a float32 map of -1. compat=False gives every segment its own id,
    and such an image an int32 map of 0. Mask probabilities are multiplied by the score before ``mask_threshold``, so
    that a query of a score below it never passes, in both.
    """
    pairs = _check(class_logits, mask_logits, sizes)
    scores, labels = class_logits.softmax(dim=-1).max(dim=-1)
    keep = (labels != class_logits.shape[-1] - 1) & (scores > threshold)
    found = []
    for image, kept in enumerate(keep):
        queries = kept.nonzero()[:, 0]
        size = None if pairs is None else pairs[image]
        if not len(queries):
            whole = size or mask_size or (mask_logits.shape[2], mask_logits.shape[3])
            found.append(no_segments(whole, mask_logits.device, compat))
            continue
        masks = KeptMasks.of(mask_logits, image, queries, mask_size, scores[image, queries])
        found.append(
            masks.segmentation(
                labels[image, queries],
                queries,
                size=size,
                mask_threshold=mask_threshold,
                overlap_threshold=overlap_threshold,
                fuse=fuse,
                antialias=antialias,
                compat=compat,
            )
        )
    return found


def pair_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: float | None = 0.5,
    mask_threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    antialias: bool = False,
    compat: bool = True,
) -> list[Segmentation]:
    """OneFormer's instances: the Q best pairs of query and class, painted as `panoptic_maps` paints queries.

    Arguments and results as there; a pair stays if its class probability is above ``threshold`` (None: all stay).
    Order and ties: as torch.topk lists the pairs, unsorted. compat=True is transformers, which multiplies scores with
    the *logits* of masks and compares those with ``mask_threshold``; compat=False takes probabilities.
    """
    pairs = _check(class_logits, mask_logits, sizes)
    classes, queries = class_logits.shape[2] - 1, class_logits.shape[1]
    found = []
    for image, logits in enumerate(class_logits):
        chances = F.softmax(logits, dim=-1)[:, :-1]
        scores, pair = chances.flatten().topk(min(queries, chances.numel()), sorted=False)
        if threshold is not None:
            kept = scores > threshold
            scores, pair = scores[kept], pair[kept]
        size = None if pairs is None else pairs[image]
        if not len(pair):
            found.append(no_segments(size or (mask_logits.shape[2], mask_logits.shape[3]), logits.device, compat))
            continue
        query = torch.div(pair, classes, rounding_mode="floor")
        masks = mask_logits[image, query]
        found.append(
            KeptMasks(masks if compat else masks.sigmoid(), scores).segmentation(
                pair % classes,
                query,
                size=size,
                mask_threshold=mask_threshold,
                overlap_threshold=overlap_threshold,
                antialias=antialias,
                compat=compat,
            )
        )
    return found


def _check(class_logits: Tensor, mask_logits: Tensor, sizes: Sizes | None) -> list[tuple[int, int]] | None:
    if class_logits.dim() != 3:
        raise ValueError(f"class_logits must be [B, Q, C + 1]; got shape {list(class_logits.shape)}")
    if mask_logits.dim() != 4 or mask_logits.shape[:2] != class_logits.shape[:2]:
        wanted = f"[{class_logits.shape[0]}, {class_logits.shape[1]}, h, w]"
        raise ValueError(f"mask_logits must be {wanted}; got shape {list(mask_logits.shape)}")
    return size_pairs(sizes, class_logits.shape[0])


def no_segments(size: tuple[int, int], device: torch.device, compat: bool) -> Segmentation:
    """An image in which nothing was found."""
    empty = torch.full(size, -1.0) if compat else torch.zeros(size, dtype=torch.int32, device=device)
    none = torch.zeros(0, dtype=torch.int64, device=device)
    return Segmentation(empty, none, none, none.float(), none, none.bool())


def _ratio(area: int, cover: int) -> float:
    """The quotient of two counts as float32, which is what transformers compares."""
    return float(torch.tensor(area) / torch.tensor(cover))


def segment_ids(
    labels: list[int], passed: list[bool], fuse: Collection[int], compat: bool
) -> tuple[list[int], list[bool]]:
    """The id of each query's segment, 0 for none, and whether its class is fused."""
    current = newest = 0
    known: dict[int, int] = {}
    ids = []
    for label, there in zip(labels, passed, strict=True):
        if not there:
            ids.append(0)
            continue
        if label in known:
            current = known[label]
        else:
            current = newest = (current if compat else newest) + 1
        if label in fuse:
            known[label] = current
        ids.append(current)
    return ids, [label in fuse for label in labels]


def _segmentation(
    winners: Tensor, ids: list[int], labels: Tensor, scores: Tensor, queries: Tensor, fused: list[bool]
) -> Segmentation:
    """The map of one image and its segments: winners [H, W], which of the N kept queries each pixel shows.

    ids: [N], each query's segment, 0 for none. fused: whether the segment has several queries.
    """
    device = winners.device
    painted = torch.tensor(ids, dtype=torch.int32, device=device).index_select(0, winners.flatten())
    chosen = torch.tensor([place for place, id_ in enumerate(ids) if id_], dtype=torch.int64, device=device)
    kept_ids = torch.tensor(ids, device=device)[chosen]
    kept_fused = torch.tensor(fused, device=device)[chosen]
    return Segmentation(
        painted.view(winners.shape), kept_ids, labels[chosen], scores[chosen], queries[chosen], kept_fused
    )


@dataclass(frozen=True)
class KeptMasks:
    """Mask probabilities of the kept queries of an image. K queries."""

    probs: Tensor  # [K, h, w]
    scores: Tensor  # [K]

    @classmethod
    def of(
        cls, mask_logits: Tensor, image: int, queries: Tensor, mask_size: tuple[int, int] | None, scores: Tensor
    ) -> KeptMasks:
        """From the mask logits of a batch: the ``queries`` kept of one image, at ``mask_size`` where it is given."""
        return cls(kept_probabilities(mask_logits, image, queries, mask_size), scores)

    def segmentation(
        self,
        labels: Tensor,
        queries: Tensor,
        *,
        size: tuple[int, int] | None,
        mask_threshold: float,
        overlap_threshold: float,
        fuse: Collection[int] = (),
        antialias: bool = False,
        compat: bool = True,
    ) -> Segmentation:
        """The segments that the kept queries become. labels, queries: [K] int64."""
        masks = self
        if antialias and size is not None:
            masks, size = self._smoothed(size), None
        winners, areas, covers = masks.areas(size, mask_threshold)
        passed = [a > 0 and c > 0 and _ratio(a, c) > overlap_threshold for a, c in zip(areas, covers, strict=True)]
        ids, fused = segment_ids(labels.tolist(), passed, fuse, compat)
        return _segmentation(winners, ids, labels, self.scores, queries, fused)

    def _smoothed(self, size: tuple[int, int]) -> KeptMasks:
        if size == (self.probs.shape[1], self.probs.shape[2]):
            return self
        resized = F.interpolate(self.probs[None], size=size, mode="bilinear", align_corners=False, antialias=True)
        return KeptMasks(resized[0], self.scores)

    def areas(self, size: tuple[int, int] | None, mask_threshold: float) -> tuple[Tensor, list[int], list[int]]:
        """The winning query of every pixel, how many each wins, and how many reach the threshold with each."""
        weighted = self.probs * self.scores[:, None, None]
        count = len(self.scores)
        if size is None:
            winners = first_largest(lambda: [(0, weighted)])
            covers: list[int] = (weighted >= mask_threshold).sum(dim=(1, 2)).tolist()
        else:
            plane = _planes_of(self.probs, self.scores, size)
            winners, slack = class_map(weighted, size, exact=plane), rounding(weighted)
            covers = [
                count_above(low, size, mask_threshold, slack, functools.partial(plane, index))
                for index, low in enumerate(weighted)
            ]
        areas: list[int] = torch.bincount(winners.flatten(), minlength=count).tolist()
        return winners, areas, covers


def _planes_of(probs: Tensor, scores: Tensor, size: tuple[int, int]) -> Callable[[int], Tensor]:
    """A query's probabilities at full size times its score, as transformers computes them."""
    if goes_whole(probs, size):
        whole = functools.lru_cache(maxsize=1)(lambda: resize(probs, size))
        return lambda index: whole()[index] * scores[index]
    return lambda index: next(resize_some(probs, [index], size))[1][0] * scores[index]


def kept_probabilities(mask_logits: Tensor, image: int, queries: Tensor, mask_size: tuple[int, int] | None) -> Tensor:
    """Mask probabilities [K, h, w] of some queries, as the sigmoid of all queries of the batch gives them."""
    if not mask_logits.is_contiguous():
        return _whole_probabilities(mask_logits, mask_size)[image, queries]
    if mask_size is not None:
        masks = resize_chosen(mask_logits[image], queries.tolist(), mask_size)
    else:
        masks = mask_logits[image, queries]
    if masks.device.type != "cpu":
        return masks.sigmoid()
    # Of a call on the CPU the last values, up to 31, are computed one by one, with other last bits than in a vector.
    short = -masks.numel() % 32
    padded = F.pad(masks.flatten(), (0, short)) if short else masks.flatten()
    flat = padded.sigmoid()[: masks.numel()]
    probs = flat.view(masks.shape)
    pixels = masks.shape[1] * masks.shape[2]
    of_all = mask_logits.shape[0] * mask_logits.shape[1] * pixels
    singles = of_all - of_all % 32
    for place, query in enumerate(queries.tolist()):
        first = max(singles - (image * mask_logits.shape[1] + query) * pixels, 0)
        if first < pixels:
            probs[place].view(-1)[first:] = masks[place].reshape(-1)[first:].sigmoid()
    return probs


def _whole_probabilities(mask_logits: Tensor, mask_size: tuple[int, int] | None) -> Tensor:
    if mask_size is not None:
        mask_logits = F.interpolate(mask_logits, size=mask_size, mode="bilinear", align_corners=False)
    return mask_logits.sigmoid()
