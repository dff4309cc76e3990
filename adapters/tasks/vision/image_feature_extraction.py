"""Vectors of pictures, as the image-feature-extraction pipeline of transformers 5.23."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...running.batching import Batch
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Prepared
from ...running.tokenising import checked
from .images import ImageOptions, Picture, encode_images, picture_task, read_images, read_one


@dataclass(frozen=True)
class ImageFeatureOptions(ImageOptions):
    pool: bool | None = None
    return_tensors: Any = None
    image_processor_kwargs: Mapping[str, Any] | None = None


def encode(loaded: Loaded, items: Sequence[Picture], options: ImageFeatureOptions) -> list[Prepared]:
    rows = encode_images(loaded, [item.image for item in items], **(options.image_processor_kwargs or {}))
    return [Prepared([row]) for row in rows]


def forward(loaded: Loaded, batch: Batch, options: ImageFeatureOptions) -> Reading:
    """Per picture its last hidden state, or with ``pool`` its one vector; both keep a batch axis of one."""
    output = loaded.run(**batch.inputs)
    require(
        not options.pool or "pooler_output" in output,
        f"pool must be False for a model without a pooler; got {options.pool} for {type(loaded.model).__name__}",
    )
    (found,) = yield [output["pooler_output"] if options.pool else output[0]]
    return list(torch.split(checked(found), 1)) if len(batch.rows) > 1 else [checked(found)]


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageFeatureOptions
) -> list[Any]:
    vectors = [rows[0] for rows in outputs]
    return vectors if options.return_tensors else [each.tolist() for each in vectors]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageFeatureOptions
) -> Columns:
    """One column of vectors [N, H]: a row a patch, or with ``pool`` a row a picture."""
    vectors = [rows[0].flatten(1, -2)[0] if rows[0].dim() > 2 else rows[0] for rows in outputs]
    return Columns(torch.tensor([len(own) for own in vectors], device="cpu"), {"features": torch.cat(vectors)})


TASK = picture_task(
    name="image-feature-extraction",
    auto_classes=("AutoModel",),
    options=ImageFeatureOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    side_by_side=True,
)
