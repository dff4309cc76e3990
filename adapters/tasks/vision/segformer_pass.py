"""SegFormer's pass with a head that multiplies before it enlarges.

transformers brings the four stages to one width, enlarges each to the size of the first, joins them to four times that
width, and multiplies by the fusing layer there: 4.3 billion multiplications of a SegFormer-b0 at 512 x 512.
Enlarging is linear, along other axes than the layers, and so is a batch norm that has been trained: each stage is
multiplied once, at its own size, by the product of the three, and the sum of the enlarged stages is the same but for
rounding. Channels lie last in memory, where torch enlarges a vector of them at a time.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

LEAST_FUSED = 1 << 26  # multiplications of the fusing layer in a batch; fewer are not worth another order of sums


def segformer_pass(model: Any, pixel_values: Tensor, findings: dict[str, Any]) -> Any | None:
    """The outputs of a SegFormer for semantic segmentation, logits alone; None where its head is not the plain one."""
    head = model.decode_head
    fused = pixel_values.numel() // pixel_values.shape[1] // 16 * head.linear_fuse.weight.numel()
    if fused < LEAST_FUSED or not _plain(head):
        return None
    from transformers.modeling_outputs import SemanticSegmenterOutput

    stages = model.segformer(pixel_values, output_hidden_states=True, return_dict=True).hidden_states
    if any(stage.dim() != 4 for stage in stages):
        return SemanticSegmenterOutput(logits=head(stages))
    logits = class_logits(head, stages)
    if not bool(logits.sum().isfinite()):  # infinite sums in between are infinite elsewhere in another order
        logits = head(stages)
    return SemanticSegmenterOutput(logits=logits)


def class_logits(head: Any, stages: Sequence[Tensor]) -> Tensor:
    """[B, C, h, w] logits of stages [B, c, h, w] each, the first the largest."""
    weights, bias = stage_weights(head)
    height, width = stages[0].shape[-2:]
    kernel, shift = head.classifier.weight[:, :, 0, 0], head.classifier.bias
    logits = stages[0].new_empty(len(stages[0]), len(kernel), height, width)
    for picture, found in enumerate(logits):
        total = _enlarged(stages[0][picture], weights[0], bias, (height, width))
        for stage, weight in zip(stages[1:], weights[1:], strict=True):
            total += _enlarged(stage[picture], weight, None, (height, width))
        planes = F.linear(total.relu_().permute(0, 2, 3, 1).flatten(0, 2), kernel, shift)
        found.copy_(planes.t().view_as(found))
    return logits


def stage_weights(head: Any) -> tuple[list[Tensor], Tensor]:
    """The matrix of each stage, [D, c], and the sum of all biases, [D]: projection, fusing layer and batch norm in one.

    In float64, so that they are rounded once. Cost: 1 ms for a SegFormer-b0, in a pass of hundreds.
    """
    norm = head.batch_norm
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    fuse = head.linear_fuse.weight[:, :, 0, 0].double() * scale[:, None]
    bias = norm.bias.double() - norm.running_mean.double() * scale
    weights = []
    projections = _projections(head)
    # The stages are joined last one first.
    for projection, part in zip(projections, reversed(fuse.chunk(len(projections), dim=1)), strict=True):
        weights.append((part @ projection.weight.double()).to(projection.weight.dtype))
        bias = bias + part @ projection.bias.double()
    return weights, bias.to(norm.weight.dtype)


def _enlarged(stage: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
    """A stage [c, h, w] times its matrix at ``size``: [1, D, H, W], channels last in memory."""
    rows = F.linear(stage.flatten(1).t().contiguous(), weight, bias)
    planes = rows.view(1, *stage.shape[1:], -1).permute(0, 3, 1, 2)
    if stage.shape[1:] == size:
        return planes
    return F.interpolate(planes, size=size, mode="bilinear", align_corners=False)


def _projections(head: Any) -> list[nn.Linear]:
    """The layers that bring the stages to one width; transformers 4 names them otherwise."""
    held = head.linear_projections if hasattr(head, "linear_projections") else head.linear_c
    return [each.proj for each in held]


def _plain(head: Any) -> bool:
    """Whether the head is made of the layers that transformers makes it of, with what each has in a trained model."""
    norm, fuse, last = head.batch_norm, head.linear_fuse, head.classifier
    layers = {norm: nn.BatchNorm2d, head.activation: nn.ReLU, fuse: nn.Conv2d, last: nn.Conv2d}
    layers |= dict.fromkeys(_projections(head), nn.Linear)
    if any(type(layer) is not kind for layer, kind in layers.items()):
        return False
    if norm.running_var is None or norm.weight is None or fuse.bias is not None or last.bias is None:
        return False
    if any(projection.bias is None for projection in _projections(head)):
        return False
    # Layers whose numbers have been laid out anew have other shapes.
    return all(layer.kernel_size == (1, 1) and layer.weight.dim() == 4 and layer.groups == 1 for layer in (fuse, last))
