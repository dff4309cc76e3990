"""Whether somebody's hooks look at the rows of a batch: then every row must stay where transformers has it."""

import functools
from typing import Any

from torch.nn.modules import module as torch_module

__all__ = ["sees_rows"]

# Hooks of these act on a batch of any size: captured outputs, normalised weights, moves between devices.
_BLIND = ("transformers", "torch", "accelerate", "afterlogits")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def sees_rows(model: Any) -> bool:
    """Whether a module of ``model`` has a forward hook that may count rows, such as PEFT's with an adapter per row."""
    everywhere = (torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks)
    if any(_counts(hook) for hooks in everywhere for hook in hooks.values()):
        return True
    modules = model.modules() if hasattr(model, "modules") else ()  # an ONNX session has none
    return any(
        _counts(hook) for module in modules for name in _HOOKS for hook in (module.__dict__.get(name) or {}).values()
    )


def _counts(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    home = getattr(hook, "__module__", None) or type(hook).__module__
    return home.split(".", 1)[0] not in _BLIND
