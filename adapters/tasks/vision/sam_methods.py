"""SAM's methods by the kernels: its image processors' masks, their filter, and one mask of each object."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ....postprocess import vision
from .families import on_torchvision
from .processor_methods import Arguments, Method


def _masks(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    pad_size = processor.pad_size if given["pad_size"] is None else given["pad_size"]
    padded = (pad_size["height"], pad_size["width"])
    sizes = zip(_pairs(given["original_sizes"]), _pairs(given["reshaped_input_sizes"]), strict=True)
    masks = [
        _full_masks(stack, given, size, pad_size=padded, input_size=seen)
        for stack, (size, seen) in zip(given["masks"], sizes, strict=True)
    ]
    return masks


def _masks_of_sam2(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    if given["apply_non_overlapping_constraints"]:
        return plain(**given)
    return [
        _full_masks(stack, given, size)
        for stack, size in zip(given["masks"], _pairs(given["original_sizes"]), strict=True)
    ]


def _pairs(sizes: Any) -> list[tuple[int, int]]:
    rows = sizes.tolist() if hasattr(sizes, "tolist") else sizes
    return [(int(row[0]), int(row[1])) for row in rows]


def _full_masks(stack: Any, given: Arguments, size: tuple[int, int], **sizes: Any) -> Tensor:
    """[P, M, H, W]: bool, or logits where they are not binarised. Binarised few at a time."""
    logits = torch.as_tensor(stack)
    parts = vision.upscaled_masks(logits, size, **sizes)
    if given["binarize"]:
        parts = (part > given["mask_threshold"] for part in parts)
    return torch.cat([*parts]).view(*logits.shape[:2], *size)


def _filter(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    """SAM's filter of one crop's masks: run lengths, scores and boxes of those that are kept."""
    names = ("pred_iou_thresh", "stability_score_thresh", "mask_threshold", "stability_score_offset")
    height, width = (int(side) for side in given["original_size"])
    found = vision.filter_masks(
        given["masks"],
        given["iou_scores"],
        image_size=(height, width),
        crop_box=given["cropped_box_image"],
        **{name: given[name] for name in names},
    )
    return found.runs.records(), found.scores, found.boxes


def _one_of_each(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    records: Sequence[Any] = given["all_masks"]
    scores, boxes = given["all_scores"], given["all_boxes"]
    kept = vision.nms(boxes.float(), scores, iou_threshold=given["crops_nms_thresh"])
    chosen = [records[place] for place in kept.tolist()]
    decoded = vision.read_run_lengths(chosen).decode() if chosen else torch.zeros(0, device="cpu")
    masks = [*(decoded if on_torchvision(processor) else decoded.numpy())]
    return masks, scores[kept], chosen, boxes[kept]


_SHARED: Mapping[str, Method] = {"filter_masks": _filter, "post_process_for_mask_generation": _one_of_each}
SAM_METHODS: Mapping[str, Mapping[str, Method]] = {
    "post_process_masks": {"Sam": _masks, "Sam2": _masks_of_sam2, "Sam3": _masks_of_sam2},
    **{name: dict.fromkeys(("Sam", "Sam2", "Sam3"), method) for name, method in _SHARED.items()},
}
