"""Segments of pictures, as the image-segmentation pipeline of transformers 5.23: classes, objects, or both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ....postprocess.transfers import sent
from ....postprocess.vision.maps import id_masks, id_statistics, map_ids
from ...running.batching import Batch
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.option_kinds import require_number
from ...running.options import require, require_choice
from ...running.reading import Reading
from ...running.task import Prepared, Task
from ...running.tokenising import tokenize
from .detection import require_labels
from .families import has, segment_classes, segment_objects
from .images import ImageOptions, Picture, by_size, image_row, label_names, picture_task, prepare, read_images, read_one
from .quick_processors import quick
from .results import Segments, from_mask, of_source
from .short_passes import run

SUBTASKS = ("panoptic", "instance", "semantic")


@dataclass(frozen=True)
class ImageSegmentationOptions(ImageOptions):
    """subtask: None is the first of panoptic, instance and semantic that the processor can do.

    label_thresholds: in the place of ``threshold`` for labels by name. masks: "pil", as in transformers; "array" for
    [H, W] uint8 arrays of 0 and 255; "none" for records without masks, which ``result.segmentation`` holds anyway.
    """

    subtask: str | None = None
    threshold: float = 0.9
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.5
    label_thresholds: Mapping[str, float] | None = None
    masks: str = "pil"

    def __post_init__(self) -> None:
        require_number("threshold", self.threshold)
        require_choice("subtask", self.subtask, (None, *SUBTASKS))
        require_choice("masks", self.masks, ("pil", "array", "none"))


@dataclass(frozen=True)
class Segmented:
    """The segments of one picture. segmentation: [H, W] int16 of ids, on the CPU. scores: None for classes."""

    segmentation: Tensor
    ids: list[int]
    label_ids: list[int]
    labels: list[str]
    scores: list[float | None]


def check(loaded: Loaded, options: ImageSegmentationOptions) -> ImageSegmentationOptions:
    """The options with the subtask that will be done."""
    require_labels(label_names(loaded), options.label_thresholds)
    able = [subtask for subtask in SUBTASKS if has(loaded.image_processor, f"post_process_{subtask}_segmentation")]
    wanted = [subtask for subtask in able if options.subtask in (None, subtask)]
    kind = type(loaded.image_processor).__name__
    require(len(wanted) > 0, f"subtask must be one of {', '.join(able)} for {kind}; got {options.subtask!r}")
    return replace(options, subtask=wanted[0])


def encode(loaded: Loaded, items: Sequence[Picture], options: ImageSegmentationOptions) -> list[Prepared]:
    """A row a picture. One that the processor cuts into patches is encoded, and run, by itself."""
    images = [item.image for item in items]
    rows: list[Any] = [None] * len(images)
    for chosen in by_size(images):
        encoded = _encoded(loaded, [images[index] for index in chosen], options)
        apart = len(encoded["pixel_values"]) != len(chosen) or _patched(encoded)
        for place, index in enumerate(chosen):
            size = items[index].size
            if apart:
                whole = dict(_encoded(loaded, [images[index]], options))
                rows[index] = image_row({"pixel_values": whole["pixel_values"]}, object(), size=size, whole=whole)
            else:
                inputs = {name: values[place] for name, values in encoded.items() if isinstance(values, Tensor)}
                rows[index] = image_row(inputs, size=size)
    return [Prepared([row], item) for row, item in zip(rows, items, strict=True)]


def _encoded(loaded: Loaded, images: Sequence[Any], options: ImageSegmentationOptions) -> Any:
    """The processor's inputs of some images; OneFormer is asked its sub-task in words."""
    given: dict[str, Any] = {}
    asks = type(loaded.config).__name__ == "OneFormerConfig"
    if asks:
        given["task_inputs"] = [options.subtask] * len(images)
    processor = loaded.image_processor if given else quick(loaded.image_processor)
    encoded = prepare(processor, list(images), **given)
    if asks:
        length = loaded.config.task_seq_len
        padded = {"padding": "max_length", "max_length": length, "return_tensors": "pt"}
        encoded["task_inputs"] = tokenize(loaded.tokenizer, encoded["task_inputs"], **padded)["input_ids"]
    return encoded


def _patched(encoded: Any) -> bool:
    return any(not isinstance(values, Tensor) and values is not None and len(values) for values in encoded.values())


def forward(loaded: Loaded, batch: Batch, options: ImageSegmentationOptions) -> Reading:
    """Per picture its map of ids and what they stand for."""
    sizes = [row.facts["size"] for row in batch.rows]
    whole = batch.rows[0].facts.get("whole")
    inputs = batch.inputs if whole is None else _moved(loaded, whole)
    outputs = run(loaded, **inputs)
    names = label_names(loaded)
    if options.subtask == "semantic":
        maps = segment_classes(loaded.image_processor, outputs, sizes)
        maps = yield [each.to(torch.int16) for each in maps]
        return [_classes(each, names) for each in maps]
    found = yield from segment_objects(
        loaded.image_processor,
        str(options.subtask),
        outputs,
        sizes,
        threshold=min([options.threshold, *(options.label_thresholds or {}).values()]),
        mask_threshold=options.mask_threshold,
        overlap_mask_area_threshold=options.overlap_mask_area_threshold,
        compat=loaded.compat,
    )
    return [_objects(segmentation, segments, names, options) for segmentation, segments in found]


def _moved(loaded: Loaded, inputs: Mapping[str, Any]) -> dict[str, Any]:
    def placed(values: Any) -> Any:
        if not isinstance(values, Tensor):
            return values
        return sent(values.to(loaded.dtype) if values.is_floating_point() else values, loaded.device)

    return {name: placed(values) for name, values in inputs.items()}


def _classes(segmentation: Tensor, names: Mapping[int, str]) -> Segmented:
    ids = map_ids(segmentation).tolist()
    return Segmented(segmentation, ids, ids, [names[label] for label in ids], [None] * len(ids))


def _objects(
    segmentation: Tensor, segments: list[dict[str, Any]], names: Mapping[int, str], options: ImageSegmentationOptions
) -> Segmented:
    """A map's segments, those above their own label's threshold where there are some."""
    own = options.label_thresholds or {}
    kept = [
        segment
        for segment in segments
        if not own or segment["score"] > own.get(names[segment["label_id"]], options.threshold)
    ]
    label_ids = [segment["label_id"] for segment in kept]
    labels = [names[label] for label in label_ids]
    return Segmented(segmentation, [s["id"] for s in kept], label_ids, labels, [s["score"] for s in kept])


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageSegmentationOptions
) -> list[Any]:
    """A list of ``{score, label, mask}`` a picture."""
    finished = []
    for item, (found,) in zip(items, outputs, strict=True):
        records = [{"score": score, "label": label} for score, label in zip(found.scores, found.labels, strict=True)]
        if records and options.masks != "none":
            masks = id_masks(found.segmentation, found.ids)[1].numpy()
            for record, mask in zip(records, masks, strict=True):
                record["mask"] = from_mask(mask) if options.masks == "pil" else mask
        known = {"segmentation": found.segmentation, "ids": found.ids, "label_ids": found.label_ids}
        finished.append(of_source(Segments(records), item.facts.source, **known))
    return finished


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageSegmentationOptions
) -> Columns:
    """A row a segment: score (NaN for classes), label, area in pixels, and the box and centre of its pixels."""
    scores: list[float] = []
    labels: list[str] = []
    tables = []
    for (found,) in outputs:
        scores += [float("nan") if score is None else score for score in found.scores]
        labels += found.labels
        tables.append(id_statistics(found.segmentation, found.ids)[1])
    values = {
        "score": torch.tensor(scores, dtype=torch.float64, device="cpu"),
        "label": labels,
        "area": torch.cat([table.area for table in tables]),
        "box": torch.cat([table.boxes for table in tables]),
        "centroid": torch.cat([table.centroids for table in tables]),
    }
    return Columns(torch.tensor([len(found.ids) for (found,) in outputs], device="cpu"), values)


TASK = picture_task(
    name="image-segmentation",
    auto_classes=(
        "AutoModelForImageSegmentation",
        "AutoModelForSemanticSegmentation",
        "AutoModelForInstanceSegmentation",
        "AutoModelForUniversalSegmentation",
    ),
    options=ImageSegmentationOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    check=check,
    may_use=("tokenizer",),
    side_by_side=True,
)


def _fixed(subtask: str, *auto_classes: str) -> Task:
    """The task of one subtask, for models of one Auto class: without the pipeline's choice."""

    def check_fixed(loaded: Loaded, options: ImageSegmentationOptions) -> ImageSegmentationOptions:
        return check(loaded, replace(options, subtask=options.subtask or subtask))

    return replace(TASK, name=f"{subtask}-segmentation", auto_classes=auto_classes, check=check_fixed)


SEMANTIC = _fixed("semantic", "AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation")
INSTANCE = _fixed("instance", "AutoModelForInstanceSegmentation", "AutoModelForUniversalSegmentation")
PANOPTIC = _fixed("panoptic", "AutoModelForUniversalSegmentation", "AutoModelForImageSegmentation")
UNIVERSAL = replace(TASK, name="universal-segmentation", auto_classes=("AutoModelForUniversalSegmentation",))
