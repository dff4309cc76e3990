"""Which models are transformers' own, as it made them: what may be computed in another way than by calling them."""

from typing import Any

import torch

# Models whose modules keep nothing of a pass: only the methods that make a module write to it (a test reads them all).
WRITING_NOTHING = frozenset(
    (
        *("beit", "conditional_detr", "convnext", "convnextv2", "cvt", "deformable_detr", "deit", "depth_anything"),
        *("detr", "dinov2", "dinov2_with_registers", "dinov3_vit", "efficientnet", "focalnet", "glpn", "hgnet_v2"),
        *("mask2former", "maskformer", "mobilenet_v2", "mobilevit", "poolformer", "pvt", "pvt_v2", "regnet", "resnet"),
        *("rt_detr", "rt_detr_v2", "segformer", "table_transformer", "upernet", "vit", "vitpose", "vitpose_backbone"),
        "yolos",
    )
)


def as_made(model: Any) -> bool:
    """Whether it is transformers' model in float32 on the CPU that nobody trains, compiles or hooks."""
    if not isinstance(model, torch.nn.Module) or not type(model).__module__.startswith("transformers.models."):
        return False
    if any(each.dtype != torch.float32 or each.device.type != "cpu" for each in model.parameters()):
        return False
    return not any(_watched(module) for module in model.modules())


def _watched(module: torch.nn.Module) -> bool:
    """Whether a caller's hook or method would miss a call; transformers' own hooks wait for outputs that are asked."""
    if module.training or module._forward_pre_hooks or module._compiled_call_impl is not None:
        return True
    if "forward" in vars(module):
        return True
    kinds = (getattr(hook, "__module__", None) or "" for hook in module._forward_hooks.values())
    return any(not kind.startswith("transformers.") for kind in kinds)


def passes_side_by_side(model: Any) -> bool:
    """Whether several threads may run its forward pass at once: one ``as_made``, all of it torch's or known to write
    nothing of its own during a pass."""
    return as_made(model) and all(_writes_nothing(type(module).__module__) for module in model.modules())


def _writes_nothing(home: str) -> bool:
    if home.startswith(("torch.nn.modules.", "transformers.activations")):
        return True
    parts = home.split(".")
    return parts[:2] == ["transformers", "models"] and len(parts) > 2 and parts[2] in WRITING_NOTHING
