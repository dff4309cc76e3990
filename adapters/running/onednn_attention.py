"""Attention over many keys by oneDNN's products, a block of queries at a time, each thread with blocks of its own.

torch's own attention multiplies by MKL, as its linear layers do (onednn_products.py). Scores of some queries stay in
cache between the two products and the softmax. Products shared out to threads would wait for each other three times a
block, which costs most where others work on the machine; so a thread computes whole heads, or runs of queries of a
head, alone: it tells OpenMP that it is one of one, and that is looked at before it is relied on.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

LEAST_KEYS = 256  # and queries: torch's own attention over fewer is as fast,
LEAST_WIDTH = 32  # and that of narrower heads,
LEAST_HEAD = 1 << 22  # and of heads whose queries * keys * width are fewer
LEAST_SHARED = 1 << 27  # heads * queries * keys * width from which several threads gain by more than they are told
MOST_QUERIES = 384  # of a block, and as many as keep its scores at 2 MB
MOST_SCORES = 1 << 19
OPTIONS = {"attn_mask", "dropout_p", "is_causal", "enable_gqa", "scale"}


def may_attend(query: Any, key: Any, value: Any, **options: Any) -> bool:
    """Whether it is plain attention over enough keys: no mask, no dropout, as many heads of keys as of queries."""
    if any(options.get(name) for name in ("dropout_p", "is_causal", "enable_gqa")):
        return False
    if options.get("attn_mask") is not None or options.keys() - OPTIONS:
        return False
    for each in (query, key, value):
        if type(each) is not Tensor or each.dtype != torch.float32 or each.device.type != "cpu" or each.dim() != 4:
            return False
    if key.shape != value.shape or query.shape[:2] != key.shape[:2] or query.shape[3] != key.shape[3]:
        return False
    (length, width), keys = query.shape[2:], key.shape[2]
    if min(length, keys) < LEAST_KEYS or width < LEAST_WIDTH or length * keys * width < LEAST_HEAD:
        return False
    return torch.get_num_threads() == 1 or (query.numel() * keys >= LEAST_SHARED and threads_stay_alone())


def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, threads: ThreadPoolExecutor | None
) -> Tensor:
    """``scaled_dot_product_attention`` of [B, H, T, D] where ``may_attend``. threads: of ``alone_threads``, or None."""
    batch, heads, length, width = query.shape
    found = query.new_empty(batch, length, heads, width).transpose(1, 2)
    factor = width**-0.5 if scale is None else scale
    count = 1 if threads is None else torch.get_num_threads()
    run = length if batch * heads % count == 0 else -(-length // count)
    shares = product(range(batch), range(heads), range(0, length, run))

    def share(image: int, head: int, first: int) -> None:
        rows = slice(first, first + run)
        _attend_head(query[image, head, rows], key[image, head], value[image, head], factor, found[image, head, rows])

    if threads is None:
        for each in shares:
            share(*each)
    else:
        for done in [threads.submit(_in_mode(share), *each) for each in shares]:
            done.result()
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


def _in_mode(work: Callable[..., None]) -> Callable[..., None]:
    """``work`` in a thread as it would run here: each thread has modes of its own."""
    mode: Callable[[], AbstractContextManager[Any]]
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad

    def run(*arguments: int) -> None:
        with mode():
            work(*arguments)

    return run


def alone_threads() -> ThreadPoolExecutor:
    """As many threads as torch has, each of which computes alone."""
    return ThreadPoolExecutor(torch.get_num_threads(), "afterlogits-attend", initializer=_stay_alone)


def _stay_alone() -> None:
    torch.get_num_threads()  # a thread takes torch's number at its first question, and would overwrite ours
    _set_threads()(1)


@cache
def _set_threads() -> Callable[[int], Any]:
    """OpenMP's ``omp_set_num_threads``, which counts for the thread that calls it; AttributeError without OpenMP."""
    found: Callable[[int], Any] = ctypes.CDLL(None).omp_set_num_threads
    return found


@cache
def threads_stay_alone() -> bool:
    """Whether a thread can be told to compute alone here, and torch's other threads keep their number."""
    before = torch.get_num_threads()
    try:
        with alone_threads() as threads:
            inside = threads.submit(torch.get_num_threads).result()
    except (AttributeError, OSError, RuntimeError, TypeError):
        return False
    return inside == 1 and torch.get_num_threads() == before
