"""The language-model head at the masked positions alone: most of fill-mask's time is the head, most of it unused.

A hook replaces the encoder's output by its masked positions before the head sees it. Whether the architecture allows
that is found out once for a model, by comparing one row with the plain way.
"""

from collections.abc import Mapping
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from ...running.loaded import Loaded


def masked_logits(loaded: Loaded, inputs: Mapping[str, Tensor], item: Tensor, position: Tensor) -> Tensor:
    """Logits [M, V] at ``(item, position)``, each [M]."""
    allowed = loaded.findings.get("masked_head")
    if allowed is None:
        allowed = loaded.findings["masked_head"] = _works(loaded, inputs, item, position)
    if allowed:
        return _through_hook(loaded.model, inputs, item, position)
    return _at(_plain(loaded.model, inputs), item, position)


def _at(logits: Tensor, item: Tensor, position: Tensor) -> Tensor:
    """``logits[item, position]``, [M, V]; by numpy where it can: another library's threads may still be at work."""
    if logits.device.type != "cpu" or logits.dtype != torch.float32:
        return logits[item, position]
    return torch.from_numpy(logits.detach().numpy()[item.numpy(), position.numpy()])


def _plain(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    output = model(**inputs)
    logits: Tensor = output["logits"] if isinstance(output, Mapping) else output[0]
    return logits


def _through_hook(model: Any, inputs: Mapping[str, Tensor], item: Tensor, position: Tensor) -> Tensor:
    """Logits of the masked places alone: a hook picks their hidden states before the head sees them."""
    thread = get_ident()

    def only_masked(module: Any, arguments: Any, output: Any) -> Any:
        if get_ident() != thread:  # another thread's pass through the same model
            return None
        hidden = output[0][item, position][None]  # [1, M, H]
        if isinstance(output, tuple):
            return (hidden, *output[1:])
        output[next(iter(output))] = hidden
        return output

    handle = model.base_model.register_forward_hook(only_masked)
    try:
        return _plain(model, inputs)[0]
    finally:
        handle.remove()


def _works(loaded: Loaded, inputs: Mapping[str, Tensor], item: Tensor, position: Tensor) -> bool:
    """Whether the hook gives the plain way's logits, tried on the first row."""
    model = loaded.model
    if getattr(model, "base_model", model) is model:
        return False
    first = item == item[0]
    row = {name: value[item[0] : item[0] + 1] for name, value in inputs.items()}
    zeros, places = torch.zeros_like(item[first]), position[first]
    try:
        fast = _through_hook(model, row, zeros, places)
    except Exception:
        return False
    plain = _plain(model, row)[zeros, places]
    return fast.shape == plain.shape and bool(torch.allclose(fast, plain, rtol=1e-4, atol=1e-5, equal_nan=True))
