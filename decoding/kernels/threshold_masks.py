"""Filters that keep what exceeds one value of the row: the value proven from bounds, the masked copy in one pass.

Min-p, epsilon and top-p drop all logits below some value. Rounding decides which value only within narrow bounds: where
no logit of a row lies between them, the mask is known without forming a probability. Other rows, other types than
float32 and other devices go through transformers' own arithmetic.

Source: min-p as a threshold in the space of logits is that of llama.cpp, vLLM and mlx-lm; the proof by bounds is ours.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..options.numpy_or_torch import Array
from .error_bounds import EXP_ERROR, UNIT

_SMALL = 4096  # below this many logits per row transformers' arithmetic is as fast
_LEAST_MIN_P = 1e-20  # below, weights come near to what float32 cannot hold
_TINIEST = 1e-37  # float32 numbers closer to zero may be flushed to it


def is_cuttable(logits: Tensor) -> bool:
    """Whether the filters take the short way: large rows of float32 on the CPU that no gradient flows through."""
    plain = logits.dtype == torch.float32 and logits.device.type == "cpu" and logits.stride(1) == 1
    return plain and logits.shape[1] >= _SMALL and not (logits.requires_grad and torch.is_grad_enabled())


def keep_above(logits: Tensor, low: Array, high: Array, otherwise: Callable[[Tensor, list[int]], Tensor]) -> Tensor:
    """Logits [B, V] with -inf for what is certainly dropped, a masked copy.

    low, high: [B, 1] float64. A logit up to ``low`` is certainly dropped, one above ``high`` certainly kept; where one
    of them is not finite the row is not decided here. otherwise(logits, rows): the same for such rows, and for those
    with a logit in between, [n, V] -> [n, V].
    Cost: four passes over a row in cache.
    """
    low = np.nextafter(low.astype(np.float32), np.float32(-np.inf))
    high = np.nextafter(high.astype(np.float32), np.float32(np.inf))
    good = (np.isfinite(low) & np.isfinite(high) & (np.abs(low) >= _TINIEST))[:, 0]
    source, kept, space = logits.detach(), torch.empty_like(logits), torch.empty(logits.shape[1], device="cpu")
    left = []
    for row, (is_good, floor, ceiling) in enumerate(
        zip(good.tolist(), low[:, 0].tolist(), high[:, 0].tolist(), strict=True)
    ):
        if is_good:
            _above(source[row], floor, math.inf, space)
            if space.amin().item() > ceiling:  # the smallest that is kept
                _above(source[row], floor, -math.inf, kept[row])
                continue
        left.append(row)
    if left:
        kept[left] = otherwise(source[left], left)
    return kept


def min_p_bounds(logits: Tensor, min_p: float | Tensor) -> tuple[Array, Array]:
    """Between which logits min-p cuts each row of ``logits`` [B, V], [B, 1] each: within the rounding of two weights.

    NaN where it does not cut, or where more than rounding decides.
    """
    top = logits.detach().amax(1, keepdim=True).to(torch.float64).numpy()
    share = np.asarray(min_p if isinstance(min_p, float) else min_p.numpy(), dtype=np.float64)
    share = np.where((share > _LEAST_MIN_P) & (share < 0.99), share, np.nan)
    gap = np.log(share)
    error = EXP_ERROR - 2 * UNIT * gap  # of the two weights, and of the differences that they are powers of
    return top + gap - error, top + gap + error


def keep_from(logits: Tensor, least: Sequence[float]) -> tuple[Tensor, list[int]]:
    """Logits [B, V] with -inf for everything below ``least``, float32 numbers; and the rows left undone."""
    floor = np.nextafter(np.array(least, dtype=np.float32), np.float32(-np.inf))
    source, kept, left = logits.detach(), torch.empty_like(logits), []
    for row, value in enumerate(floor.tolist()):
        if abs(value) < _TINIEST:
            left.append(row)
        else:
            _above(source[row], value, -math.inf, kept[row])
    return kept, left


def _above(row: Tensor, floor: float, filler: float, out: Tensor) -> None:
    torch.ops.aten.threshold.out(row, floor, filler, out=out)
