"""Points of interest in pictures (SuperPoint): transformers has models for them, and no pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...running.batching import Batch
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.options import require_count
from ...running.reading import Reading
from ...running.task import Prepared
from .families import find_points
from .images import ImageOptions, Picture, encode_images, picture_task, read_images, read_one, sizes_of, with_sizes
from .results import Keypoints, of_source


@dataclass(frozen=True)
class KeypointDetectionOptions(ImageOptions):
    """threshold: points with a score above it are kept; None keeps all that the model gives. top_k: the best so many.
    descriptors: False leaves the vectors out."""

    threshold: float | None = None
    top_k: int | None = None
    descriptors: bool = True

    def __post_init__(self) -> None:
        require_count("top_k", self.top_k, optional=True)


def encode(loaded: Loaded, items: Sequence[Picture], options: KeypointDetectionOptions) -> list[Prepared]:
    rows = with_sizes(encode_images(loaded, [item.image for item in items]), items)
    return [Prepared([row], item) for row, item in zip(rows, items, strict=True)]


def forward(loaded: Loaded, batch: Batch, options: KeypointDetectionOptions) -> Reading:
    """Per picture ``{keypoints [N, 2] int32 (x, y), scores [N], descriptors [N, D]}``."""
    found = yield from find_points(loaded.run(**batch.inputs), sizes_of(batch.rows))
    return [_chosen(own, options) for own in found]


def _chosen(found: dict[str, Any], options: KeypointDetectionOptions) -> dict[str, Any]:
    kept = found
    if options.threshold is not None:
        keep = found["scores"] > options.threshold
        kept = {name: values[keep] for name, values in kept.items()}
    if options.top_k is not None and len(kept["scores"]) > options.top_k:
        best = kept["scores"].topk(options.top_k).indices
        kept = {name: values[best] for name, values in kept.items()}
    return {name: values for name, values in kept.items() if options.descriptors or name != "descriptors"}


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: KeypointDetectionOptions
) -> list[Any]:
    return [of_source(Keypoints(found), item.facts.source) for item, (found,) in zip(items, outputs, strict=True)]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: KeypointDetectionOptions
) -> Columns:
    """A row a point."""
    names = list(outputs[0][0])
    counts = torch.tensor([len(found["scores"]) for (found,) in outputs], dtype=torch.long, device="cpu")
    return Columns(counts, {name: torch.cat([found[name] for (found,) in outputs]) for name in names})


TASK = picture_task(
    name="keypoint-detection",
    auto_classes=("AutoModelForKeypointDetection",),
    options=KeypointDetectionOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
)
