"""Panoptic maps: every pixel to the best of the queries that are kept, and the segments that come of it.

One rule serves MaskFormer, Mask2Former, OneFormer, DETR and Conditional DETR, and the instance maps of the latter two,
which are the same without fusing. transformers resizes the masks of all queries; here only those that are kept are
resized, and of the map at full size only the pixels where the winner is open are computed (`semantic`). On a device
every pixel of the kept queries is: by triton's kernel without a wait, or by torch, and then the host waits once for a
batch: for which queries are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..transfers import received, sent
from .boxes import Sizes, size_pairs
from .level_sets import count_above
from .segments import QuerySegments, Segmentations, larger_ratio, no_segments, numbered, segmentations
from .semantic import class_map, first_largest
from .slots import Paint, Slots, painted
from .tiled_panoptic import in_tiles, tiled_queries
from .upsampling import DEVICE_CHUNK_BYTES, goes_whole, resize, resize_chosen, resize_parts, resize_some, rounding


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
) -> Segmentations:
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
    On a device it waits once for the batch, unless triton's kernel runs there, and with ``fuse`` once more an image.
    """
    pairs = _check(class_logits, mask_logits, sizes)
    class_logits, mask_logits = class_logits.detach(), mask_logits.detach()
    scores, labels = class_logits.softmax(dim=-1).max(dim=-1)
    chosen = (labels != class_logits.shape[-1] - 1) & (scores > threshold)
    thresholds: dict[str, Any] = {"mask_threshold": mask_threshold, "overlap_threshold": overlap_threshold}

    def none_kept(image: int) -> QuerySegments:
        return no_segments(_no_map((pairs[image] if pairs else None) or mask_size, mask_logits, compat), scores)

    if pairs is not None and in_tiles(class_logits, mask_logits, pairs, antialias):
        how: dict[str, Any] = {"fuse": fuse, "mask_size": mask_size, "compat": compat, "none_kept": none_kept}
        how.update(thresholds)
        return segmentations(tiled_queries(mask_logits, scores, labels, chosen, pairs, **how))

    def kept(image: int, queries: Tensor) -> KeptMasks:
        there = sent(queries, scores.device)
        probs = kept_probabilities(mask_logits, image, queries, mask_size)
        return KeptMasks(
            probs, scores[image].index_select(0, there), labels[image].index_select(0, there), queries=there
        )

    paint = _painter(kept, pairs, fuse=fuse, antialias=antialias, compat=compat, **thresholds)
    return painted(chosen, paint, none_kept, [*(pairs or ()), mask_size or _size_of(mask_logits)])


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
) -> Segmentations:
    """OneFormer's instances: the Q best pairs of query and class, painted as `panoptic_maps` paints queries.

    Arguments and results as there; a pair stays if its class probability is above ``threshold`` (None: all stay).
    Order and ties: as torch.topk lists the pairs, unsorted. compat=True is transformers, which multiplies scores with
    the *logits* of masks and compares those with ``mask_threshold``; compat=False takes probabilities.
    On a device it waits once a batch.
    """
    pairs = _check(class_logits, mask_logits, sizes)
    class_logits, mask_logits = class_logits.detach(), mask_logits.detach()
    classes = class_logits.shape[2] - 1
    best = best_pairs_there(class_logits)
    scores, pair = (torch.stack(column) for column in zip(*best, strict=True)) if best else (class_logits[:, :, 0],) * 2
    keep = torch.ones_like(scores, dtype=torch.bool) if threshold is None else scores > threshold

    def none_kept(image: int) -> QuerySegments:
        return no_segments(_no_map(pairs[image] if pairs else None, mask_logits, compat), scores)

    def kept(image: int, places: Tensor) -> KeptMasks:
        there = sent(places, scores.device)
        own = pair[image].index_select(0, there)
        query = torch.div(own, classes, rounding_mode="floor")
        masks = mask_logits[image].index_select(0, query)
        own_scores = scores[image].index_select(0, there)
        return KeptMasks(masks if compat else masks.sigmoid(), own_scores, own % classes, query)

    thresholds: dict[str, Any] = {"mask_threshold": mask_threshold, "overlap_threshold": overlap_threshold}
    paint = _painter(kept, pairs, antialias=antialias, compat=compat, **thresholds)
    return painted(keep, paint, none_kept, [*(pairs or ()), _size_of(mask_logits)])


def best_pairs(class_logits: Tensor) -> list[tuple[Tensor, Tensor]]:
    """On the host, for each image: the class probability of its Q best pairs of query and class, [Q], and the pairs as
    query * C + class, [Q] int64. The order is torch.topk's, unsorted. On a device it waits once for all images."""
    best = best_pairs_there(class_logits)
    read = received(*(scores for scores, _ in best), *(pairs for _, pairs in best))
    return list(zip(read[: len(best)], read[len(best) :], strict=True))


def best_pairs_there(class_logits: Tensor) -> list[tuple[Tensor, Tensor]]:
    """`best_pairs` where the logits are."""
    queries = class_logits.shape[1]
    chances = [F.softmax(logits, dim=-1)[:, :-1].flatten() for logits in class_logits]
    best = (scores.topk(min(queries, scores.numel()), sorted=False) for scores in chances)
    return [(each.values, each.indices) for each in best]


def _check(class_logits: Tensor, mask_logits: Tensor, sizes: Sizes | None) -> list[tuple[int, int]] | None:
    if class_logits.dim() != 3:
        raise ValueError(f"class_logits must be [B, Q, C + 1]; got shape {list(class_logits.shape)}")
    if mask_logits.dim() != 4 or mask_logits.shape[:2] != class_logits.shape[:2]:
        wanted = f"[{class_logits.shape[0]}, {class_logits.shape[1]}, h, w]"
        raise ValueError(f"mask_logits must be {wanted}; got shape {list(mask_logits.shape)}")
    return size_pairs(sizes, class_logits.shape[0])


def _size_of(mask_logits: Tensor) -> tuple[int, int]:
    return mask_logits.shape[2], mask_logits.shape[3]


def _no_map(size: Sequence[int] | None, mask_logits: Tensor, compat: bool) -> Tensor:
    """The map of an image in which no query is kept; transformers makes it on the host."""
    size = tuple(size or mask_logits.shape[2:])
    return (
        torch.full(size, -1.0, device="cpu")
        if compat
        else torch.zeros(size, dtype=torch.int32, device=mask_logits.device)
    )


@dataclass(frozen=True)
class KeptMasks:
    """Mask probabilities of the kept queries of an image, and what these are. K queries."""

    probs: Tensor  # [K, h, w]
    scores: Tensor  # [K]
    labels: Tensor  # [K] int64
    queries: Tensor  # [K] int64

    def segments(
        self,
        *,
        size: tuple[int, int] | None,
        mask_threshold: float,
        overlap_threshold: float,
        fuse: Collection[int] = (),
        antialias: bool = False,
        compat: bool = True,
        slots: Slots | None = None,
    ) -> QuerySegments:
        """What the kept queries become. slots: which of them are kept; None: all."""
        masks = self
        if antialias and size is not None:
            masks, size = self._smoothed(size), None
        winners, areas, covers = masks.areas(size, mask_threshold)
        passed = (areas > 0) & (covers > 0) & larger_ratio(areas, covers, overlap_threshold)
        if slots is not None:
            passed = passed & slots.filled
        ids, fused = numbered(self.labels, passed, fuse, compat)
        shown = ids.to(torch.int32).index_select(0, winners.flatten()).view(winners.shape)
        if slots is not None and compat:
            shown = torch.where(slots.kept > 0, shown, -1)
        return QuerySegments(shown, passed, ids, self.labels, self.scores, self.queries, fused)

    def _smoothed(self, size: tuple[int, int]) -> KeptMasks:
        if size == (self.probs.shape[1], self.probs.shape[2]):
            return self
        resized = F.interpolate(self.probs[None], size=size, mode="bilinear", align_corners=False, antialias=True)
        return replace(self, probs=resized[0])

    def areas(self, size: tuple[int, int] | None, mask_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """The winning query of every pixel, how many each wins, and how many reach the threshold with each."""
        if self.probs.device.type != "cpu":
            return self._every_pixel(size, mask_threshold)
        weighted = _weighted(self.probs, self.scores[:, None, None])
        if size is None:
            winners = first_largest(lambda: [(0, weighted)])
            covers = (weighted >= mask_threshold).sum(dim=(1, 2))
        else:
            plane = _planes_of(self.probs, self.scores, size)
            winners, slack = class_map(weighted, size, exact=plane), rounding(weighted)
            counts = [
                count_above(low, size, mask_threshold, slack, functools.partial(plane, index))
                for index, low in enumerate(weighted)
            ]
            covers = torch.tensor(counts, device="cpu")
        return winners, torch.bincount(winners.flatten(), minlength=len(self.scores)), covers

    def _every_pixel(self, size: tuple[int, int] | None, mask_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """The same from the planes at full size, a few at a time, without a wait."""
        covers = []

        def weighted() -> Iterator[tuple[int, Tensor]]:
            for first, part in [(0, self.probs)] if size is None else resize_parts(self.probs, size):
                values = _weighted(part, self.scores[first : first + len(part), None, None])
                covers.append((values >= mask_threshold).sum(dim=(1, 2)))
                yield first, values

        winners = first_largest(weighted)
        numbers = torch.arange(len(self.scores), device=winners.device)[:, None, None]
        at_once = max(1, DEVICE_CHUNK_BYTES // max(winners.numel(), 1))
        areas = [(winners == some).sum(dim=(1, 2)) for some in torch.split(numbers, at_once)]
        return winners, torch.cat(areas), torch.cat(covers)


def _painter(kept: Callable[[int, Tensor], KeptMasks], pairs: list[tuple[int, int]] | None, **how: Any) -> Paint:
    """What paints an image. kept: the masks of an image at places of kept entries. how: see ``KeptMasks.segments``."""

    def paint(image: int, places: Tensor, slots: Slots | None) -> QuerySegments:
        return kept(image, places).segments(size=None if pairs is None else pairs[image], slots=slots, **how)

    return paint


def _planes_of(probs: Tensor, scores: Tensor, size: tuple[int, int]) -> Callable[[int], Tensor]:
    """A query's probabilities at full size times its score, as transformers computes them."""
    if goes_whole(probs, size):
        whole = functools.lru_cache(maxsize=1)(lambda: resize(probs, size))
        return lambda index: _weighted(whole()[index], scores[index])
    return lambda index: _weighted(next(resize_some(probs, [index], size))[1][0], scores[index])


def _weighted(probs: Tensor, scores: Tensor) -> Tensor:
    """Probabilities times scores in the type of the probabilities: transformers multiplies in place."""
    return (probs * scores).to(probs.dtype)


def kept_probabilities(mask_logits: Tensor, image: int, queries: Tensor, mask_size: tuple[int, int] | None) -> Tensor:
    """Mask probabilities [K, h, w] of some queries, as the sigmoid of all queries of the batch gives them.

    queries: [K] int64, on the host or where the masks are.
    """
    if mask_logits.device.type != "cpu":
        masks = mask_logits[image].index_select(0, sent(queries, mask_logits.device))
        return (masks if mask_size is None else resize(masks, mask_size)).sigmoid()
    if not mask_logits.is_contiguous():
        return _whole_probabilities(mask_logits, mask_size)[image, queries]
    if mask_size is not None:
        masks = resize_chosen(mask_logits[image], queries.tolist(), mask_size)
    else:
        masks = mask_logits[image].index_select(0, queries)
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
