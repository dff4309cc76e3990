"""Objects in pictures, as the object-detection pipeline of transformers 5.23, in batches of one size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...running.batching import Batch
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.reading import Reading
from ...running.task import Prepared
from .detection import (
    DetectionOptions,
    check_single,
    detection_columns,
    detection_records,
    found_in,
    thresholds_of,
    tiles_of,
)
from .families import detect
from .images import Picture, encode_images, label_names, parts_of, picture_task, read_images, read_one, sizes_of
from .short_passes import run


def encode(loaded: Loaded, items: Sequence[Picture], options: DetectionOptions) -> list[Prepared]:
    """A row a picture, or a row a tile."""
    cut = [tiles_of(item, options) for item in items]
    rows = iter(encode_images(loaded, [crop for crops, _ in cut for crop in crops]))
    prepared = []
    for item, (crops, places) in zip(items, cut, strict=True):
        own = [
            replace(next(rows), facts={"size": (crop.height, crop.width), "offset": place})
            for crop, place in zip(crops, places, strict=True)
        ]
        prepared.append(Prepared(own, item))
    return prepared


def forward(loaded: Loaded, batch: Batch, options: DetectionOptions) -> Reading:
    outputs = run(loaded, **batch.inputs)
    found = yield from detect(
        loaded.image_processor,
        outputs,
        sizes=sizes_of(batch.rows),
        threshold=options.threshold,
        label_thresholds=thresholds_of(label_names(loaded), options),
        check=True,
    )
    return parts_of(found, len(batch.rows))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: DetectionOptions
) -> list[Any]:
    names = label_names(loaded)
    return detection_records(items, found_in(items, outputs, options), lambda item: names)


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: DetectionOptions
) -> Columns:
    names = label_names(loaded)
    return detection_columns(found_in(items, outputs, options), lambda item: names)


TASK = picture_task(
    name="object-detection",
    auto_classes=("AutoModelForObjectDetection",),
    options=DetectionOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    check=check_single,
    side_by_side=True,
)
