"""Matrix products of a forward pass by oneDNN, on processors whose width MKL leaves half unused.

torch multiplies matrices on the CPU with MKL, which takes no AVX-512 instructions on AMD's processors. oneDNN, which
torch holds as well, does: on a Zen 5 core 205 to 240 GFLOP/s against 100, and 1.84 times the speed of a ViT-base;
attention over 1,445 patches takes 1.35 times less (one thread). The outputs differ in their last bits, as they do
between batches of different shapes: only rows that come with others are computed so, and a row alone stays
transformers' own to the last bit.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

# Rows * inputs * outputs from which a product gains; below, the weights are laid out anew for too few rows.
LEAST_PRODUCT = 1 << 21
# Tokens of a batch of texts from which its products are large: a layer of 384 x 384 gains from 16 rows on, a little.
LEAST_TOKENS = 32
# Numbers in a model's linear layers: with fewer a pass is so short that looking at each of its calls counts.
LEAST_WEIGHTS = 1 << 20
LEAST_KEYS = 256  # and queries: torch's own attention over fewer is as fast
QUERIES_AT_ONCE = 192


class OneDnnProducts(TorchFunctionMode):
    """Within it ``linear`` and ``scaled_dot_product_attention`` of float32 on the CPU run by oneDNN.

    least: rows * inputs * outputs of a product from which it does; of attention, queries * keys * width of a head.
    """

    def __init__(self, least: int = LEAST_PRODUCT) -> None:
        super().__init__()
        self._least = least

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Sequence[Any] = (), options: Any = None
    ) -> Any:
        if function is F.linear and not options and _suits(self._least, *arguments):
            rows, weight, *bias = arguments
            return _product(rows, weight, bias[0] if bias else None)
        if (
            function is F.scaled_dot_product_attention
            and len(arguments) == 3
            and _attends(self._least, *arguments, **(options or {}))
        ):
            query, key, value = arguments
            return _attention(query, key, value, (options or {}).get("scale"))
        return function(*arguments, **(options or {}))


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows @ weight.T + bias``."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


def _suits(least: int, rows: Any, weight: Any, bias: Any = None) -> bool:
    """Whether these are plain float32 tensors on the CPU whose product is large enough, and no gradient is wanted."""
    for each in (rows, weight) if bias is None else (rows, weight, bias):
        if type(each) not in (Tensor, Parameter) or each.dtype != torch.float32 or each.device.type != "cpu":
            return False
    if torch.is_grad_enabled() or weight.dim() != 2 or rows.dim() < 2 or rows.shape[-1] != weight.shape[1]:
        return False
    return bool(weight.is_contiguous() and rows.numel() * weight.shape[0] >= least)


def _attends(least: int, query: Any, key: Any, value: Any, **options: Any) -> bool:
    """Whether it is plain attention over enough keys: no mask, no dropout, as many heads of keys as of queries.

    With one thread alone: threads would wait for each other at every block, which costs most where others work.
    """
    if torch.get_num_threads() > 1:
        return False
    if any(options.get(name) for name in ("dropout_p", "is_causal", "enable_gqa")):
        return False
    if options.get("attn_mask") is not None or options.keys() - _ATTENTION_OPTIONS or torch.is_grad_enabled():
        return False
    for each in (query, key, value):
        if type(each) is not Tensor or each.dtype != torch.float32 or each.device.type != "cpu" or each.dim() != 4:
            return False
    if key.shape != value.shape or query.shape[:2] != key.shape[:2] or query.shape[3] != key.shape[3]:
        return False
    return bool(min(query.shape[2], key.shape[2]) >= LEAST_KEYS and query[0, 0].numel() * key.shape[2] >= least)


_ATTENTION_OPTIONS = {"attn_mask", "dropout_p", "is_causal", "enable_gqa", "scale"}


def _attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Attention [B, H, T, D] head by head, some queries at a time, so that their scores stay in cache."""
    batch, heads, length, width = query.shape
    found = query.new_empty(batch, length, heads, width).transpose(1, 2)
    factor = width**-0.5 if scale is None else scale
    for image, head in product(range(batch), range(heads)):
        keys, values = key[image, head] * factor, value[image, head].t().contiguous()
        for first in range(0, length, QUERIES_AT_ONCE):
            scores = _product(query[image, head, first : first + QUERIES_AT_ONCE], keys)
            torch.softmax(scores, dim=-1, out=scores)
            found[image, head, first : first + QUERIES_AT_ONCE] = _product(scores, values)
    return found


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
