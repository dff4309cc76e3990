"""Points of one picture found again in another, as the keypoint-matching pipeline of transformers 5.23."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...running.batching import Batch
from ...running.columns import Columns, join_parts, per_row
from ...running.inputs import as_call
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared
from .families import match_points
from .images import ImageOptions, Picture, image_row, parts_of, picture_task, prepare, read_one
from .results import Matches, of_source


@dataclass(frozen=True)
class KeypointMatchingOptions(ImageOptions):
    threshold: float = 0.0


@dataclass(frozen=True)
class Pair:
    first: Picture
    second: Picture

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [self.first.size, self.second.size]


def read_pairs(inputs: Any = None, **options: Any) -> Call:
    """``pipe([picture, other])``, an array of two, a list of pairs, or any iterable of pairs."""
    if inputs is None:
        raise TypeError("inputs must be a pair of pictures, a list, or an iterable of pairs; got None")
    if isinstance(inputs, np.ndarray | Tensor):
        return Call(list(inputs), "list", options) if inputs.ndim == 5 else Call([inputs], "single", options)
    if isinstance(inputs, list | tuple) and len(inputs) == 2 and all(map(_is_picture, inputs)):
        return Call([inputs], "single", options)
    return as_call(inputs, options)


def _is_picture(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_picture(value["image"]) if "image" in value else "bytes" in value or "path" in value
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim <= 3
    return isinstance(value, str | bytes | Path) or hasattr(value, "convert") or hasattr(value, "read")


def parse(loaded: Loaded, item: Any, options: KeypointMatchingOptions) -> Pair:
    """The two pictures of an item: a pair, or the field ``image`` of a dict, as data sets have it."""
    pair = item.get("image") if isinstance(item, Mapping) else item
    listed = list(pair) if isinstance(pair, Iterable) and not isinstance(pair, str | bytes | Mapping) else []
    require(len(listed) == 2, f"a pair must hold two pictures; got {type(item).__name__}")
    first, second = (read_one(loaded, each, options) for each in listed)
    return Pair(first, second)


def encode(loaded: Loaded, items: Sequence[Pair], options: KeypointMatchingOptions) -> list[Prepared]:
    """A row a pair: its pixels are [2, C, H, W]."""
    prepared = []
    for item in items:
        encoded = prepare(loaded.image_processor, [item.first.image, item.second.image])
        row = image_row({name: values[0] for name, values in encoded.items()}, sizes=item.sizes)
        prepared.append(Prepared([row], (item.first.source, item.second.source)))
    return prepared


def forward(loaded: Loaded, batch: Batch, options: KeypointMatchingOptions) -> Reading:
    """Per pair, its part of the batch's matches."""
    sizes = torch.tensor([row.facts["sizes"] for row in batch.rows], device="cpu")
    # The pipeline of transformers hands over (width, height) where (height, width) is asked for.
    sizes = sizes.flip(-1) if loaded.compat else sizes
    outputs = loaded.run(**batch.inputs)
    found = yield from match_points(loaded.image_processor, outputs, sizes=sizes, threshold=options.threshold)
    return parts_of(found, len(batch.rows))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: KeypointMatchingOptions
) -> list[Any]:
    """A list of ``{keypoint_image_0: {x, y}, keypoint_image_1: {x, y}, score}`` a pair, best first."""
    found = per_row([rows[0] for rows in outputs], lambda batch: batch.records())
    return [of_source(Matches(own), item.facts) for own, item in zip(found, items, strict=True)]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: KeypointMatchingOptions
) -> Columns:
    """A row a match, in the model's order: ``keypoint_image_0`` and ``keypoint_image_1`` [N, 2] whole pixels (x, y),
    and ``score``."""

    def columns_of(found: Any) -> Columns:
        values = {
            "keypoint_image_0": found.first,
            "keypoint_image_1": found.second,
            "score": found.scores.double(),
        }
        return Columns(torch.bincount(found.pair, minlength=found.num_pairs), values)

    return join_parts([rows[0] for rows in outputs], columns_of)


def shape(results: Any, call: Call) -> Any:
    """A list of one pair gives the matches of that pair, as in transformers."""
    return results[0] if call.kind == "list" and len(results) == 1 else results


TASK = picture_task(
    name="keypoint-matching",
    auto_classes=("AutoModelForKeypointMatching",),
    options=KeypointMatchingOptions,
    read=read_pairs,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    shape=shape,
)
