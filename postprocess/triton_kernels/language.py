"""Triton's language where it is installed; else a stand-in that lets the modules with kernels be imported.

The same few lines as in ``decoding``, which this part does not know. Kernels keep to what Triton's interpreter runs.
"""

import os
from collections.abc import Callable
from typing import Any

import torch

try:
    import triton
    import triton.language as tl

    HAS_TRITON = True
    jit: Callable[[Any], Any] = triton.jit
except ImportError:
    HAS_TRITON = False

    class _Absent:
        """What a kernel's signature needs of the language."""

        constexpr = Any

    tl: Any = _Absent()  # type: ignore[no-redef]

    def jit(function: Any) -> Any:
        """The function itself, which nothing calls."""
        return function


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run in Triton's interpreter, on tensors of the CPU."""

LAUNCH = {"enable_fp_fusion": False}
"""Options of every launch: products and sums are fused only where a kernel says so."""


def asked_for(device: torch.device) -> bool:
    """Whether kernels may be tried on this device: ``AFTERLOGITS_KERNELS=off`` switches them off, ``=interpreter`` runs
    them on the CPU in Triton's interpreter, which is for tests."""
    asked = os.environ.get("AFTERLOGITS_KERNELS", "")
    if not HAS_TRITON or asked == "off":
        return False
    return asked == "interpreter" if INTERPRETED else device.type == "cuda"


def on_current(device: torch.device) -> torch.cuda.device:
    """A block in which ``device`` is the current one: triton launches there, wherever the tensors are."""
    return torch.cuda.device(device if device.type == "cuda" else -1)


__all__ = ["HAS_TRITON", "INTERPRETED", "LAUNCH", "asked_for", "jit", "on_current", "tl"]
