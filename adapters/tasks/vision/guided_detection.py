"""Objects that look like a query picture (OWL-ViT), or that a sentence names (Grounding DINO).

transformers has models and processors for both, and no pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ....postprocess.vision.guided import detect_grounded, detect_image_guided
from ...running.batching import Batch
from ...running.columns import Columns, join_parts, per_row
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared
from ...running.tokenising import checked, tokenize
from .detection import DetectionOptions, detection_columns, detection_records, found_in
from .families import family_of
from .images import (
    ImageOptions,
    Picture,
    call_with,
    encode_images,
    image_row,
    own_or_shared,
    parts_of,
    picture_task,
    read_one,
    sizes_of,
)
from .results import Detected, of_source

QUERY = ("query",)  # what boxes of an image-guided detection are called


@dataclass(frozen=True)
class ImageGuidedOptions(ImageOptions):
    """nms_threshold: of boxes that overlap more, the best stays; 1 keeps all. Defaults of transformers' processors."""

    threshold: float = 0.0
    nms_threshold: float = 0.3
    query_image: Any = None


@dataclass(frozen=True)
class Guided(Picture):
    query: Picture


def read_guided(image: Any = None, query_image: Any = None, **options: Any) -> Call:
    """``pipe(picture, query_image=...)``, a list of pictures with one query for all, or dicts with ``image`` and
    ``query_image``: one, a list, or a stream."""
    return call_with("query_image", query_image, image, options)


def parse_guided(loaded: Loaded, item: Any, options: ImageGuidedOptions) -> Guided:
    query = own_or_shared(item, "query_image", options.query_image)
    require(query is not None, "query_image must be given, with the picture or for all; got None")
    picture = read_one(loaded, item, options)
    return Guided(picture.image, picture.source, read_one(loaded, {"image": query}, options))


def encode_guided(loaded: Loaded, items: Sequence[Guided], options: ImageGuidedOptions) -> list[Prepared]:
    rows = encode_images(loaded, [item.image for item in items])
    queries = encode_images(loaded, [item.query.image for item in items])
    prepared = []
    for item, row, query in zip(items, rows, queries, strict=True):
        inputs = {"pixel_values": row.inputs["pixel_values"], "query_pixel_values": query.inputs["pixel_values"]}
        prepared.append(Prepared([image_row(inputs, size=item.size)], Picture(None, item.source)))
    return prepared


def forward_guided(loaded: Loaded, batch: Batch, options: ImageGuidedOptions) -> Reading:
    with loaded.in_pass(len(batch.rows)):
        outputs = loaded.model.image_guided_detection(**batch.inputs)
    logits, boxes = yield [outputs["logits"], outputs["target_pred_boxes"]]
    found = detect_image_guided(
        checked(logits),
        boxes,
        sizes=sizes_of(batch.rows),
        threshold=options.threshold,
        iou_threshold=options.nms_threshold,
        square=family_of(loaded.image_processor, "post_process_image_guided_detection") == "Owlv2",
        compat=loaded.compat,
    )
    return parts_of(found, len(batch.rows))


def finish_guided(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageGuidedOptions
) -> list[Any]:
    return detection_records(items, found_in(items, outputs, _PLAIN), lambda item: QUERY)


def columns_guided(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageGuidedOptions
) -> Columns:
    return detection_columns(found_in(items, outputs, _PLAIN), lambda item: QUERY)


_PLAIN = DetectionOptions()


@dataclass(frozen=True)
class GroundedOptions(ImageOptions):
    """threshold: for boxes, text_threshold: for the words of a box; as of transformers' processor."""

    threshold: float = 0.25
    text_threshold: float = 0.25
    text: Any = None


@dataclass(frozen=True)
class Described(Picture):
    text: str


def read_grounded(image: Any = None, text: Any = None, **options: Any) -> Call:
    """``pipe(picture, text="a cat. a dog.")`` or a list of labels as the text, for one picture or a list of them, or
    dicts with ``image`` and ``text``: one, a list, or a stream."""
    return call_with("text", text, image, options)


def parse_grounded(loaded: Loaded, item: Any, options: GroundedOptions) -> Described:
    text, picture = own_or_shared(item, "text", options.text), read_one(loaded, item, options)
    return Described(picture.image, picture.source, _sentence(text))


def _sentence(text: Any) -> str:
    """The labels as one text, lower case and each ended by a dot, as transformers' processor writes them."""
    if isinstance(text, list | tuple) and text and all(isinstance(label, str) for label in text):
        return ". ".join(label.strip().lower().rstrip(".") for label in text) + "."
    if not isinstance(text, str) or not text:
        raise ValueError(f"text must be a text or a list of labels; got {text!r}")
    return text


def encode_grounded(loaded: Loaded, items: Sequence[Described], options: GroundedOptions) -> list[Prepared]:
    """A row a picture with its text; rows with as many tokens share a batch."""
    rows = encode_images(loaded, [item.image for item in items])
    prepared = []
    for item, row in zip(items, rows, strict=True):
        text = tokenize(loaded.tokenizer, item.text, return_tensors="pt", return_token_type_ids=True)
        inputs = {**{name: values[0] for name, values in text.items()}, **row.inputs}
        prepared.append(Prepared([image_row(inputs, size=item.size)], Picture(None, item.source)))
    return prepared


def forward_grounded(loaded: Loaded, batch: Batch, options: GroundedOptions) -> Reading:
    """The boxes of the batch, and the text of each."""
    outputs = loaded.run(**batch.inputs)
    logits, boxes = yield [outputs["logits"], outputs["pred_boxes"]]
    found = detect_grounded(
        logits,
        boxes,
        sizes=sizes_of(batch.rows),
        threshold=options.threshold,
        text_threshold=options.text_threshold,
    )
    tokens = found.token_ids(batch.host["input_ids"])
    # Of no texts some tokenizers make one.
    texts = loaded.tokenizer.batch_decode(tokens, skip_special_tokens=not loaded.compat) if tokens else []
    return parts_of((found.detections, texts), len(batch.rows))


def finish_grounded(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: GroundedOptions
) -> list[Any]:
    """A list of ``{score, label, box}`` a picture; the label is the words of the text that the box stands for."""

    def results(found: tuple[Any, list[str]]) -> list[Any]:
        detections, texts = found
        numbered = replace(detections, labels=torch.arange(len(texts), device="cpu"))
        boxes = torch.split(detections.boxes, detections.counts())
        return [of_source(Detected(own), None, boxes=b) for own, b in zip(numbered.records(texts), boxes, strict=True)]

    found = per_row([rows[0] for rows in outputs], results)
    return [of_source(own, item.facts.source) for own, item in zip(found, items, strict=True)]


def columns_grounded(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: GroundedOptions
) -> Columns:
    """A row a box: score, label, and the box [N, 4] in whole pixels, xmin, ymin, xmax, ymax."""

    def columns(found: tuple[Any, list[str]]) -> Columns:
        detections, texts = found
        counts = torch.tensor(detections.counts(), dtype=torch.long, device="cpu")
        return Columns(counts, {"score": detections.scores.double(), "label": texts, "box": detections.boxes.int()})

    return join_parts([rows[0] for rows in outputs], columns)


IMAGE_GUIDED = picture_task(
    name="image-guided-detection",
    auto_classes=("AutoModelForZeroShotObjectDetection",),
    options=ImageGuidedOptions,
    read=read_guided,
    parse=parse_guided,
    encode=encode_guided,
    forward=forward_guided,
    finish=finish_guided,
    columns=columns_guided,
)
GROUNDED = picture_task(
    name="grounded-detection",
    auto_classes=("AutoModelForZeroShotObjectDetection",),
    options=GroundedOptions,
    read=read_grounded,
    parse=parse_grounded,
    encode=encode_grounded,
    forward=forward_grounded,
    finish=finish_grounded,
    columns=columns_grounded,
    needs=("image_processor", "tokenizer"),
)
