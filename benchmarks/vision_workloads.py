"""Outputs of vision models as they come from photographs: few certain objects, class maps of regions, smooth masks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on(device: torch.device, outputs: Any) -> Any:
    """The same outputs on a device."""
    return SimpleNamespace(**{name: value.to(device) for name, value in vars(outputs).items()})


def detections(batch: int, queries: int, classes: int, *, no_object: bool = False, seed: int = 0) -> Any:
    """Logits and boxes of a detector: about one query in ten is certain of something."""
    generator = generator_of(seed)
    logits = torch.randn(batch, queries, classes + no_object, generator=generator) - (0 if no_object else 4)
    certain = torch.rand(batch, queries, generator=generator) < 0.1
    label = torch.randint(0, classes, (batch, queries), generator=generator)
    logits.scatter_add_(2, label[..., None], certain[..., None].float() * 9)
    if no_object:
        logits[..., -1] += torch.where(certain, -4.0, 5.0)
    boxes = torch.rand(batch, queries, 4, generator=generator) * torch.tensor([1.0, 1.0, 0.4, 0.4])
    return SimpleNamespace(logits=logits, pred_boxes=boxes)


def class_planes(classes: int, height: int, width: int, *, regions: int = 10, batch: int = 1, seed: int = 0) -> Any:
    """Logits [B, C, h, w] of a scene of some regions; none is noise."""
    generator = generator_of(seed)
    planes = torch.randn(batch, classes, height, width, generator=generator)
    if regions:
        low = torch.randn(batch, regions, max(height // 24, 2), max(width // 24, 2), generator=generator)
        smooth = F.interpolate(low, size=(height, width), mode="bicubic")
        planes[:, torch.randperm(classes, generator=generator)[:regions]] += 8 * smooth + 6
        planes *= 0.7
    return SimpleNamespace(logits=planes)


def queries(count: int, classes: int, *, kept: int = 10, height: int = 120, width: int = 160, seed: int = 0) -> Any:
    """Class and mask logits of a universal segmenter: ``kept`` queries certain, their masks blobs side by side."""
    generator = generator_of(seed)
    class_logits = torch.randn(1, count, classes + 1, generator=generator)
    class_logits[..., -1] += 12
    chosen = torch.randperm(count, generator=generator)[:kept]
    class_logits[0, chosen, -1] -= 14
    class_logits[0, chosen, torch.randint(0, classes, (kept,), generator=generator)] += 9
    low = torch.randn(1, count, 6, 8, generator=generator)
    masks = F.interpolate(low, size=(height, width), mode="bicubic") * 12 - 4
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    across = (kept + 1) // 2
    for place, query in enumerate(chosen.tolist()):
        y, x = (place // across + 0.5) * height / 2, (place % across + 0.5) * width / across
        distance = ((rows - y) / (height / 4)) ** 2 + ((columns - x) / (width / across / 2)) ** 2
        masks[0, query] = 10 - 10 * distance + torch.randn(height, width, generator=generator) * 0.5
    return SimpleNamespace(class_queries_logits=class_logits, masks_queries_logits=masks)


def point_masks(points: int, *, size: int = 256, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three mask logits [P, 3, s, s] of each point and their predicted quality: a third is good, and stable."""
    generator = generator_of(seed)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = torch.rand(points * 3, 2, generator=generator) * size
    radius = torch.rand(points * 3, generator=generator) * size / 5 + size / 20
    distance = ((rows - centre[:, :1, None]) ** 2 + (columns - centre[:, 1:, None]) ** 2).sqrt()
    masks = (radius[:, None, None] - distance) * 2.0 + torch.randn(points * 3, size, size, generator=generator) * 0.3
    scores = torch.rand(points, 3, generator=generator) * 0.4 + 0.68
    return masks.clamp(-25, 20).view(points, 3, size, size), scores


def heatmaps(persons: int, points: int = 17, *, height: int = 64, width: int = 48, seed: int = 0) -> torch.Tensor:
    """A Gaussian peak for each point of each person, [N, K, H, W], with a little noise."""
    generator = generator_of(seed)
    y = torch.randint(4, height - 4, (persons, points, 1, 1), generator=generator)
    x = torch.randint(4, width - 4, (persons, points, 1, 1), generator=generator)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    maps = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)
    return maps + torch.rand(maps.shape, generator=generator) * 0.01
