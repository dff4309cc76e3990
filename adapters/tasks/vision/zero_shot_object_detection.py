"""Objects named by the caller, as the zero-shot-object-detection pipeline of transformers 5.23.

Where the model scores labels independently (OWL-ViT, OWLv2), one forward pass answers for all labels of a picture;
where they meet in the model (Grounding DINO), every label is a row of its own, as in transformers, in batches.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ....postprocess.vision.detection import detect_every_label
from ...running.batching import Batch, Row
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared
from ...running.tokenising import tokenize
from .classification import require_top_k
from .detection import DetectionOptions, detection_columns, detection_records, found_in, thresholds_of, tiles_of
from .families import detect, family_of
from .images import (
    Picture,
    as_image_call,
    encode_images,
    image_row,
    own_or_shared,
    parts_of,
    picture_task,
    read_one,
    sizes_of,
)

_INDEPENDENT = {"OwlViT": False, "Owlv2": True}  # by family: whether the model sees its picture padded to a square


@dataclass(frozen=True)
class ZeroShotDetectionOptions(DetectionOptions):
    threshold: float = 0.1
    top_k: int | None = None
    candidate_labels: Any = None  # for every picture that comes without its own

    def __post_init__(self) -> None:
        super().__post_init__()
        require_top_k(self.top_k)


@dataclass(frozen=True)
class Asked(Picture):
    labels: tuple[str, ...]


def read(image: Any = None, candidate_labels: Any = None, *, text_queries: Any = None, **options: Any) -> Call:
    """``pipe(picture, candidate_labels=[...])``, a list of pictures with labels for all or for each, or dicts with
    ``image`` and ``candidate_labels``: one, a list, or a stream."""
    labels = text_queries if candidate_labels is None else candidate_labels
    image = options.pop("images", None) if image is None else image
    if image is None:
        raise TypeError("image must be a picture, a dict, a list, or an iterable of them; got None")
    call = as_image_call(image, options)
    if labels is None:
        return call
    if call.kind == "list" and not isinstance(labels, str) and any(not isinstance(each, str) for each in labels):
        pictures = list(call.items)
        require(
            len(labels) == len(pictures),
            f"candidate_labels must be one list for each of {len(pictures)} pictures; got {len(labels)}",
        )
        pairs = [{"image": each, "candidate_labels": own} for each, own in zip(pictures, labels, strict=True)]
        return Call(pairs, "list", options)
    return Call(call.items, call.kind, {**options, "candidate_labels": labels})


def parse(loaded: Loaded, item: Any, options: ZeroShotDetectionOptions) -> Asked:
    labels = own_or_shared(item, "candidate_labels", options.candidate_labels)
    if labels is None:
        raise ValueError("candidate_labels must be given, with the picture or for all; got None")
    if isinstance(labels, str):
        labels = [label if loaded.compat else label.strip() for label in labels.split(",")]
    if not isinstance(labels, Collection):
        raise TypeError(f"candidate_labels must be strings; got {type(labels).__name__}")
    require(len(labels) > 0, "candidate_labels must hold at least one label; got none")
    for label in labels:
        if not isinstance(label, str):
            raise TypeError(f"candidate_labels must be strings; got {type(label).__name__}")
    picture = read_one(loaded, item, options)
    return Asked(picture.image, picture.source, tuple(labels))


def encode(loaded: Loaded, items: Sequence[Asked], options: ZeroShotDetectionOptions) -> list[Prepared]:
    """A row a picture or tile, or where labels are asked one by one, a row for each of them."""
    cut = [tiles_of(item, options) for item in items]
    rows = iter(encode_images(loaded, [crop for crops, _ in cut for crop in crops]))
    prepared = []
    for item, (crops, places) in zip(items, cut, strict=True):
        own: list[Row] = []
        for crop, place in zip(crops, places, strict=True):
            row = replace(next(rows), facts={"size": (crop.height, crop.width), "offset": place})
            own += _asked_at_once(row, item) if _together(loaded) else _asked_apart(loaded, row, item)
        prepared.append(Prepared(own, item))
    return prepared


def _together(loaded: Loaded) -> bool:
    return _owl(loaded) is not None


def _owl(loaded: Loaded) -> bool | None:
    return _INDEPENDENT.get(family_of(loaded.image_processor, "post_process_object_detection") or "")


def _asked_at_once(row: Row, item: Asked) -> list[Row]:
    return [replace(row, group=item.labels)]


def _asked_apart(loaded: Loaded, row: Row, item: Asked) -> list[Row]:
    """The picture once for every label, with the label's tokens."""
    rows = []
    for number, label in enumerate(item.labels):
        text = tokenize(loaded.tokenizer, label, return_tensors="pt")
        inputs = {**{name: values[0] for name, values in text.items()}, **row.inputs}
        rows.append(image_row(inputs, **row.facts, label=number))
    return rows


def forward(loaded: Loaded, batch: Batch, options: ZeroShotDetectionOptions) -> Reading:
    sizes = sizes_of(batch.rows)
    square = _owl(loaded)
    if square is None:
        outputs = loaded.run(**batch.inputs)
        found = yield from detect(loaded.image_processor, outputs, sizes=sizes, threshold=_lowest(options))
        labels = torch.tensor([row.facts["label"] for row in batch.rows], device="cpu")
        found = replace(found, labels=labels[found.image]).select(found.scores != 0)
        return parts_of(found, len(batch.rows))
    labels_asked = batch.rows[0].group
    text = {name: values.repeat(len(batch.rows), 1) for name, values in _tokens(loaded, labels_asked).items()}
    outputs = loaded.run(**text, **batch.inputs)
    logits, boxes = yield [outputs["logits"], outputs["pred_boxes"]]
    found = detect_every_label(
        logits,
        boxes,
        sizes=sizes,
        threshold=options.threshold,
        label_thresholds=thresholds_of(labels_asked, options),
        square=square,
    )
    return parts_of(found, len(batch.rows))


def _tokens(loaded: Loaded, labels: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The tokens of all labels, padded together."""
    # Labels and their tokens are one entry: a thread with other labels replaces both at once or neither.
    known, found = loaded.findings.get("label_tokens", (None, {}))
    if known != labels:
        encoded = tokenize(loaded.tokenizer, list(labels), padding=True, return_tensors="pt")
        found = {name: values.to(loaded.device) for name, values in encoded.items()}
        loaded.findings["label_tokens"] = labels, found
    tokens: dict[str, torch.Tensor] = found
    return tokens


def _lowest(options: ZeroShotDetectionOptions) -> float:
    return min([options.threshold, *(options.label_thresholds or {}).values()])


def _found(items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotDetectionOptions) -> Any:
    """The detections of a batch, by each label's own threshold where there are some."""
    found = found_in(items, outputs, options, top_k=options.top_k)
    if options.label_thresholds is None:
        return found
    own = [thresholds_of(item.facts.labels, options) for item in items]
    limits = (
        torch.stack([own[i][c] for i, c in zip(found.image.tolist(), found.labels.tolist(), strict=True)])
        if len(found.image)
        else torch.zeros(0, device="cpu")
    )
    return found.select(found.scores > limits)


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotDetectionOptions
) -> list[Any]:
    return detection_records(items, _found(items, outputs, options), lambda item: items[item].facts.labels)


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotDetectionOptions
) -> Columns:
    return detection_columns(_found(items, outputs, options), lambda item: items[item].facts.labels)


TASK = picture_task(
    name="zero-shot-object-detection",
    auto_classes=("AutoModelForZeroShotObjectDetection",),
    options=ZeroShotDetectionOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    needs=("image_processor", "tokenizer"),
)
