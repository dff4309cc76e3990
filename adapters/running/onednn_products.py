"""Matrix products of a forward pass by oneDNN, on processors whose width MKL leaves half unused.

torch multiplies matrices on the CPU with MKL, which takes no AVX-512 instructions on AMD's processors. oneDNN, which
torch holds as well, does: on a Zen 5 core 205 to 240 GFLOP/s against 100, and 1.84 times the speed of a ViT-base. In a
thread that computes alone attention over many keys gains too (onednn_attention.py). The outputs differ in their last
bits, as they do between batches of different shapes: only rows that come with others are computed so, and a row alone
stays transformers' own to the last bit.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from .onednn_attention import attend, linear, may_attend, plain_numbers

# Rows * inputs * outputs from which a product gains; below, the weights are laid out anew for too few rows.
LEAST_PRODUCT = 1 << 21
# Tokens of a batch of texts from which its products are large: a layer of 384 x 384 gains from 16 rows on, a little.
LEAST_TOKENS = 32
# Numbers in a model's linear layers: with fewer a pass is so short that looking at each of its calls counts.
LEAST_WEIGHTS = 1 << 20


class OneDnnProducts(TorchFunctionMode):
    """Within it ``linear`` of float32 on the CPU runs by oneDNN, for products of ``least`` multiplications or more, and
    long ``scaled_dot_product_attention`` where the thread computes alone."""

    def __init__(self, least: int = LEAST_PRODUCT) -> None:
        super().__init__()
        self._least = least

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Sequence[Any] = (), options: Any = None
    ) -> Any:
        options = options or {}
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return function(*arguments, **options)
        if function is F.linear and not options and _suits(self._least, *arguments):
            return linear(*arguments)
        if function is F.scaled_dot_product_attention and len(arguments) == 3 and may_attend(*arguments, **options):
            query, key, value = arguments
            return attend(query, key, value, options.get("scale"))
        return function(*arguments, **options)


def _suits(least: int, rows: Any, weight: Any, bias: Any = None) -> bool:
    """Whether these are plain float32 tensors on the CPU whose product is large enough, and nothing is derived."""
    if not plain_numbers(*((rows, weight) if bias is None else (rows, weight, bias))):
        return False
    if weight.dim() != 2 or rows.dim() < 2 or rows.shape[-1] != weight.shape[1] or not weight.is_contiguous():
        return False
    # A bias is read as one number an output that lies behind the other, whatever its shape and strides say.
    if bias is not None and (bias.shape != weight.shape[:1] or not bias.is_contiguous()):
        return False
    return bool(rows.numel() * weight.shape[0] >= least)


def gains_by_onednn(model: Any) -> bool:
    """Whether a model's linear layers are large and plain, and faster by oneDNN on this machine.

    Only float32, of models that are not compiled. ``AFTERLOGITS_ONEDNN=off`` in the environment leaves all layers to
    torch, ``=on`` takes oneDNN's on any processor.
    """
    asked = os.environ.get("AFTERLOGITS_ONEDNN", "")
    if asked == "off" or not (asked == "on" or _mkl_is_narrow()) or not isinstance(model, torch.nn.Module):
        return False
    if not (torch._C._has_mkldnn and torch.backends.mkldnn.enabled) or not hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    ):
        return False
    modules = list(model.modules())
    if any(type(each).__name__ == "OptimizedModule" or each._compiled_call_impl is not None for each in modules):
        return False
    layers = [each.weight for each in modules if isinstance(each, torch.nn.Linear)]
    return sum(weight.numel() for weight in layers if weight.dtype == torch.float32) >= LEAST_WEIGHTS


@cache
def _mkl_is_narrow() -> bool:
    """Whether this is a processor of AMD's with AVX-512, as Linux tells it."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch._C.has_mkl:
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
