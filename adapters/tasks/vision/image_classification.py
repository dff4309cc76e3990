"""Labels for pictures, as the image-classification pipeline of transformers 5.23."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....postprocess.classification import choose_function
from ...running.batching import Batch
from ...running.loaded import Loaded
from ...running.reading import Reading
from ...running.task import Prepared
from .classification import best_labels, label_columns, label_records, require_top_k
from .images import ImageOptions, Picture, encode_images, picture_task, read_images, read_one


@dataclass(frozen=True)
class ImageClassificationOptions(ImageOptions):
    top_k: int | None = None  # 5, as in transformers
    function_to_apply: Any = None

    def __post_init__(self) -> None:
        require_top_k(self.top_k)
        if self.function_to_apply is not None:
            choose_function(None, 2, self.function)

    @property
    def function(self) -> str | None:
        given = getattr(self.function_to_apply, "value", self.function_to_apply)
        return None if given is None else str(given)


def parse(loaded: Loaded, item: Any, options: ImageClassificationOptions) -> Picture:
    """A picture; an array of colours goes to the image processor as it is where transformers does that."""
    if loaded.compat and options.input_data_format is None and _as_it_is(item):
        return Picture(item, item)
    return read_one(loaded, item, options)


def _as_it_is(item: Any) -> bool:
    """Whether transformers' image processors take it: an array of numbers with three channels, first or last."""
    if not isinstance(item, np.ndarray | Tensor) or item.ndim != 3 or item.dtype == torch.bfloat16:
        return False
    channels = item.shape[0] if item.shape[0] in (1, 3) else item.shape[2]
    return channels == 3 and (isinstance(item, Tensor) or item.dtype.kind in "biuf")


def encode(loaded: Loaded, items: Sequence[Picture], options: ImageClassificationOptions) -> list[Prepared]:
    rows = encode_images(loaded, [item.image for item in items])
    return [Prepared([row], item) for row, item in zip(rows, items, strict=True)]


def forward(loaded: Loaded, batch: Batch, options: ImageClassificationOptions) -> Reading:
    output = loaded.run(**batch.inputs)
    config = loaded.config
    function = choose_function(getattr(config, "problem_type", None), len(config.id2label), options.function)
    return (yield from best_labels(loaded, output, function, options.top_k))


TASK = picture_task(
    name="image-classification",
    auto_classes=("AutoModelForImageClassification",),
    options=ImageClassificationOptions,
    read=read_images,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=label_records,
    columns=label_columns,
    side_by_side=True,
)
