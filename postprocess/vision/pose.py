"""Poses from heatmaps: the peak of every keypoint's map, refined by a Newton step on the smoothed logarithm (ViTPose).

Only the 3 x 3 window around a peak is used, so only the patch that its smoothing reads is filtered, in the order of
operations of scipy's filter: float64 sums of the centre, then of pairs of taps from the far ones inwards, rounded to
float32 after each axis. scipy is not needed. Source: Zhang et al. 2020, arXiv:1910.06278 (distribution-aware decoding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .boxes import convert_boxes

Array = np.ndarray[Any, np.dtype[Any]]
SIGMA = 0.8  # of the Gaussian
FLOOR, CEILING = 0.001, 50  # between which heatmaps are cut before their logarithm
NORMALIZE, PADDING = 200.0, 1.25  # a box's scale: its size over 200, and a quarter more


@dataclass(frozen=True)
class Poses:
    """Keypoints of N persons, K each."""

    keypoints: Tensor  # [N, K, 2] float32 x, y in the image
    scores: Tensor  # [N, K] float32, the peak of each heatmap
    boxes: Tensor  # [N, 4] float32; see `decode_poses`

    def records(self, counts: Sequence[int], *, threshold: float | None = None) -> list[list[dict[str, Tensor]]]:
        """The persons of every image as ``{keypoints, scores, labels, bbox}``, as ``post_process_pose_estimation``.

        counts: persons of each image. threshold: keypoints with a score up to it are left out.
        """
        if sum(counts) > len(self.scores):
            raise IndexError(f"counts must add up to at most {len(self.scores)} persons; got {sum(counts)}")
        labels = torch.arange(self.scores.shape[1], device="cpu")
        persons = []
        for keypoints, scores, box in zip(self.keypoints, self.scores, self.boxes, strict=True):
            keep = slice(None) if threshold is None else scores > threshold
            persons.append({"keypoints": keypoints[keep], "scores": scores[keep], "labels": labels[keep], "bbox": box})
        ends = np.cumsum(counts).tolist()
        return [persons[first:last] for first, last in zip([0, *ends], ends, strict=False)]


def decode_poses(
    heatmaps: Tensor, boxes: Tensor, *, input_size: tuple[int, int], kernel_size: int = 11, compat: bool = True
) -> Poses:
    """Keypoints of every person in the image.

    heatmaps: [N, K, H, W] float. boxes: [N, 4] xywh, the person each was cut out for. input_size: (height, width) that
    the model sees. kernel_size: of the smoothing, odd. A map without a positive value has its peak at -1, -1, as there.
    compat=True returns boxes as transformers does: centre, then centre + scale - 1 with the scale in units of 200
    pixels. compat=False returns xyxy corners.
    Computed in numpy on the CPU. Raises numpy's LinAlgError where a window's second derivatives cancel exactly.
    """
    _check(heatmaps, boxes)
    maps = heatmaps.detach().cpu().float().contiguous().numpy()
    given = boxes.detach().cpu().numpy()
    centers, scales = _centers_and_scales(given, input_size)
    peaks, scores = _peaks(maps)
    points = _refined(peaks, maps, kernel_size)
    keypoints = _in_image(points, centers, scales, (maps.shape[2], maps.shape[3]))
    if compat:
        corners = torch.from_numpy(np.concatenate((centers, scales + centers - 1), axis=1))
    else:
        corners = convert_boxes(boxes.detach().cpu().float(), "xywh", "xyxy")
    return Poses(torch.from_numpy(keypoints), torch.from_numpy(scores), corners)


def _check(heatmaps: Tensor, boxes: Tensor) -> None:
    if heatmaps.dim() != 4:
        raise ValueError(f"heatmaps must be [N, K, H, W]; got shape {list(heatmaps.shape)}")
    if boxes.shape != (len(heatmaps), 4):
        raise ValueError(f"boxes must be [{len(heatmaps)}, 4]; got shape {list(boxes.shape)}")


def _centers_and_scales(boxes: Array, input_size: tuple[int, int]) -> tuple[Array, Array]:
    """Centres, and sizes widened to the shape of the input, [N, 2] float32 each."""
    left, top, width, height = boxes.T
    aspect = input_size[1] / input_size[0]
    wide, high = width > aspect * height, width < aspect * height
    sides = np.where(high, height * aspect, width), np.where(wide, width * 1.0 / aspect, height)
    centers = np.stack((left + width * 0.5, top + height * 0.5), axis=1).astype(np.float32)
    scales = np.stack([side / NORMALIZE for side in sides], axis=1).astype(np.float32)
    return centers, scales * np.float32(PADDING)


def _peaks(maps: Array) -> tuple[Array, Array]:
    """The place of the largest value of each map, [N, K, 2] float32 x, y, and the value, [N, K]."""
    flat = maps.reshape(*maps.shape[:2], -1)
    best = flat.argmax(axis=2)
    scores = np.take_along_axis(flat, best[..., None], axis=2)[..., 0]
    places = np.stack((best % maps.shape[3], best // maps.shape[3]), axis=2).astype(np.float32)
    return np.where(scores[..., None] > 0.0, places, np.float32(-1)), scores


def _refined(peaks: Array, maps: Array, kernel_size: int) -> Array:
    """Peaks moved by the Newton step of their window, [N, K, 2] float32."""
    windows = _windows(peaks, maps, (kernel_size - 1) // 2)
    logs = np.log(np.clip(windows, FLOOR, CEILING))  # [N * K, 3, 3]: row, column
    middle = logs[:, 1, 1]
    dx, dy = 0.5 * (logs[:, 1, 2] - logs[:, 1, 0]), 0.5 * (logs[:, 2, 1] - logs[:, 0, 1])
    dxx = logs[:, 1, 2] - 2 * middle + logs[:, 1, 0]
    dyy = logs[:, 2, 1] - 2 * middle + logs[:, 0, 1]
    # In transformers' order of terms.
    across = logs[:, 2, 2] - logs[:, 1, 2] - logs[:, 2, 1] + middle + middle
    dxy = 0.5 * (across - logs[:, 1, 0] - logs[:, 0, 1] + logs[:, 0, 0])
    shape = (*peaks.shape[:2], 2, 2)
    hessian = np.stack((dxx, dxy, dxy, dyy), axis=1).reshape(shape)
    inverse = np.linalg.inv(hessian + np.finfo(np.float32).eps * np.eye(2))
    gradient = np.stack((dx, dy), axis=1).reshape(*peaks.shape[:2], 2, 1)
    step = np.einsum("ijmn,ijnk->ijmk", inverse, gradient)[..., 0]
    moved: Array = (peaks - step).astype(np.float32)
    return moved


def _windows(peaks: Array, maps: Array, radius: int) -> Array:
    """The smoothed 3 x 3 windows around the peaks, [N * K, 3, 3] float32."""
    persons, points, height, width = maps.shape
    x, y = peaks.reshape(-1, 2).T.astype(np.int64)
    flat = maps.reshape(persons * points, height, width)
    found = _smoothed(flat, np.arange(len(flat)), np.maximum(x, 0), np.maximum(y, 0), radius)
    for place in np.flatnonzero(x < 0).tolist():
        found[place] = _window_of_no_peak(flat, place, radius)
    return found


def _smoothed(flat: Array, index: Array, x: Array, y: Array, radius: int) -> Array:
    """Smoothed windows around places inside their maps; places beyond an edge have the edge's value."""
    height, width = flat.shape[1:]
    reach = np.arange(-radius - 1, radius + 2)
    rows, columns = _reflected(y[:, None] + reach, height), _reflected(x[:, None] + reach, width)
    patch = flat[index[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float64)
    smooth = _filtered(_filtered(patch, 1, radius).astype(np.float64), 2, radius)  # [., 3, 3] float32
    near = np.arange(-1, 2)
    row = np.clip(y[:, None] + near, 0, height - 1) - y[:, None] + 1
    column = np.clip(x[:, None] + near, 0, width - 1) - x[:, None] + 1
    return smooth[np.arange(len(index))[:, None, None], row[:, :, None], column[:, None, :]]


def _filtered(patch: Array, axis: int, radius: int) -> Array:
    """Three smoothed values along an axis of 2 * radius + 3, rounded to float32."""
    weights = _gaussian(radius)
    lines = np.moveaxis(patch, axis, 0)
    middle = slice(radius, radius + 3)
    total = lines[middle] * weights[radius]
    for tap in range(radius, 0, -1):
        pair = lines[radius - tap : radius - tap + 3] + lines[radius + tap : radius + tap + 3]
        total = total + pair * weights[radius - tap]
    return np.moveaxis(total.astype(np.float32), 0, axis)


def _gaussian(radius: int) -> Array:
    places = np.arange(-radius, radius + 1)
    heights = np.exp(-0.5 / (SIGMA * SIGMA) * places**2)
    weights: Array = heights / heights.sum()
    return weights


def _reflected(places: Array, size: int) -> Array:
    """Places beyond an edge mirrored at it, the edge twice: -1 is 0, -2 is 1."""
    folded = places % (2 * size)
    mirrored: Array = np.minimum(folded, 2 * size - 1 - folded)
    return mirrored


def _window_of_no_peak(flat: Array, place: int, radius: int) -> Array:
    """What transformers reads for a peak at -1, -1: its padded maps lie in one row, and the window wraps around."""
    count, height, width = flat.shape
    line, whole = width + 2, (width + 2) * (height + 2)
    around = np.arange(-1, 2)
    at = (place * whole + around[:, None] * line + around).reshape(-1) % (count * whole)
    index, rest = np.divmod(at, whole)
    row, column = np.divmod(rest, line)
    inner = np.clip(column - 1, 0, width - 1), np.clip(row - 1, 0, height - 1)
    middle: Array = _smoothed(flat, index, *inner, radius)[:, 1, 1]
    return middle.reshape(3, 3)


def _in_image(points: Array, centers: Array, scales: Array, size: tuple[int, int]) -> Array:
    """Points of heatmaps in the image, [N, K, 2] float32."""
    sides = scales * np.float32(NORMALIZE)
    steps = sides / np.array([size[1] - 1.0, size[0] - 1.0], dtype=np.float32)
    half = sides * np.float32(0.5)
    moved: Array = points * steps[:, None] + centers[:, None] - half[:, None]
    return moved
