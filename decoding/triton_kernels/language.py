"""Triton's language where it is installed; else a stand-in that lets the modules with kernels be imported.

No kernel runs on the stand-in: ``HAS_TRITON`` is asked first. The kernels keep to what Triton's interpreter runs too
(``TRITON_INTERPRET=1``, on CPU tensors): no libdevice functions, no inline assembly but behind a constant, shifts in
place of masks of uint64.
"""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl

    HAS_TRITON = True
    jit: Callable[[Any], Any] = triton.jit
    # A stream's numbers change at every step: no code of its own for what divides by 16. Nor for a row of one chunk,
    # whose loops, unrolled into each other, need more registers than there are.
    kernel: Callable[[Any], Any] = triton.jit(do_not_specialize=("seed", "offset", "threads", "chunks", "slots"))
except ImportError:
    HAS_TRITON = False

    class _Absent:
        """What a kernel's signature and constants need of the language."""

        int64 = int

        @staticmethod
        def constexpr(value: Any) -> Any:
            return value

    tl: Any = _Absent()  # type: ignore[no-redef]

    def jit(function: Any) -> Any:
        """The function itself, which nothing calls."""
        return function

    kernel = jit


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run in Triton's interpreter, on tensors of the CPU."""

LAUNCH = {"enable_fp_fusion": False}
"""Options of every launch: products and sums are rounded one by one, as the twins round them."""

P = ParamSpec("P")
R = TypeVar("R")


def on_its_device(launch: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """``launch`` on the device of its first argument: triton launches on the current one, wherever the tensors are."""

    @wraps(launch)
    def launched(first: Tensor, /, *given: P.args, **more: P.kwargs) -> R:
        if first.device.type != "cuda" or first.device.index == torch.cuda.current_device():
            return launch(first, *given, **more)
        with torch.cuda.device(first.device):
            return launch(first, *given, **more)

    return launched


__all__ = ["HAS_TRITON", "INTERPRETED", "LAUNCH", "jit", "kernel", "on_its_device", "tl"]
