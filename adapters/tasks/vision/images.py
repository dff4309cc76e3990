"""What the tasks over pictures share: their call, reading, encoding by size, and answers picked from whole batches."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...media.pictures import read_picture, weigh_picture
from ...media.sources import is_web_address
from ...running.batching import Row, WindowSizes
from ...running.columns import Part
from ...running.inputs import as_call, field_of
from ...running.loaded import Loaded
from ...running.task import Call, Task
from .quick_processors import quick

# Pictures are encoded in few at a time: the next ones beside the model's work on these.
PICTURE_WINDOWS = WindowSizes(4, 8, 32)

picture_task = partial(
    Task, needs=("image_processor",), unit="pixels", window_sizes=PICTURE_WINDOWS, weigh=weigh_picture
)
"""A ``Task`` over pictures: an image processor for each, batches by their pixels, files weighed by their size."""


@dataclass(frozen=True)
class ImageOptions:
    """How pictures are read; every task over pictures takes these.

    timeout: seconds to wait for a web address, which is read only with ``allow_urls``. input_data_format:
    "channels_first" or "channels_last" for arrays whose shape fits both.
    """

    timeout: float | None = None
    allow_urls: bool = False
    input_data_format: str | None = None


@dataclass(frozen=True)
class Picture:
    """A picture in RGB, and what the caller gave for it."""

    image: Any
    source: Any

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.height, self.image.width


def read_images(inputs: Any = None, *, images: Any = None, **options: Any) -> Call:
    """``pipe(picture)``, ``pipe([picture, ...])`` or any iterable; ``images`` is the name of old."""
    inputs = images if inputs is None else inputs
    if inputs is None:
        raise TypeError("inputs must be a picture, a list, or an iterable of them; got None")
    return as_image_call(inputs, options)


def as_image_call(inputs: Any, options: dict[str, Any]) -> Call:
    """An array of up to three axes or an open file is one picture; an array of four, or of objects, a list of them."""
    if isinstance(inputs, np.ndarray | Tensor):
        listed = inputs.ndim == 4 or inputs.dtype == object
        return Call(list(inputs), "list", options) if listed else Call([inputs], "single", options)
    if hasattr(inputs, "read") or hasattr(inputs, "convert"):
        return Call([inputs], "single", options)
    return as_call(inputs, options)


def call_with(name: str, value: Any, image: Any, options: dict[str, Any], *, needed: str = "image") -> Call:
    """``as_image_call`` of pictures that share the ``value`` of ``name`` or bring their own in dicts."""
    if image is None:
        raise TypeError(f"{needed} must be a picture, a dict, a list, or an iterable of them; got None")
    return as_image_call(image, options if value is None else {**options, name: value})


def own_or_shared(item: Any, name: str, shared: Any) -> Any:
    """The item's field ``name``, or what is given for all; without either the field is missing."""
    if isinstance(item, Mapping) and (name in item or shared is None):
        return field_of(item, name)
    return shared


def read_one(loaded: Loaded, item: Any, options: ImageOptions) -> Picture:
    """The picture of an item: itself, or the field ``image`` of a dict."""
    source = item["image"] if isinstance(item, Mapping) and "image" in item else item
    image = read_picture(
        source,
        allow_urls=options.allow_urls,
        timeout=options.timeout,
        input_data_format=options.input_data_format,
        compat=loaded.compat,
    )
    return Picture(image, source if _kept(source) else image)


def _kept(source: Any) -> bool:
    """Whether a source can be opened again, so that a result needs no picture of its own in memory."""
    if isinstance(source, str):
        return not is_web_address(source)
    return isinstance(source, Path | bytes) or hasattr(source, "convert")


def encode_images(loaded: Loaded, images: Sequence[Any], **given: Any) -> list[Row]:
    """A row a picture, in one call of the image processor for those of one size: none is padded for another."""
    rows: list[Any] = [None] * len(images)
    processor = loaded.image_processor if given else quick(loaded.image_processor)
    for chosen in by_size(images):
        encoded = prepare(processor, [images[index] for index in chosen], **given)
        for place, index in enumerate(chosen):
            rows[index] = image_row({name: values[place] for name, values in encoded.items()})
    return rows


def prepare(processor: Any, images: Sequence[Any], **given: Any) -> Any:
    """The tensors that an image processor makes of ``images``.

    Raises ValueError or TypeError with the size of the first where it cannot: 20,000 pixels in one row, say.
    """
    try:
        return processor(images=images, return_tensors="pt", **given)
    except (ArithmeticError, TypeError, ValueError) as error:
        size = tuple(images[0].shape) if isinstance(images[0], np.ndarray | Tensor) else images[0].size
        kind = TypeError if isinstance(error, TypeError) else ValueError
        what = "one that the image processor can prepare"
        raise kind(f"image must be {what}; got {' x '.join(map(str, size))}: {error}") from error


def by_size(images: Sequence[Any]) -> list[list[int]]:
    """The numbers of the pictures or arrays of each size, in the order the sizes first come."""
    if len(images) == 1:
        return [[0]]
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        size = (tuple(image.shape), str(image.dtype)) if isinstance(image, np.ndarray | Tensor) else image.size
        groups[size].append(index)
    return list(groups.values())


def image_row(inputs: Mapping[str, Any], group: Any = None, **facts: Any) -> Row:
    """One row of an image model: its size is the pixels of ``pixel_values``, frames and all, without the channels."""
    values = inputs["pixel_values"]
    channels = values.shape[-3] if values.dim() > 2 else 1
    return Row(inputs, prod(values.shape) // max(channels, 1), None, facts, group)


def with_sizes(rows: Sequence[Row], pictures: Sequence[Picture]) -> list[Row]:
    """Rows that know the height and width of their picture (``size``)."""
    return [replace(row, facts={"size": each.size}) for row, each in zip(rows, pictures, strict=True)]


def parts_of(found: Any, count: int) -> list[Part]:
    """What a forward pass found for a whole batch, as the output of each of its rows."""
    return [Part(found, row) for row in range(count)]


def label_names(loaded: Loaded) -> Mapping[int, str]:
    """The names of the model's labels by id."""
    names: Mapping[int, str] = loaded.config.id2label
    return names


def sizes_of(rows: Sequence[Row]) -> Tensor:
    """[B, 2] int: height and width of the picture that each row shows, from its fact ``size``."""
    return torch.tensor([row.facts["size"] for row in rows], dtype=torch.int32, device="cpu")
