"""The segments of an image, and what every query that was kept becomes before it is known which of them are segments.

On a device the second form is what a batch leaves: nothing but its ``shown`` has to be waited for, once for all images,
when the segments are read (`Shown`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar, overload

import torch
from torch import Tensor

from ..transfers import received, sent

Q = TypeVar("Q")
S = TypeVar("S")


class Shown(Sequence[S], Generic[Q, S]):
    """What a batch shows, an entry an image, made when the first is read: the one wait on a device.

    queries: what every kept query of each image becomes, for those who read it together with something else.
    show: what the images show, from all of their queries.
    """

    def __init__(self, queries: Sequence[Q], show: Callable[[Sequence[Q]], list[S]]) -> None:
        self.queries = queries
        self._show = show

    @cached_property
    def _entries(self) -> list[S]:
        return self._show(self.queries)

    def __len__(self) -> int:
        return len(self.queries)

    @overload
    def __getitem__(self, index: int) -> S: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[S]: ...
    def __getitem__(self, index: int | slice) -> S | Sequence[S]:
        return self._entries[index]

    def __repr__(self) -> str:
        return repr(self._entries)


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


@dataclass(frozen=True)
class QuerySegments:
    """What each of the K kept queries of an image becomes: a segment, or nothing where it is not ``shown``.

    otherwise: gives what the image is instead where no query was kept, or more than K, of that number.
    """

    map: Tensor  # [H, W]; a segment's pixels hold its id
    shown: Tensor  # [K] bool
    ids: Tensor  # [K] int64
    labels: Tensor  # [K] int64
    scores: Tensor  # [K] float
    queries: Tensor  # [K] int64
    fused: Tensor | None = None  # [K] bool
    kept: Tensor | None = None  # [] int64, how many queries were kept, where that was not asked before
    otherwise: Callable[[int], QuerySegments] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The fields that hold tensors, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def settled(self, kept: int) -> QuerySegments:
        """Itself, or what it is instead where ``kept`` queries were kept."""
        return self.otherwise(kept) if self.otherwise is not None and not 0 < kept <= len(self.shown) else self

    def segments(self, chosen: Tensor) -> Segmentation:
        """The segments of some queries. chosen: their places, [S] int64."""
        if not len(self.ids):
            return Segmentation(self.map, self.ids, self.labels, self.scores, self.queries, self.fused)
        columns = (self.ids, self.labels, self.scores, self.queries)
        ids, labels, scores, queries = (column.index_select(0, chosen) for column in columns)
        fused = None if self.fused is None else self.fused.index_select(0, chosen)
        return Segmentation(self.map, ids, labels, scores, queries, fused)


Segmentations: TypeAlias = Shown[QuerySegments, Segmentation]
"""The segments of a batch, a `Segmentation` an image."""


def segmentations(found: Sequence[QuerySegments]) -> Segmentations:
    """The segments of every image."""
    asked_before = all(each.kept is None for each in found)
    return Shown(found, _segments_of if asked_before else shown_segments)


def _segments_of(found: Sequence[QuerySegments]) -> list[Segmentation]:
    """The segments of images of which it is known how many queries were kept."""
    return [each.segments(chosen) for each, chosen in zip(found, shown_places(found), strict=True)]


def shown_segments(found: Sequence[QuerySegments]) -> list[Segmentation]:
    """The segments of every image; on a device it waits once for all, unless an image has more kept than slots."""
    none = torch.zeros((), dtype=torch.int64, device="cpu")
    read = received(*(each.shown for each in found), *(none if each.kept is None else each.kept for each in found))
    shown, counts = read[: len(found)], read[len(found) :]
    settled = [each if each.kept is None else each.settled(int(kept)) for each, kept in zip(found, counts, strict=True)]
    again = [place for place, (each, before) in enumerate(zip(settled, found, strict=True)) if each is not before]
    for place, own in zip(again, received(*(settled[place].shown for place in again)), strict=True):
        shown[place] = own
    places = [sent(own.nonzero()[:, 0], each.ids.device) for each, own in zip(settled, shown, strict=True)]
    return [each.segments(chosen) for each, chosen in zip(settled, places, strict=True)]


def shown_places(found: Sequence[QuerySegments]) -> list[Tensor]:
    """The places of the queries that are segments, [S] int64 an image; on a device it waits once for all images."""
    shown = received(*(each.shown for each in found))
    return [sent(own.nonzero()[:, 0], each.ids.device) for each, own in zip(found, shown, strict=True)]


def no_segments(empty: Tensor, scores: Tensor, *, fused: bool = True) -> QuerySegments:
    """An image in which no query is kept. scores: any, for the type and the device."""
    none = torch.zeros(0, dtype=torch.int64, device=scores.device)
    shown = torch.zeros(0, dtype=torch.bool, device="cpu")  # nothing of it is waited for
    return QuerySegments(empty, shown, none, none, scores.new_zeros(0), none, none.bool() if fused else None)


def larger_ratio(count: Tensor, whole: Tensor, least: float) -> Tensor:
    """Whether the quotient of two counts, as float32, exceeds a double: what transformers compares. [K] bool."""
    return (count / whole).double() > least


def numbered(labels: Tensor, passed: Tensor, fuse: Collection[int], compat: bool) -> tuple[Tensor, Tensor]:
    """The id of each query's segment, 0 for none, and whether its class is fused: [K] int64 and bool.

    On a device it waits where classes are fused.
    """
    if not fuse:
        return passed.cumsum(0) * passed, torch.zeros_like(passed)
    known, there = received(labels, passed)
    ids, fused = segment_ids(known.tolist(), there.tolist(), fuse, compat)
    return sent(torch.tensor(ids, device="cpu"), labels.device), sent(torch.tensor(fused, device="cpu"), labels.device)


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
