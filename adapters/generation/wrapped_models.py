"""Models that hold a model: PEFT's adapters, torch.compile, data parallelism, value heads and others like them.

The model that generates is the one inside. ``install`` changes that one in place; ``generate`` leaves all of them as
they are and calls a second set of wrappers, which share all state and hold the engine's view of the model.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationMixin

__all__ = ["generating_model", "with_inner", "without_compilation"]

# What wrappers call the module they wrap; a transformers model itself is never looked into.
_INNER = ("_orig_mod", "module", "base_model", "pretrained_model", "model")
# These have no generate of their own: what is inside generates, in transformers too.
_TRANSPARENT = ("_orig_mod", "module")


def generating_model(model: Any) -> Any:
    """The transformers model at the bottom of ``model``, which may be ``model`` itself; None if there is none."""
    for _ in range(16):
        if isinstance(model, GenerationMixin):
            return model
        name = _inner_name(model)
        if name is None:
            return None
        model = model._modules[name]
    return None


def without_compilation(model: Any) -> Any:
    """``model`` without the outer wrappers that do not generate themselves: compiled modules and data parallelism."""
    while not isinstance(model, GenerationMixin) and _inner_name(model) in _TRANSPARENT:
        model = model._modules[_inner_name(model)]
    return model


def with_inner(model: Any, view: Callable[[Any], Any]) -> Any:
    """``model`` with ``view`` of its generating model in the place of that: new wrappers around the same parts."""
    if isinstance(model, GenerationMixin):
        return view(model)
    kind: Any = type(model)
    twin = kind.__new__(kind)
    modules = dict(model._modules)
    name = _inner_name(model)
    assert name is not None
    modules[name] = with_inner(modules[name], view)
    object.__setattr__(twin, "__dict__", {**model.__dict__, "_modules": modules})
    return twin


def _inner_name(model: Any) -> str | None:
    if not isinstance(model, torch.nn.Module):
        return None
    return next((name for name in _INNER if isinstance(model._modules.get(name), torch.nn.Module)), None)
