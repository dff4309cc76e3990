"""Labels named by the caller for pictures, as the zero-shot-image-classification pipeline of transformers 5.23."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ....postprocess.classification import ClassScores, classify
from ...running.batching import Batch
from ...running.columns import Columns, join_parts, per_row
from ...running.loaded import Loaded
from ...running.option_kinds import require_template
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared
from ...running.tokenising import taken, tokenize
from .images import (
    ImageOptions,
    Picture,
    as_image_call,
    encode_images,
    parts_of,
    picture_task,
    read_one,
)
from .results import ImageLabels, of_source


@dataclass(frozen=True)
class ZeroShotImageOptions(ImageOptions):
    candidate_labels: Any = None
    hypothesis_template: str = "This is a photo of {}."
    tokenizer_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.hypothesis_template, str):
            raise TypeError(f"hypothesis_template must be a string; got {type(self.hypothesis_template).__name__}")
        require_template(self.hypothesis_template)
        if self.candidate_labels is not None and not isinstance(self.candidate_labels, Iterable):
            raise TypeError(f"candidate_labels must be labels; got {type(self.candidate_labels).__name__}")


def read(image: Any = None, candidate_labels: Any = None, *, images: Any = None, **options: Any) -> Call:
    """``pipe(picture, candidate_labels=[...])``: a picture, a list, or any iterable of them."""
    image = images if image is None else image
    if image is None:
        raise TypeError("image must be a picture, a list, or an iterable of them; got None")
    given = options if candidate_labels is None else {**options, "candidate_labels": candidate_labels}
    return as_image_call(image, given)


def parse(loaded: Loaded, item: Any, options: ZeroShotImageOptions) -> Picture:
    require(options.candidate_labels is not None, "candidate_labels must be given; got None")
    require(len(labels_of(loaded, options)) > 0, "candidate_labels must hold at least one label; got none")
    return read_one(loaded, item, options)


def labels_of(loaded: Loaded, options: ZeroShotImageOptions) -> list[Any]:
    """The labels; a string is one of its characters each where transformers reads it so, else split at commas."""
    given = options.candidate_labels
    if isinstance(given, str) and not loaded.compat:
        return [label.strip() for label in given.split(",")]
    return list(given)


def encode(loaded: Loaded, items: Sequence[Picture], options: ZeroShotImageOptions) -> list[Prepared]:
    rows = encode_images(loaded, [item.image for item in items])
    return [Prepared([row], item) for row, item in zip(rows, items, strict=True)]


def forward(loaded: Loaded, batch: Batch, options: ZeroShotImageOptions) -> Reading:
    """Scores of all labels, which are read once for the whole batch."""
    output = loaded.run(**_tokens(loaded, options), **batch.inputs)
    function = "sigmoid" if _siglip(loaded) else "softmax"
    found = yield from taken(classify, [output["logits_per_image"]], function_to_apply=function)
    return parts_of(found, len(batch.rows))


def _siglip(loaded: Loaded) -> bool:
    return "siglip" in loaded.config.model_type


def _tokens(loaded: Loaded, options: ZeroShotImageOptions) -> dict[str, torch.Tensor]:
    """The labels' tokens on the model's device, kept as long as labels and options stay."""
    texts = tuple(options.hypothesis_template.format(label) for label in labels_of(loaded, options))
    given: dict[str, Any] = {"padding": True}
    if _siglip(loaded):
        given.update(padding="max_length", max_length=64, truncation=True)
    if not loaded.compat:  # transformers takes this option and drops it
        given.update(options.tokenizer_kwargs or {})
    key = (texts, repr(given))
    # Labels and their tokens are one entry: a thread with other labels replaces both at once or neither.
    known, found = loaded.findings.get("label_tokens", (None, {}))
    if known != key:
        encoded = tokenize(loaded.tokenizer, list(texts), return_tensors="pt", **given)
        found = {name: values.to(loaded.device) for name, values in encoded.items()}
        loaded.findings["label_tokens"] = key, found
    tokens: dict[str, torch.Tensor] = found
    return tokens


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotImageOptions
) -> list[Any]:
    names = labels_of(loaded, options)

    def records(found: ClassScores) -> list[list[dict[str, Any]]]:
        pairs = zip(found.labels.tolist(), found.scores.tolist(), strict=True)
        return [[{"score": p, "label": names[i]} for i, p in zip(*row, strict=True)] for row in pairs]

    found = per_row([rows[0] for rows in outputs], records)
    return [of_source(ImageLabels(own), item.facts.source) for own, item in zip(found, items, strict=True)]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotImageOptions
) -> Columns:
    names = labels_of(loaded, options)

    def columns_of(found: ClassScores) -> Columns:
        counts = torch.full((found.labels.shape[0],), found.labels.shape[1], dtype=torch.long, device="cpu")
        labels = [names[label] for label in found.labels.flatten().tolist()]
        return Columns(counts, {"score": found.scores.flatten().double(), "label": labels})

    return join_parts([rows[0] for rows in outputs], columns_of)


TASK = picture_task(
    name="zero-shot-image-classification",
    auto_classes=("AutoModelForZeroShotImageClassification",),
    options=ZeroShotImageOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    needs=("image_processor", "tokenizer"),
)
