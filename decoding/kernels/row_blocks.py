"""A batch in pieces of rows that stay in cache, for operations of many passes."""

from collections.abc import Callable

import torch
from torch import Tensor

from .threshold_masks import is_cuttable

_PIECE = 2**19  # logits of two rows or three that stay in the second-level cache of two cores


def by_pieces(logits: Tensor, operate: Callable[[slice], Tensor]) -> Tensor:
    """What ``operate`` gives for the rows of ``logits`` [B, V], piece by piece: [B, V].

    operate(some): the result for the rows of a slice, [n, V], the same as for a batch of them alone. Large rows of
    float32 on the CPU go in pieces, everything else at once. A batch of several rows has no piece of one: torch splits
    the sum of a lone row between threads, and rounds it differently.
    """
    rows, vocab_size = logits.shape
    if not is_cuttable(logits) or rows < 4:
        return operate(slice(None))
    result, count = torch.empty_like(logits), max(rows // max(_PIECE // vocab_size, 2), 1)
    for piece in range(count):
        some = slice(rows * piece // count, rows * (piece + 1) // count)
        result[some] = operate(some)
    return result
