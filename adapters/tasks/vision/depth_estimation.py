"""How far away every pixel is, as the depth-estimation pipeline of transformers 5.23."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ....postprocess.vision.depth import depth_pictures
from ...running.batching import Batch
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.reading import Reading
from ...running.task import Prepared
from .families import depth_of
from .images import ImageOptions, Picture, encode_images, picture_task, read_images, read_one, with_sizes
from .results import DepthMap, from_mask, of_source


@dataclass(frozen=True)
class DepthOptions(ImageOptions):
    """parameters: a dict with ``timeout``, another way that transformers takes it."""

    parameters: Mapping[str, Any] | None = None


def encode(loaded: Loaded, items: Sequence[Picture], options: DepthOptions) -> list[Prepared]:
    rows = with_sizes(encode_images(loaded, [item.image for item in items]), items)
    return [Prepared([row], item) for row, item in zip(rows, items, strict=True)]


def forward(loaded: Loaded, batch: Batch, options: DepthOptions) -> Reading:
    """Per picture its depth [H, W], at the picture's size, and the same as grey levels."""
    outputs = loaded.run(**batch.inputs)
    sizes = [row.facts["size"] for row in batch.rows]
    found = depth_of(loaded.image_processor, outputs, sizes, compat=loaded.compat)
    greys = depth_pictures([depth.float() for depth in found])
    read = yield [*found, *greys]
    return list(zip(read[: len(found)], read[len(found) :], strict=True))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: DepthOptions
) -> list[Any]:
    """``{predicted_depth, depth}``: a tensor in the model's unit, and a grey PIL image."""
    return [
        of_source(
            DepthMap({"predicted_depth": depth, "depth": from_mask(np.atleast_2d(grey.numpy()))}), item.facts.source
        )
        for item, ((depth, grey),) in zip(items, outputs, strict=True)
    ]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: DepthOptions
) -> Columns:
    """A row a picture: its depth map (a tensor, maps differ in size), the least, the mean and the largest of it."""
    maps = [depth for ((depth, _),) in outputs]
    values = {
        "predicted_depth": maps,
        "least": torch.stack([depth.min() for depth in maps]).double(),
        "mean": torch.stack([depth.double().mean() for depth in maps]),
        "most": torch.stack([depth.max() for depth in maps]).double(),
    }
    return Columns(torch.ones(len(items), dtype=torch.long, device="cpu"), values)


TASK = picture_task(
    name="depth-estimation",
    auto_classes=("AutoModelForDepthEstimation",),
    options=DepthOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    side_by_side=True,
)
