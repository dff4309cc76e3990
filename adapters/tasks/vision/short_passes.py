"""Forward passes of models that are known, by fewer operations than transformers takes for the same outputs.

They give what the task reads and nothing else, equal but for rounding, for pictures that come with others; a picture
alone is computed by the model itself, to the last bit (``Loaded.run``).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ...running.loaded import Loaded
from ...running.plain_models import as_made
from .segformer_pass import segformer_pass
from .yolos_pass import yolos_pass

# By the model's class: called with the model, the pixels, and what has been found out for the model.
PASSES: dict[str, Callable[[Any, Tensor, dict[str, Any]], Any | None]] = {
    "SegformerForSemanticSegmentation": segformer_pass,
    "YolosForObjectDetection": yolos_pass,
}


READ = {"pixel_values", "pixel_mask"}  # these models make nothing of a mask


def run(loaded: Loaded, **inputs: Any) -> Any:
    """The model's outputs for a batch of pictures, as far as the task reads them."""
    short = PASSES.get(type(loaded.model).__name__)
    if short is not None and inputs.keys() <= READ and _plain_modes() and as_made(loaded.model):
        pixels = inputs["pixel_values"]
        together = len(pixels) > 1 or loaded.in_company
        if together and pixels.device.type == "cpu" and pixels.dtype == torch.float32:
            with loaded.in_pass(len(pixels)):
                found = short(loaded.model, pixels, loaded.findings)
            if found is not None:
                return found
    return loaded.run(**inputs)


def _plain_modes() -> bool:
    derived = torch.is_grad_enabled() or forward_ad._current_level >= 0
    return not (derived or torch.is_autocast_enabled("cpu"))
