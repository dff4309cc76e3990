"""What numpy and torch spell differently, so that one text works on both.

On the host the few candidates of a row are numpy arrays: an operation on them costs a third of what torch charges for
the call alone. On another device they stay tensors. Operators, slices, ``sum``, ``cumsum``, ``argmax`` and ``any``
read the same in both and are not listed here.
"""

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = Any  # numpy.ndarray or torch.Tensor; both operands of an operation are of one kind
Formed = TypeVar("Formed")
_MOST_KEPT = 16


def namespace(x: Array) -> ModuleType:
    """The module whose ``exp``, ``where`` and so on take ``x``."""
    return torch if isinstance(x, Tensor) else np


def on_host(x: Tensor | float) -> Array:
    """A tensor of the CPU as the array over the same memory; anything else as it is."""
    return x.detach().numpy() if isinstance(x, Tensor) and x.device.type == "cpu" else x


def as_tensor(x: Array) -> Tensor:
    """The tensor over the same memory."""
    tensor: Tensor = x if isinstance(x, Tensor) else torch.from_numpy(x)
    return tensor


def double(x: Array) -> Array:
    """``x`` as float64."""
    return x.to(torch.float64) if isinstance(x, Tensor) else x.astype(np.float64)


def single(x: Array) -> Array:
    """``x`` as float32."""
    return x.to(torch.float32) if isinstance(x, Tensor) else x.astype(np.float32)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on ``device``; to CUDA it goes from pinned memory, and nobody waits until it is there."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def formed_once(form: Callable[..., Formed]) -> Callable[..., Formed]:
    """``form(..., device)``, whose last results are kept: constants of a device, which nobody writes to.

    What is formed while a CUDA graph is captured is not kept: it is in the graph's memory, and there after a replay.
    """
    kept: dict[Any, Formed] = {}

    @wraps(form)
    def found(*args: Any) -> Formed:
        if args in kept:
            return kept[args]
        formed = form(*args)
        if args[-1].type != "cuda" or not torch.cuda.is_current_stream_capturing():
            for oldest in list(kept)[: 1 - _MOST_KEPT]:
                kept.pop(oldest, None)
            kept[args] = formed
        return formed

    return found
