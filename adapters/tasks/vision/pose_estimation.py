"""Points of persons in given boxes (ViTPose): transformers has models for them, and no pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...running.batching import Batch
from ...running.columns import Columns
from ...running.extras import need
from ...running.loaded import Loaded
from ...running.options import require, require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared
from .families import find_poses
from .images import ImageOptions, Picture, call_with, image_row, picture_task, read_one
from .results import Poses, of_source


@dataclass(frozen=True)
class PoseOptions(ImageOptions):
    """boxes: persons as COCO boxes (left, top, width, height), for pictures that come without their own; without any,
    the whole picture is one. dataset_index: the expert of a ViTPose+ model that answers."""

    threshold: float | None = None
    kernel_size: int = 11
    boxes: Any = None
    dataset_index: int | None = None

    def __post_init__(self) -> None:
        require_count("kernel_size", self.kernel_size)


@dataclass(frozen=True)
class Persons(Picture):
    boxes: list[list[float]]


def read(inputs: Any = None, boxes: Any = None, *, image: Any = None, **options: Any) -> Call:
    """``pipe(picture, boxes=[[left, top, width, height], ...])`` or dicts with ``image`` and ``boxes``: one, a list, or
    a stream."""
    inputs = image if inputs is None else inputs
    return call_with("boxes", boxes, inputs, options, needed="inputs")


def parse(loaded: Loaded, item: Any, options: PoseOptions) -> Persons:
    need("scipy", "vision", "the image processor of ViTPose")
    boxes = item["boxes"] if isinstance(item, Mapping) and "boxes" in item else options.boxes
    picture = read_one(loaded, item, options)
    height, width = picture.size
    listed = [[0.0, 0.0, width, height]] if boxes is None else _listed(boxes)
    for row, box in enumerate(listed):
        require(
            isinstance(box, list) and len(box) == 4 and box[2] > 0 and box[3] > 0,
            f"boxes must be (left, top, width, height) with a width and a height; got {box} in row {row}",
        )
    return Persons(picture.image, picture.source, [list(map(float, box)) for box in listed])


def _listed(boxes: Any) -> list[Any]:
    """Boxes of any kind of array as a list; ValueError for what is none, or holds the boxes of several pictures."""
    try:
        listed: Any = torch.as_tensor(boxes).tolist()
    except (RuntimeError, TypeError, ValueError) as error:
        what = "a list of boxes (left, top, width, height) of one picture"
        raise ValueError(f"boxes must be {what}; got {boxes!r:.80}") from error
    return listed if isinstance(listed, list) else [listed]


def encode(loaded: Loaded, items: Sequence[Persons], options: PoseOptions) -> list[Prepared]:
    """A row a person."""
    prepared = []
    for item in items:
        rows = []
        if item.boxes:
            pixels = loaded.image_processor([item.image], boxes=[item.boxes], return_tensors="pt")["pixel_values"]
            rows = [image_row({"pixel_values": own}, box=box) for own, box in zip(pixels, item.boxes, strict=True)]
        prepared.append(Prepared(rows, item))
    return prepared


def forward(loaded: Loaded, batch: Batch, options: PoseOptions) -> Reading:
    """Per person its points."""
    inputs: dict[str, Tensor] = dict(batch.inputs)
    if options.dataset_index is not None:
        inputs["dataset_index"] = torch.full((len(batch.rows),), options.dataset_index, device=loaded.device)
    boxes = [row.facts["box"] for row in batch.rows]
    (heatmaps,) = yield [loaded.run(**inputs)["heatmaps"]]
    (people,) = find_poses(
        loaded.image_processor,
        heatmaps,
        [boxes],
        kernel_size=options.kernel_size,
        threshold=options.threshold,
        compat=loaded.compat,
    )
    return people


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: PoseOptions
) -> list[Any]:
    """A list of ``{keypoints [K, 2] (x, y), scores [K], labels [K], bbox [4]}`` a picture, a person each."""
    return [of_source(Poses(rows), item.facts.source) for item, rows in zip(items, outputs, strict=True)]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: PoseOptions
) -> Columns:
    """A row a point: ``person`` within its picture, ``label``, ``keypoint`` [N, 2], ``score``."""
    persons = [(number, person) for rows in outputs for number, person in enumerate(rows)]
    values = {
        "person": [number for number, person in persons for _ in person["labels"]],
        "label": [person["labels"] for _, person in persons],
        "keypoint": [person["keypoints"] for _, person in persons],
        "score": [person["scores"] for _, person in persons],
    }
    joined = {
        name: torch.cat(values[name]) if persons else torch.zeros(0, device="cpu")
        for name in ("label", "keypoint", "score")
    }
    counts = [sum(len(person["labels"]) for person in rows) for rows in outputs]
    return Columns(
        torch.tensor(counts, device="cpu"), {"person": torch.tensor(values["person"], device="cpu"), **joined}
    )


TASK = picture_task(
    name="pose-estimation",
    auto_classes=("AutoModelForPoseEstimation",),
    options=PoseOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
)
