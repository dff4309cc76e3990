"""Held-out figures of the vision checkpoints: fresh scenes of another seed, measured as a user would call the model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import scenes
from . import views as scene_views
from .models import KINDS, Batch

Figures = dict[str, float]
SEED = 20_000


def _batches(name: str, count: int, size: int = 50) -> list[Batch]:
    rng = np.random.default_rng(SEED)
    return [KINDS[name].batch(rng, size) for _ in range(count // size)]


@torch.inference_mode()
def _accuracy(model: Any, name: str, count: int) -> float:
    right = [
        (model(pixel_values=batch["pixel_values"]).logits.argmax(-1) == batch["labels"])
        for batch in _batches(name, count)
    ]
    return float(torch.cat(right).float().mean())


def shapes(model: Any, count: int = 1000) -> Figures:
    return {f"accuracy of {len(scenes.NAMES)} names": _accuracy(model, "shapes", count)}


def directions(model: Any, count: int = 500) -> Figures:
    return {f"accuracy of {len(scenes.DIRECTIONS)} directions": _accuracy(model, "directions", count)}


@torch.inference_mode()
def shape_maps(model: Any, count: int = 300) -> Figures:
    """Shares of pixels, and intersection over union of each class, at the size of the picture."""
    inside, either = torch.zeros(4), torch.zeros(4)
    right = total = 0
    for batch in _batches("shape-maps", count):
        logits = model(pixel_values=batch["pixel_values"]).logits
        found = torch.nn.functional.interpolate(logits, scenes.SIZE, mode="bilinear", align_corners=False).argmax(1)
        truth = batch["labels"]
        right, total = right + int((found == truth).sum()), total + truth.numel()
        for label in range(4):
            inside[label] += ((found == label) & (truth == label)).sum()
            either[label] += ((found == label) | (truth == label)).sum()
    shares = {f"IoU, {name}": float(s) for name, s in zip(("ground", *scenes.SHAPES), inside / either, strict=True)}
    return {"pixels right": right / total, **shares}


@torch.inference_mode()
def distances(model: Any, count: int = 300) -> Figures:
    """The mean relative error, and the share of pixels within a factor of 1.25, the field's delta 1."""
    errors, close = [], []
    for batch in _batches("distances", count):
        found, truth = model(pixel_values=batch["pixel_values"]).predicted_depth, batch["labels"]
        errors.append(((found - truth).abs() / truth).flatten())
        close.append((torch.maximum(found / truth, truth / found.clamp(min=1e-6)) < 1.25).flatten())
    return {
        "mean relative error": float(torch.cat(errors).mean()),
        "within a factor of 1.25": float(torch.cat(close).float().mean()),
    }


@torch.inference_mode()
def shape_boxes(model: Any, count: int = 300, threshold: float = 0.5) -> Figures:
    """Of the boxes reported above ``threshold``: how many are right (IoU 0.5, right name), and how many were found."""
    right = reported = true = 0
    for batch in _batches("shape-boxes", count):
        output = model(pixel_values=batch["pixel_values"])
        scores, names = output.logits.sigmoid().max(-1)
        for row, truth in enumerate(batch["labels"]):
            keep = scores[row] > threshold
            order = scores[row][keep].argsort(descending=True)
            right += _matched(
                output.pred_boxes[row][keep][order], names[row][keep][order], truth["boxes"], truth["class_labels"]
            )
            reported, true = reported + int(keep.sum()), true + len(truth["boxes"])
    return {"precision": right / max(reported, 1), "recall": right / true}


def _matched(found: Tensor, names: Tensor, boxes: Tensor, labels: Tensor) -> int:
    """How many of the found boxes, best first, take a true box of their name that no better one took."""
    overlap = box_overlap(found, boxes) * (names[:, None] == labels[None])  # [F, T]
    taken = 0
    for row in range(len(found)):
        best, place = overlap[row].max(0)
        if best > 0.5:
            taken += 1
            overlap[:, place] = 0
    return taken


def box_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes given by centre and size, [F, T]."""
    one, two = (torch.cat((b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2), dim=1) for b in (first, second))
    sides = (
        torch.minimum(one[:, None, 2:], two[None, :, 2:]) - torch.maximum(one[:, None, :2], two[None, :, :2])
    ).clamp(0)
    inside = sides.prod(-1)
    return inside / (first[:, 2:].prod(-1)[:, None] + second[:, 2:].prod(-1)[None] - inside)


@torch.inference_mode()
def views(model: Any, count: int = 300) -> Figures:
    """Of the matches reported: how many join a point to within so many pixels of where it went. Of the corners that lie
    in both views: how many such a match joins, both ends within 5 pixels of the corner."""
    rng = np.random.default_rng(SEED)
    errors, corners, joined = [], [], []
    for _ in range(count):
        pair = scene_views.pair(rng)
        output = model(pixel_values=_grey(pair)[None])
        first, second = (output.keypoints[0].double() * scene_views.SIZE).numpy()
        partner = output.matches[0, 0].numpy()
        ends = first[partner >= 0], second[partner[partner >= 0]]
        went = scene_views.mapped(pair[1].homography @ np.linalg.inv(pair[0].homography), ends[0])
        errors.append(_apart(went, ends[1]))
        both = pair[0].inside & pair[1].inside
        near = [_between(view.corners[both], own) < 5 for view, own in zip(pair, ends, strict=True)]
        joined.append((near[0] & near[1]).any(1))
        corners.append((_between(pair[0].corners[pair[0].inside], first) < 5).any(1))
    error = np.concatenate(errors)
    return {
        "corners found, within 5 pixels": float(np.concatenate(corners).mean()),
        "matches right, within 3 pixels": float((error < 3).mean()),
        "matches right, within 5 pixels": float((error < 5).mean()),
        "corners of both matched, within 5 pixels": float(np.concatenate(joined).mean()),
    }


def _grey(pair: Sequence[scene_views.View]) -> Tensor:
    """Two views [2, 3, H, W] as the image processor makes them."""
    grey = torch.from_numpy(np.stack([view.image for view in pair])).float() @ torch.tensor(scene_views.GREY) / 255
    return grey[:, None].expand(-1, 3, -1, -1)


def _apart(first: Any, second: Any) -> Any:
    """Distances of points [N, 2] of one list to those of another."""
    return np.sqrt(((first - second) ** 2).sum(-1))


def _between(first: Any, second: Any) -> Any:
    """Distances [N, M] of all points of one list to all of another."""
    return _apart(first[:, None], second[None])


EVALUATIONS: dict[str, Callable[..., Figures]] = {
    "shapes": shapes,
    "shape-maps": shape_maps,
    "shape-boxes": shape_boxes,
    "distances": distances,
    "directions": directions,
    "views": views,
}
