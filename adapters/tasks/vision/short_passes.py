"""Forward passes of models that are known, by fewer operations than transformers takes for the same outputs.

They give what the task reads and nothing else, equal but for rounding, for pictures that come with others; a picture
alone is computed by the model itself, to the last bit (``Loaded.run``).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...running.loaded import Loaded
from .segformer_pass import segformer_pass

PASSES: dict[str, Callable[[Any, Tensor], Any | None]] = {"SegformerForSemanticSegmentation": segformer_pass}


def run(loaded: Loaded, **inputs: Any) -> Any:
    """The model's outputs for a batch of pictures, as far as the task reads them."""
    short = PASSES.get(type(loaded.model).__name__)
    if short is not None and inputs.keys() == {"pixel_values"} and _as_made(loaded.model):
        pixels = inputs["pixel_values"]
        together = len(pixels) > 1 or loaded.in_company
        if together and pixels.device.type == "cpu" and pixels.dtype == torch.float32:
            with loaded.in_pass(len(pixels)):
                found = short(loaded.model, pixels)
            if found is not None:
                return found
    return loaded.run(**inputs)


def _as_made(model: Any) -> bool:
    """Whether it is transformers' model in float32 that nobody trains, compiles, or watches the outputs of."""
    if not type(model).__module__.startswith("transformers.models.") or model.training or _autocast():
        return False
    if any(each.dtype != torch.float32 or each.device.type != "cpu" for each in model.parameters()):
        return False
    return not any(_watched(module) for module in model.modules())


def _autocast() -> bool:
    return torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")


def _watched(module: torch.nn.Module) -> bool:
    """Whether a caller's hook or method would miss a call; transformers' own hooks wait for outputs that are asked."""
    if module.training or module._forward_pre_hooks or module._compiled_call_impl is not None:
        return True
    if "forward" in vars(module):
        return True
    kinds = (getattr(hook, "__module__", None) or "" for hook in module._forward_hooks.values())
    return any(not kind.startswith("transformers.") for kind in kinds)
