"""Outputs of segmentation models drawn with regions, noise, ties and sizes of every form, one check per family."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
import transformers

from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision


def draw(seed: int) -> tuple[random.Random, torch.Generator]:
    return random.Random(seed), torch.Generator().manual_seed(seed)


def draw_planes(choose: random.Random, generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Noise, smooth regions, or few values with many ties; now and then another dtype or layout."""
    planes = torch.randn(shape, generator=generator)
    if choose.random() < 0.7:
        low = torch.randn(*shape[:-2], 3, 3, generator=generator)
        planes = planes * choose.choice((0.0, 0.1, 1.0)) + 6 * F.interpolate(low, size=shape[-2:], mode="bicubic")
    if choose.random() < 0.3:
        planes = planes.round()
    if choose.random() < 0.05:
        planes = planes.to(choose.choice((torch.float64, torch.float16, torch.bfloat16)))
    if choose.random() < 0.05:
        planes = planes.contiguous(memory_format=torch.channels_last)
    return planes


def draw_sizes(choose: random.Random, batch: int, most: int = 160) -> list[tuple[int, int]] | None:
    if choose.random() < 0.15:
        return None
    return [(choose.randint(1, most), choose.randint(1, most)) for _ in range(batch)]


SEMANTIC = (
    "SegformerImageProcessor",
    "BeitImageProcessor",
    "DPTImageProcessor",
    "MobileViTImageProcessor",
    "MobileNetV2ImageProcessor",
)


def check_semantic(seed: int) -> None:
    choose, generator = draw(seed)
    shape = (choose.randint(1, 3), choose.randint(1, 14), choose.randint(1, 24), choose.randint(1, 24))
    logits = draw_planes(choose, generator, shape)
    if choose.random() < 0.03:
        logits[:, -1, 0, 0] = choose.choice((float("nan"), float("inf"), -float("inf")))
    sizes = draw_sizes(choose, shape[0])
    processor = getattr(transformers, choose.choice(SEMANTIC))()
    theirs = processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), sizes)
    require_same(vision.semantic_maps(logits, sizes=sizes), list(theirs))


def draw_queries(seed: int, *, few: bool = False) -> tuple[random.Random, torch.Tensor, torch.Tensor, Any]:
    """Class logits [B, Q, C + 1] of which some are certain, mask logits [B, Q, h, w], sizes."""
    choose, generator = draw(seed)
    batch, queries, classes = choose.randint(1, 2), choose.randint(1, 9), choose.randint(1, 5)
    class_logits = torch.randn(batch, queries, classes + 1, generator=generator) * choose.choice((0.5, 2.0, 6.0))
    if choose.random() < 0.2:
        class_logits = class_logits.round()
    masks = draw_planes(choose, generator, (batch, queries, choose.randint(1, 20), choose.randint(1, 20))).float()
    if choose.random() < 0.1 and queries > 1:
        masks[:, 1], class_logits[:, 1] = masks[:, 0], class_logits[:, 0]  # two queries for one thing
    return choose, class_logits, masks, draw_sizes(choose, batch)


def outputs_of(class_logits: torch.Tensor, masks: torch.Tensor) -> SimpleNamespace:
    """Under the names of both kinds of models."""
    return SimpleNamespace(
        logits=class_logits, pred_masks=masks, class_queries_logits=class_logits, masks_queries_logits=masks
    )


def check_semantic_queries(seed: int) -> None:
    choose, class_logits, masks, sizes = draw_queries(seed)
    name = choose.choice(("DetrImageProcessor", "MaskFormerImageProcessor", "ConditionalDetrImageProcessor"))
    theirs = getattr(transformers, name)().post_process_semantic_segmentation(outputs_of(class_logits, masks), sizes)
    planes = vision.class_planes(class_logits, masks, keep_last=name.startswith("Cond"))
    require_same(vision.semantic_maps(planes, sizes=sizes), list(theirs))


def check_semantic_mask2former(seed: int) -> None:
    _, class_logits, masks, sizes = draw_queries(seed)
    theirs = transformers.Mask2FormerImageProcessor().post_process_semantic_segmentation(
        outputs_of(class_logits, masks), sizes
    )
    planes = vision.class_planes(class_logits, masks, mask_size=(384, 384))
    require_same(vision.semantic_maps(planes, sizes=sizes), list(theirs))


CHECKS = {
    "semantic": check_semantic,
    "semantic of queries": check_semantic_queries,
    "semantic, Mask2Former": check_semantic_mask2former,
}
