"""What a detector found in a batch of images: columns of boxes, and the forms they are asked for in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..records import collection_paused
from .boxes import convert_boxes

Names = Sequence[str] | Mapping[int, str]


@dataclass(frozen=True)
class Detections:
    """Boxes of B images, N in all, by image; within an image in the order of transformers."""

    scores: Tensor  # [N] float
    labels: Tensor  # [N] int64
    boxes: Tensor  # [N, 4] float, xyxy; pixels where sizes were given
    image: Tensor  # [N] int64, ascending
    query: Tensor  # [N] int64, the query (or patch) of the model that each box comes from
    num_images: int

    def select(self, keep: Tensor) -> Detections:
        """The boxes of a [N] bool mask, or of indices that keep the images in order."""
        columns = ("scores", "labels", "boxes", "image", "query")
        return replace(self, **{name: getattr(self, name)[keep] for name in columns})

    def counts(self) -> list[int]:
        """Boxes of each image; reads the device."""
        found: list[int] = torch.bincount(self.image, minlength=self.num_images).tolist()
        return found

    def per_image(self) -> list[dict[str, Tensor]]:
        """One ``{scores, labels, boxes}`` of tensors per image, as ``post_process_object_detection`` returns."""
        counts = self.counts()
        cut = [torch.split(column, counts) for column in (self.scores, self.labels, self.boxes)]
        return [
            {"scores": scores, "labels": labels, "boxes": boxes} for scores, labels, boxes in zip(*cut, strict=True)
        ]

    def records(self, names: Names | None = None, *, whole: bool = True) -> list[list[dict[str, Any]]]:
        """One list of ``{score, label, box: {xmin, ymin, xmax, ymax}}`` per image, in plain Python numbers.

        names: label names by id; None gives the ids. whole=True cuts coordinates toward zero, as the pipelines of
        transformers do (a box from -0.9 begins at 0); False keeps the fractions.
        """
        columns = (self.boxes.int() if whole else self.boxes).T.tolist()
        labels: list[Any] = self.labels.tolist()
        if names is not None:
            labels = [names[label] for label in labels]
        with collection_paused():
            found = [
                {"score": score, "label": label, "box": {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}}
                for score, label, left, top, right, bottom in zip(self.scores.tolist(), labels, *columns, strict=True)
            ]
        return [found] if self.num_images == 1 else _cut(found, self.counts())

    def coco(self, image_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """One COCO result ``{image_id, category_id, bbox: [left, top, width, height], score}`` per box."""
        ids = range(self.num_images) if image_ids is None else image_ids
        boxes = convert_boxes(self.boxes, "xyxy", "xywh").tolist()
        rows = zip(self.image.tolist(), self.labels.tolist(), boxes, self.scores.tolist(), strict=True)
        return [{"image_id": ids[i], "category_id": c, "bbox": b, "score": s} for i, c, b, s in rows]


def _cut(values: list[Any], counts: Sequence[int]) -> list[list[Any]]:
    cut, first = [], 0
    for count in counts:
        cut.append(values[first : first + count])
        first += count
    return cut


def merge_images(
    detections: Detections, owner: Sequence[int] | Tensor, *, num_images: int, top_k: int | None = None
) -> Detections:
    """Boxes found in several passes over an image (one per label, per tile) as boxes of the image, best first.

    owner: [B] the image that each of the B passes belongs to. Ties: the earlier pass, then the order within it, the
    order of the zero-shot pipeline. top_k: boxes kept per image; None and 0 keep all.
    """
    image = torch.as_tensor(owner, device=detections.image.device)[detections.image]
    order = detections.scores.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]
    merged = replace(detections.select(order), image=image[order], num_images=num_images)
    return first_of_each(merged, top_k) if top_k else merged


def first_of_each(detections: Detections, top_k: int) -> Detections:
    """The first ``top_k`` boxes of every image."""
    counts = torch.bincount(detections.image, minlength=detections.num_images)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(detections.image), device=counts.device) - starts[detections.image]
    return detections.select(place < top_k)
