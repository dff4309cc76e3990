"""torchvision beside a torch build that lacks its compiled operators: for tests alone, where torchvision is installed.

torchvision's wheels are built for CUDA; beside a CPU build of torch its operators are missing and its import fails. The
schemas are declared here and suppression gets a plain loop, so that the image processors of transformers which need
torchvision run as oracles.
"""

import importlib.util
from functools import cache

import torch

_IMAGE = "int sampling_ratio, bool aligned"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    f"{_IMAGE}) -> Tensor",
    "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    f"SymInt batch_size, SymInt channels, SymInt height, SymInt width, {_IMAGE}) -> Tensor",
    "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width) -> Tensor",
    "ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio) -> (Tensor, Tensor)",
    "_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, "
    "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, SymInt batch_size, SymInt channels, "
    "SymInt height, SymInt width) -> Tensor",
    "ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, "
    "SymInt pooled_height, SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width) "
    "-> Tensor",
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
    "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
    "SymInt offset_groups, bool use_mask) -> Tensor",
    "_deform_conv2d_backward(Tensor grad, Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
    "SymInt groups, SymInt offset_groups, bool use_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "interpolate_bicubic2d_aa(Tensor input, int[] output_size, bool align_corners) -> Tensor",
    "_cuda_version() -> int",
)


def installed() -> bool:
    return importlib.util.find_spec("torchvision") is not None


@cache
def load() -> None:
    """Import torchvision. Call before transformers asks for it."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    library.impl("nms", _suppress, "CPU")
    library.impl("_cuda_version", lambda: -1, "CompositeExplicitAutograd")
    load.library = library  # kept: its operators go with it
    import torchvision.extension

    torchvision.extension._has_ops = lambda: True


def _suppress(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Box after box by descending score (stable); overlaps compared in double, as the compiled operator does."""
    order = scores.argsort(descending=True, stable=True)
    rows = boxes[order].tolist()
    kept: list[int] = []
    for place, (left, top, right, bottom) in enumerate(rows):
        mine = torch.tensor([left, top, right, bottom])
        if not any(_overlap(mine, torch.tensor(rows[other])) > threshold for other in kept):
            kept.append(place)
    return order[torch.tensor(kept, dtype=torch.long)]


def _overlap(first: torch.Tensor, second: torch.Tensor) -> float:
    sides = (torch.minimum(first[2:], second[2:]) - torch.maximum(first[:2], second[:2])).clamp_min(0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    inter = sides[0] * sides[1]
    return float(inter / (areas[0] + areas[1] - inter))
