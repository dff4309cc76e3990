"""Attention over many keys by oneDNN's products, a block of queries at a time, in a thread that computes alone.

torch's own attention multiplies by MKL, as its linear layers do (onednn_products.py). Scores of some queries stay in
cache between the two products and the softmax. Shared out to several threads the products would wait for each other
three times a block, which costs more than they gain: pictures in company have a thread each (side_by_side.py).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

LEAST_KEYS = 256  # and queries: torch's own attention over fewer is as fast,
LEAST_WIDTH = 32  # and that of narrower heads,
LEAST_HEAD = 1 << 22  # and of heads whose queries * keys * width are fewer
MOST_QUERIES = 1024  # of a block, and as many as keep its scores at 2 MB
MOST_SCORES = 1 << 19
OPTIONS = {"attn_mask", "dropout_p", "is_causal", "enable_gqa", "scale"}


def may_attend(query: Any, key: Any, value: Any, **options: Any) -> bool:
    """Whether it is plain attention over enough keys: no mask, no dropout, as many heads of keys as of queries."""
    if torch.get_num_threads() != 1 or options.get("attn_mask") is not None or options.keys() - OPTIONS:
        return False
    if any(options.get(name) for name in ("dropout_p", "is_causal", "enable_gqa")):
        return False
    if not plain_numbers(query, key, value) or any(each.dim() != 4 for each in (query, key, value)):
        return False
    if key.shape != value.shape or query.shape[:2] != key.shape[:2] or query.shape[3] != key.shape[3]:
        return False
    (length, width), keys = query.shape[2:], key.shape[2]
    enough = min(length, keys) >= LEAST_KEYS and width >= LEAST_WIDTH and length * keys * width >= LEAST_HEAD
    return bool(enough)


def plain_numbers(*tensors: Any) -> bool:
    """Whether these are plain float32 tensors on the CPU, and nothing is derived."""
    for each in tensors:
        if type(each) not in (Tensor, Parameter) or each.dtype != torch.float32 or each.device.type != "cpu":
            return False
        if each.layout is not torch.strided or each.is_nested:
            return False
    # no_grad leaves forward derivatives on, and the product would have no tangent
    return bool(forward_ad._current_level < 0)


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """``scaled_dot_product_attention`` of [B, H, T, D] where ``may_attend``."""
    batch, heads, length, width = query.shape
    found = query.new_empty(batch, length, heads, width).transpose(1, 2)
    factor = width**-0.5 if scale is None else scale
    for picture in range(batch):
        for head in range(heads):
            _attend_head(query[picture, head], key[picture, head], value[picture, head], factor, found[picture, head])
    return found


def _attend_head(query: Tensor, key: Tensor, value: Tensor, factor: float, found: Tensor) -> None:
    """Attention of one head, [T, D] each, into ``found``."""
    keys, values = key * factor, value.t().contiguous()
    size = max(1, min(MOST_QUERIES, MOST_SCORES // len(keys)))
    for first in range(0, len(query), size):
        rows = slice(first, first + size)
        scores = linear(query[rows], keys)
        torch.softmax(scores, dim=-1, out=scores)
        found[rows] = linear(scores, values)


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows @ weight.T + bias`` by oneDNN."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found
