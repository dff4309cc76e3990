"""SAM's outputs drawn, with masks at edges, empty ones and crops, one check per function."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision

VERSION_4 = transformers.__version__.startswith("4.")
if not VERSION_4:  # SAM's image processor of 4.57.6 needs torchvision
    from transformers.models.sam import image_processing_pil_sam as library


def draw(seed: int) -> tuple[random.Random, torch.Generator]:
    return random.Random(seed), torch.Generator().manual_seed(seed)


def draw_masks(choose: random.Random, generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Smooth mask logits, now and then of one sign, in whole numbers, or noise."""
    low = torch.randn(*shape[:2], 3, 3, generator=generator) * choose.choice((2.0, 6.0))
    masks = F.interpolate(low, size=shape[2:], mode="bicubic") + choose.choice((-3.0, 0.0, 3.0))
    masks = masks + torch.randn(shape, generator=generator) * choose.choice((0.0, 0.0, 1.0))
    if choose.random() < 0.3:
        masks = masks.round()
    if choose.random() < 0.3:
        masks[0] = -5.0
    return masks


def draw_options(choose: random.Random) -> dict[str, float]:
    return {
        "pred_iou_thresh": choose.choice((0.0, 0.3, 0.6, 0.9)),
        "stability_score_thresh": choose.choice((0.0, 0.3, 0.7, 0.95)),
        "mask_threshold": choose.choice((0.0, 0.5, -0.5)),
        "stability_score_offset": choose.choice((1, 1, 0.5)),
    }


def same_candidates(ours: vision.MaskCandidates, theirs: Any) -> None:
    masks, scores, boxes = theirs
    require_same(ours.runs.records(), masks)
    require_same(ours.scores, scores)
    require_same(ours.boxes, boxes)
    assert ours.boxes.dtype == boxes.dtype


def draw_crop(choose: random.Random, width: int, height: int) -> tuple[list[float], tuple[int, int]]:
    """A crop of width x height somewhere in an image, and the size of the image."""
    left, top = choose.choice((0, 10, 60)), choose.choice((0, 15, 60))
    image = (top + height + choose.choice((0, 40)), left + width + choose.choice((0, 40)))
    return [float(left), float(top), float(left + width), float(top + height)], image


def check_filter(seed: int) -> None:
    choose, generator = draw(seed)
    shape = (choose.randint(1, 4), choose.choice((1, 3)), choose.randint(1, 70), choose.randint(1, 70))
    masks, scores = draw_masks(choose, generator, shape), torch.rand(shape[:2], generator=generator)
    box, image = draw_crop(choose, shape[3], shape[2])
    options = draw_options(choose)
    processor = library.SamImageProcessorPil()
    theirs = processor.filter_masks(masks.clone(), scores, list(image), torch.tensor(box), **options)
    same_candidates(vision.filter_masks(masks, scores, image_size=image, crop_box=box, **options), theirs)


def check_generate(seed: int) -> None:
    """Upscaling and filter in one, SAM's two steps or SAM2's one."""
    choose, generator = draw(seed)
    edge, channels = choose.choice((64, 96)), choose.choice((1, 3))
    low = draw_masks(choose, generator, (choose.randint(1, 4), channels, 16, 16))
    scores = torch.rand(low.shape[:2], generator=generator)
    height, width = choose.randint(20, 150), choose.randint(20, 150)
    scale = edge / max(height, width)
    reshaped = (int(height * scale + 0.5), int(width * scale + 0.5))
    box, image = draw_crop(choose, width, height)
    options = draw_options(choose)
    processor = library.SamImageProcessorPil(pad_size={"height": edge, "width": edge})
    padded = choose.random() < 0.7
    if padded:
        full = processor.post_process_masks([low.clone()], [(height, width)], [reshaped], binarize=False)[0]
    else:
        full = F.interpolate(low, (height, width), mode="bilinear", align_corners=False)
    theirs = processor.filter_masks(full, scores, list(image), torch.tensor(box), **options)
    sizes: dict[str, Any] = {"pad_size": (edge, edge), "input_size": reshaped} if padded else {}
    ours = vision.generate_masks(low, scores, image_size=image, crop_box=box, **sizes, **options)
    same_candidates(ours, theirs)


def check_upscaled(seed: int) -> None:
    choose, generator = draw(seed)
    edge, batch = choose.choice((64, 96, 128)), choose.randint(1, 2)
    masks = [
        draw_masks(choose, generator, (choose.randint(1, 3), choose.choice((1, 3, 4)), 16, 16)) for _ in range(batch)
    ]
    sizes = [(choose.randint(20, 150), choose.randint(20, 150)) for _ in range(batch)]
    reshaped = [(edge, edge - 5), (edge // 2, edge)][:batch]
    processor = library.SamImageProcessorPil(pad_size={"height": edge, "width": edge})
    theirs = processor.post_process_masks([m.clone() for m in masks], sizes, reshaped, binarize=False)
    for stack, size, seen, other in zip(masks, sizes, reshaped, theirs, strict=True):
        ours = torch.cat([*vision.upscaled_masks(stack, size, pad_size=(edge, edge), input_size=seen)])
        require_same(ours, other.flatten(0, 1))


def check_crops(seed: int) -> None:
    choose, _ = draw(seed)
    size = (choose.randint(70, 900), choose.randint(70, 900))
    layers, points = choose.randint(0, 3), choose.choice((1, 4, 7))
    edge, overlap = choose.choice((64, 1024)), choose.choice((512 / 1500, 0.2))
    image = np.zeros((3, *size), dtype=np.uint8)
    boxes, grid, _, _ = library._generate_crop_boxes(image, edge, layers, overlap, points)
    ours = vision.plan_crops(size, input_edge=edge, layers=layers, points_per_side=points, overlap_ratio=overlap)
    require_same(ours.boxes.float(), torch.from_numpy(boxes))
    require_same(torch.stack(ours.points, dim=1)[None], torch.from_numpy(grid))


EVERY = {
    "SAM, filter": check_filter,
    "SAM, upscaling and filter": check_generate,
    "SAM, masks": check_upscaled,
    "SAM, crops and points": check_crops,
}
CHECKS: dict[str, Any] = {} if VERSION_4 else EVERY
