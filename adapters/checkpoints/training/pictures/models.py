"""The vision models that ship, tiny, with their image processors; and how each is asked for its loss.

What a small model needs to learn at all: an ``initializer_range`` of about 0.1 (with 0.02 the activations of a narrow
network stay near zero), batch norm where the architecture has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from . import scenes
from .matching import matched_batch, matcher, matcher_processor, matching_loss

Batch = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One checkpoint: how its model and processor are built, what a batch is, and what is minimised."""

    model: Callable[[], Any]
    processor: Callable[[], Any]
    batch: Callable[[Generator, int], Batch]
    loss: Callable[[Any, Batch], Tensor]


def _plain(**more: Any) -> dict[str, Any]:
    """Processor options: pictures of one size, values from 0 to 1."""
    return {"size": {"height": scenes.SIZE, "width": scenes.SIZE}, "do_normalize": False, **more}


def pixels(images: list[scenes.Picture]) -> Tensor:
    """Pictures [B, 3, H, W] with values from 0 to 1, as the processors make them."""
    return torch.from_numpy(np.stack(images)).movedim(-1, -3).float() / 255


def _names(labels: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def classifier() -> Any:
    config = transformers.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[24, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        **_names(scenes.NAMES),
    )
    return transformers.ResNetForImageClassification(config)


def _classified(rng: Generator, size: int) -> Batch:
    drawn = [scenes.draw(rng, [scenes.thing(rng)]) for _ in range(size)]
    return {
        "pixel_values": pixels([s.image for s in drawn]),
        "labels": torch.tensor([s.things[0].label for s in drawn]),
    }


def segmenter() -> Any:
    config = transformers.SegformerConfig(
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=48,
        initializer_range=0.1,
        **_names(("ground", *scenes.SHAPES)),
    )
    return transformers.SegformerForSemanticSegmentation(config)


def _segmented(rng: Generator, size: int) -> Batch:
    drawn = [scenes.draw(rng, scenes.apart(rng, 3)) for _ in range(size)]
    classes = torch.from_numpy(np.stack([s.classes for s in drawn]))
    return {"pixel_values": pixels([s.image for s in drawn]), "labels": classes}


def depth_estimator() -> Any:
    config = transformers.GLPNConfig(
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=24,
        initializer_range=0.1,
        max_depth=6,
    )
    return transformers.GLPNForDepthEstimation(config)


def _measured(rng: Generator, size: int) -> Batch:
    drawn = []
    for _ in range(size):
        things = [scenes.thing(rng, distance=float(rng.uniform(1.2, 4.0))) for _ in range(int(rng.integers(1, 4)))]
        drawn.append(scenes.draw(rng, things))
    depth = torch.from_numpy(np.stack([s.depth for s in drawn]))
    return {"pixel_values": pixels([s.image for s in drawn]), "labels": depth}


def _depth_loss(model: Any, batch: Batch) -> Tensor:
    found = model(pixel_values=batch["pixel_values"]).predicted_depth
    return functional.smooth_l1_loss(found, batch["labels"], beta=0.3)


def detector() -> Any:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[24, 32, 48],
        decoder_in_channels=[32, 32, 32],
        d_model=32,
        num_queries=16,
        num_denoising=20,
        decoder_layers=2,
        decoder_attention_heads=4,
        encoder_attention_heads=4,
        decoder_ffn_dim=64,
        encoder_ffn_dim=64,
        freeze_backbone_batch_norms=False,
        **_names(scenes.NAMES),
    )
    return transformers.RTDetrForObjectDetection(config)


def _detected(rng: Generator, size: int) -> Batch:
    drawn = [scenes.draw(rng, scenes.apart(rng, 3)) for _ in range(size)]
    labels = []
    for scene in drawn:
        left, top, right, bottom = torch.tensor([scenes.box(t) for t in scene.things]).float().T / scenes.SIZE
        boxes = torch.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top), dim=1)
        labels.append({"class_labels": torch.tensor([t.label for t in scene.things]), "boxes": boxes})
    return {"pixel_values": pixels([s.image for s in drawn]), "labels": labels}


def video_classifier() -> Any:
    config = transformers.VideoMAEConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        image_size=scenes.FRAME_SIZE,
        patch_size=8,
        num_frames=scenes.FRAMES,
        tubelet_size=2,
        initializer_range=0.1,
        **_names(scenes.DIRECTIONS),
    )
    return transformers.VideoMAEForVideoClassification(config)


def _moved(rng: Generator, size: int) -> Batch:
    drawn = [scenes.clip(rng) for _ in range(size)]
    return {"pixel_values": pixels([c for c, _ in drawn]), "labels": torch.tensor([d for _, d in drawn])}


def _video_processor() -> Any:
    side = {"height": scenes.FRAME_SIZE, "width": scenes.FRAME_SIZE}
    return transformers.VideoMAEImageProcessor(
        size={"shortest_edge": scenes.FRAME_SIZE}, crop_size=side, do_normalize=False
    )


def _own_loss(model: Any, batch: Batch) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss


KINDS: dict[str, Kind] = {
    "shapes": Kind(classifier, lambda: transformers.ViTImageProcessor(**_plain()), _classified, _own_loss),
    "shape-maps": Kind(segmenter, lambda: transformers.SegformerImageProcessor(**_plain()), _segmented, _own_loss),
    "shape-boxes": Kind(detector, lambda: transformers.RTDetrImageProcessor(**_plain()), _detected, _own_loss),
    "distances": Kind(
        depth_estimator, lambda: transformers.GLPNImageProcessor(size_divisor=32), _measured, _depth_loss
    ),
    "directions": Kind(video_classifier, _video_processor, _moved, _own_loss),
    "views": Kind(matcher, matcher_processor, matched_batch, matching_loss),
}
"""Folder to what trains there."""
