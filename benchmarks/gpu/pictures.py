"""Maps of pictures on a device: torch's upsampling reproduced to the bit, the kernel's maps against torch's, times."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from afterlogits.benchmarks.gpu.clock import microseconds, shown
from afterlogits.benchmarks.gpu.findings import Check
from afterlogits.benchmarks.gpu.tokens import kernels
from afterlogits.postprocess.triton_kernels.language import INTERPRETED
from afterlogits.postprocess.triton_kernels.mask_levels import levels_run, mask_levels, mask_levels_twin
from afterlogits.postprocess.triton_kernels.panoptic import Fusion, fusion_of, tiles_run, upsampled_planes
from afterlogits.postprocess.vision import mask_generation
from afterlogits.postprocess.vision.panoptic import panoptic_maps
from afterlogits.postprocess.vision.segments import Segmentation

SIZES = (((100, 134), (480, 640)), ((120, 160), (479, 641)), ((200, 334), (1080, 1801)), ((160, 160), (120, 300)))
QUERIES, CLASSES = 100, 133  # of DETR and MaskFormer on COCO


def drawn(check: Check, source: tuple[int, int], kept: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Class and mask logits of two pictures as models give them: ``kept`` certain queries a picture, large spots."""
    random = torch.Generator().manual_seed(seed)
    queries = 8 if check.dry else QUERIES
    classes = torch.randn(2, queries, CLASSES + 1, generator=random)
    classes[..., -1] += 12
    for picture in range(2):
        chosen = torch.randperm(queries, generator=random)[:kept]
        classes[picture, chosen, torch.randint(CLASSES, (len(chosen),), generator=random)] += 30
    low = torch.randn(2, queries, 5, 6, generator=random)
    masks = 8 * F.interpolate(low, size=source, mode="bicubic")
    return classes.to(check.device), masks.contiguous().to(check.device)


def sizes(check: Check) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    return (((9, 12), (30, 41)),) if check.dry else SIZES


def upsampling(check: Check) -> None:
    """Which products and sums torch's kernel fuses, and its values at every size with that."""
    if not tiles_run(check.device):
        known = fusion_of(check.device) if check.device.type == "cuda" else None
        check.add("left out", f"no kernel here: fusion {known}", "a known fusion", check.dry)
        return
    fusion = Fusion() if INTERPRETED else fusion_of(check.device)
    check.add("torch's upsampling fuses", fusion)
    for source, size in sizes(check):
        planes = torch.rand(3, *source, generator=torch.Generator().manual_seed(2)).to(check.device)
        expected = F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]
        off = float((upsampled_planes(planes, size, fusion or Fusion()) - expected).abs().max())
        check.add(f"upsampled, {source} to {size}", f"off by {off:.1e}", "0", off == 0 or INTERPRETED)


def maps(check: Check) -> None:
    """Maps and segments by the kernel against those by torch here: none, few and all queries kept."""
    if not tiles_run(check.device):
        check.add("left out", "no kernel here")
        return
    for source, size in sizes(check):
        for kept in (0, 7, QUERIES):
            given = drawn(check, source, kept, seed=kept)
            found = {}
            for on in (True, False):
                with kernels(on):
                    found[on] = list(panoptic_maps(*given, sizes=[size] * 2, threshold=0.5, overlap_threshold=0.3))
            pairs = list(zip(found[True], found[False], strict=True))
            unlike = sum(_unlike(*pair) for pair in pairs)
            same = unlike == 0 and all(
                one.records()["segments_info"] == other.records()["segments_info"] for one, other in pairs
            )
            check.equal(f"panoptic, {source} to {size}, {kept} kept", same or INTERPRETED, f"{unlike} pixels unlike")


def levels(check: Check) -> None:
    """Masks, areas and boxes of mask generation by the kernel against its twin here."""
    size, count = ((30, 41), 5) if check.dry else ((1080, 1801), 12)
    low = torch.randn(1, count, 9, 13, generator=torch.Generator().manual_seed(3)).to(check.device)
    logits = 6 * F.interpolate(low, size=size, mode="bilinear")[0] - 3
    if not levels_run(logits):
        check.add("left out", "no kernel here")
        return
    pairs = zip(mask_levels(logits, 0.0, 1.0), mask_levels_twin(logits, 0.0, 1.0), strict=True)
    check.equal(f"mask_levels, {count} masks of {size}", all(torch.equal(one, other) for one, other in pairs))


def _unlike(one: Segmentation, other: Segmentation) -> int:
    """Pixels with another id."""
    return int((one.map.cpu().int() != other.map.cpu().int()).sum())


def times(check: Check) -> None:
    """A panoptic map by torch and by the kernel, its answers left on the device; levels of masks by both."""
    logits = torch.randn(2 if check.dry else 12, *sizes(check)[-2 if len(sizes(check)) > 1 else 0][1]).to(check.device)
    for on in (False, True):
        with kernels(on):
            took = microseconds(check, lambda x: mask_generation._levels(x, 0.0, 1.0), [logits])
        check.add(f"levels of {len(logits)} masks, {'kernel' if on else 'torch'}", shown(took))
    for source, size in sizes(check):
        classes, masks = drawn(check, source, 8)

        def run(masks: Tensor, classes: Tensor = classes, size: tuple[int, int] = size) -> Any:
            return panoptic_maps(classes[:1], masks, sizes=[size], threshold=0.5).queries

        with kernels(False):
            theirs = microseconds(check, run, [masks[:1]])
        check.add(f"panoptic map, torch, 8 of {classes.shape[1]} kept, {size}", shown(theirs))
        if tiles_run(check.device):
            ours = microseconds(check, run, [masks[:1]])
            check.add(
                f"panoptic map, kernel, 8 of {classes.shape[1]} kept, {size}", shown(ours), "torch", ours <= theirs
            )
