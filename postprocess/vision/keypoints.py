"""Keypoints found in images, and matched between two: points in pixels from relative ones, whole batches at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..records import collection_paused
from .boxes import Sizes, size_columns

PairSizes = Tensor | Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True)
class Matches:
    """Points of one image with points of another, of B pairs of images. N matches, by pair, then as the model lists."""

    first: Tensor  # [N, 2] int32 x, y in the first image
    second: Tensor  # [N, 2] int32 in the second
    scores: Tensor  # [N] float
    pair: Tensor  # [N] int64, ascending
    num_pairs: int

    def per_pair(self) -> list[dict[str, Tensor]]:
        """One ``{keypoints0, keypoints1, matching_scores}`` per pair, as ``post_process_keypoint_matching`` returns."""
        return _cut(
            self.pair,
            self.num_pairs,
            {"keypoints0": self.first, "keypoints1": self.second, "matching_scores": self.scores},
        )

    def records(self) -> list[list[dict[str, Any]]]:
        """One list of ``{keypoint_image_0: {x, y}, keypoint_image_1: {x, y}, score}`` per pair, best first."""
        order = self.scores.argsort(descending=True, stable=True)
        order = order[self.pair[order].argsort(stable=True)]
        columns = (*self.first[order].T.tolist(), *self.second[order].T.tolist(), self.scores[order].tolist())
        with collection_paused():
            found = [
                {"keypoint_image_0": {"x": a, "y": b}, "keypoint_image_1": {"x": c, "y": d}, "score": score}
                for a, b, c, d, score in zip(*columns, strict=True)
            ]
        ends: list[int] = torch.bincount(self.pair, minlength=self.num_pairs).cumsum(0).tolist()
        return [found[first:last] for first, last in zip([0, *ends], ends, strict=False)]


def _cut(owner: Tensor, count: int, columns: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    counts: list[int] = torch.bincount(owner, minlength=count).tolist()
    cut = [torch.split(column, counts) for column in columns.values()]
    return [dict(zip(columns, parts, strict=True)) for parts in zip(*cut, strict=True)]


def match_keypoints(
    keypoints: Tensor,
    matches: Tensor,
    scores: Tensor,
    *,
    sizes: PairSizes,
    mask: Tensor | None = None,
    threshold: float = 0.0,
) -> Matches:
    """Matches above the threshold (SuperGlue, LightGlue): points of the first image with one in the second.

    keypoints: [B, 2, N, 2] relative x, y. matches: [B, N] the place in the second image's points, -1 for none. scores:
    [B, N]. mask: [B, 2, N], positive where a point is one and not padding; places count the points of the second image
    alone, and a match beyond them is left out (4.57 of transformers raises IndexError). sizes: (height, width) of both
    images of each pair, [B, 2, 2] or lists. Coordinates are cut toward zero.
    """
    _check_points(keypoints, matches.shape[:1])
    pixels = scaled_points(keypoints, sizes)
    batch, _, count, _ = keypoints.shape
    there = torch.ones(batch, 2, count, dtype=torch.bool, device=keypoints.device) if mask is None else mask > 0
    known = there[:, 1].sum(dim=1, keepdim=True)
    valid = there[:, 0] & (scores > threshold) & (matches > -1) & (matches < known)
    pair, point = valid.nonzero(as_tuple=True)
    # The k-th point of the second image that is one.
    order = there[:, 1].to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    other = order[pair, matches[pair, point].long()]
    return Matches(pixels[pair, 0, point], pixels[pair, 1, other], scores[pair, point], pair, batch)


def match_both_ways(
    keypoints: Tensor, matches: Tensor, scores: Tensor, *, sizes: PairSizes, threshold: float = 0.0
) -> Matches:
    """Matches of a model that gives the points of both images one (EfficientLoFTR).

    keypoints: [B, 2, N, 2]. matches, scores: [B, 2, N]. The valid points of either image are paired in their order;
    scores are the first image's.
    """
    _check_points(keypoints, matches.shape[:1])
    pixels = scaled_points(keypoints, sizes)
    valid = (scores > threshold) & (matches > -1)
    sums = valid.sum(dim=2)
    uneven = (sums[:, 0] != sums[:, 1]).nonzero()[:, 0].tolist()
    if uneven:
        row = uneven[0]
        raise ValueError(f"matches must be as many in both images; got {sums[row].tolist()} in row {row}")
    pair, first = valid[:, 0].nonzero(as_tuple=True)
    _, second = valid[:, 1].nonzero(as_tuple=True)
    return Matches(pixels[pair, 0, first], pixels[pair, 1, second], scores[pair, 0, first], pair, len(keypoints))


def scaled_points(keypoints: Tensor, sizes: PairSizes) -> Tensor:
    """Relative points [B, 2, N, 2] in pixels of their images, int32, cut toward zero."""
    values = sizes if isinstance(sizes, Tensor) else torch.tensor(sizes, device="cpu")
    if values.shape != (len(keypoints), 2, 2):
        wanted = f"(height, width) of both images of each of {len(keypoints)} pairs"
        raise ValueError(f"sizes must be {wanted}; got shape {list(values.shape)}")
    return (keypoints * values.to(keypoints.device).flip(-1).reshape(-1, 2, 1, 2)).to(torch.int32)


@dataclass(frozen=True)
class Keypoints:
    """Points of B images. N points, by image."""

    points: Tensor  # [N, 2] int32 x, y
    scores: Tensor  # [N] float
    descriptors: Tensor  # [N, D] float
    image: Tensor  # [N] int64, ascending
    num_images: int

    def per_image(self) -> list[dict[str, Tensor]]:
        """One ``{keypoints, scores, descriptors}`` per image, as ``post_process_keypoint_detection`` returns."""
        columns = {"keypoints": self.points, "scores": self.scores, "descriptors": self.descriptors}
        return _cut(self.image, self.num_images, columns)


def detect_keypoints(
    keypoints: Tensor, scores: Tensor, descriptors: Tensor, mask: Tensor, *, sizes: Sizes
) -> Keypoints:
    """Points of every image in pixels (SuperPoint).

    keypoints: [B, N, 2] relative x, y. scores: [B, N]. descriptors: [B, N, D]. mask: [B, N], not 0 where a point is
    one. sizes: (height, width) of each image. Coordinates are cut toward zero.
    """
    height, width = size_columns(sizes, len(keypoints))
    scale = torch.stack((width, height), dim=1)[:, None].to(keypoints.device)
    image, point = (mask != 0).nonzero(as_tuple=True)
    pixels = (keypoints * scale).to(torch.int32)
    chosen = (pixels[image, point], scores[image, point], descriptors[image, point])
    return Keypoints(*chosen, image, len(keypoints))


def _check_points(keypoints: Tensor, batch: Sequence[int]) -> None:
    if keypoints.dim() != 4 or keypoints.shape[1] != 2 or keypoints.shape[3] != 2 or keypoints.shape[0] != batch[0]:
        raise ValueError(f"keypoints must be [{batch[0]}, 2, N, 2]; got shape {list(keypoints.shape)}")
