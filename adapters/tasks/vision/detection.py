"""What the detection tasks share: rows that are tiles, boxes of many batches as one table, records and columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ....postprocess.vision.detections import Detections, first_of_each, merge_images
from ....postprocess.vision.fusion import fuse, plan_tiles
from ....postprocess.vision.nms import suppress
from ...running.columns import Columns, Part
from ...running.loaded import Loaded
from ...running.option_kinds import require_number
from ...running.options import require, require_choice, require_count
from ...running.task import Prepared
from .images import ImageOptions, Picture
from .results import Detected, of_source


@dataclass(frozen=True)
class DetectionOptions(ImageOptions):
    """threshold: scores above it are kept, label_thresholds: in its place for labels by name.

    iou_threshold: of boxes of one label that overlap more, the best stays (None: all stay, as in transformers), or with
    merge="fusion" they become one, their mean weighted by their scores.
    tile: side of the square tiles that a larger picture is cut into, which overlap by ``overlap`` of it.
    """

    threshold: float = 0.5
    label_thresholds: Mapping[str, float] | None = None
    iou_threshold: float | None = None
    tile: int | None = None
    overlap: float = 0.2
    merge: str = "nms"

    def __post_init__(self) -> None:
        require_number("threshold", self.threshold)
        require_number("overlap", self.overlap)
        require_count("tile", self.tile, optional=True)
        require(0 <= self.overlap < 1, f"overlap must be in [0, 1); got {self.overlap}")
        require_choice("merge", self.merge, ("nms", "fusion"))
        iou = self.iou_threshold
        require(iou is None or 0 <= iou <= 1, f"iou_threshold must be in [0, 1]; got {iou}")


def thresholds_of(names: Mapping[int, str] | Sequence[str], options: DetectionOptions) -> Tensor | None:
    """[C] thresholds by label id where some labels have their own, else None."""
    own = options.label_thresholds
    if own is None:
        return None
    require_labels(names, own)
    listed = listed_names(names)
    return torch.tensor([own.get(name, options.threshold) for name in listed], dtype=torch.float64, device="cpu")


def require_labels(names: Mapping[int, str] | Sequence[str], thresholds: Mapping[str, float] | None) -> None:
    """ValueError for a threshold of a label that is not among ``names``."""
    for name in thresholds or ():
        require_choice("label_thresholds", name, listed_names(names))


def listed_names(names: Mapping[int, str] | Sequence[str]) -> list[str]:
    """Label names by id, in order."""
    return [names[label] for label in sorted(names)] if isinstance(names, Mapping) else list(names)


def tiles_of(picture: Picture, options: DetectionOptions) -> tuple[list[Any], list[tuple[int, int]]]:
    """The pictures to look at and the place (left, top) of each: the whole, or its tiles."""
    height, width = picture.size
    side = options.tile
    if side is None or (height <= side and width <= side):
        return [picture.image], [(0, 0)]
    shared = round(side * options.overlap)
    tiles = plan_tiles((height, width), (side, side), overlap=(shared, shared)).tolist()
    return [picture.image.crop(tuple(tile)) for tile in tiles], [(left, top) for left, top, _, _ in tiles]


def gather(parts: Sequence[Part]) -> Detections:
    """The boxes of all parts in their order, those of part n as image n, on the CPU."""
    if len(parts) == 1 and parts[0].batch.num_images == 1:
        alone: Detections = parts[0].batch
        return alone
    places: dict[int, tuple[Detections, list[int]]] = {}
    for number, part in enumerate(parts):
        found, numbers = places.setdefault(id(part.batch), (part.batch, [-1] * part.batch.num_images))
        numbers[part.row] = number
    pieces = []
    for found, numbers in places.values():
        image = torch.tensor(numbers, device="cpu")[found.image]
        pieces.append(replace(found, image=image).select(image >= 0))
    columns = ("scores", "labels", "boxes", "image", "query")
    joined = {name: torch.cat([getattr(piece, name) for piece in pieces]) for name in columns}
    order = joined["image"].argsort(stable=True)
    return Detections(**{name: values[order] for name, values in joined.items()}, num_images=len(parts))


def found_in(
    items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: DetectionOptions, *, top_k: int | None = None
) -> Detections:
    """The boxes of every item. Boxes of several rows (tiles, or labels by themselves) are set at the place of their
    tile (``offset``), named by their label (``label``) and ordered by score."""
    rows = [row for item in items for row in item.rows]
    found = gather([part for parts in outputs for part in parts])
    if any(len(item.rows) > 1 or "label" in item.rows[0].facts for item in items):
        corner = torch.tensor([row.facts.get("offset", (0, 0)) for row in rows], device="cpu").to(found.boxes)
        labels = torch.tensor([row.facts.get("label", -1) for row in rows], device="cpu")[found.image]
        found = replace(
            found,
            boxes=found.boxes + corner[found.image].repeat(1, 2),
            labels=torch.where(labels < 0, found.labels, labels),
        )
        owner = [number for number, item in enumerate(items) for _ in item.rows]
        found = merge_images(found, owner, num_images=len(items))
    if options.iou_threshold is not None:
        merge = fuse if options.merge == "fusion" else suppress
        found = merge(found, iou_threshold=options.iou_threshold)
    return first_of_each(found, top_k) if top_k else found


def detection_records(items: Sequence[Prepared], found: Detections, names: Callable[[int], Any]) -> list[Any]:
    """A list of ``{score, label, box}`` an item. names: the label names of the item of that number."""
    named = [names(number) for number in range(len(items))]
    same = all(each is named[0] for each in named)
    records = found.records(named[0] if same and named else None)
    counts = [len(own) for own in records]
    alone = len(items) == 1
    boxes = [found.boxes] if alone else torch.split(found.boxes, counts)
    label_ids = [found.labels] if alone else torch.split(found.labels, counts)
    finished = []
    for number, item in enumerate(items):
        own = records[number]
        if not same:
            own = [{**record, "label": named[number][record["label"]]} for record in own]
        known = {"boxes": boxes[number], "label_ids": label_ids[number]}
        finished.append(of_source(Detected(own), item.facts.source, **known))
    return finished


def detection_columns(found: Detections, names: Callable[[int], Any]) -> Columns:
    """A row a box: score, label, and the box [N, 4] in whole pixels, xmin, ymin, xmax, ymax."""
    labels, images = found.labels.tolist(), found.image.tolist()
    values = {
        "score": found.scores.double(),
        "label": [names(image)[label] for image, label in zip(images, labels, strict=True)],
        "box": found.boxes.int(),
    }
    return Columns(torch.tensor(found.counts(), dtype=torch.long, device="cpu"), values)


def check_single(loaded: Loaded, options: Any) -> Any:
    """The options as they are, once the label thresholds are known to name labels of the model."""
    thresholds_of(loaded.config.id2label, options)
    return options
