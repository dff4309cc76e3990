"""The largest logits of a row without sorting or copying the vocabulary.

Source: group maxima as bounds of what is not looked at, the idea of the threshold algorithm (Fagin, Lotem and Naor
2003).
"""

from functools import lru_cache

import torch
from torch import Tensor

_SMALL = 4096  # below this many logits per row torch.topk itself is as fast


def largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest logits of each row, largest first, and their token ids: [N, M] each, M = min(count, V).

    Exactly the values of ``torch.topk``; among equals at the end, any of them. NaN counts as the largest.
    The row is seen as ``R`` lines of ``C`` logits. The largest ``count`` lie in the ``count`` columns with the largest
    maxima: one read of the row for the maxima, then work on ``count * R`` logits. On a device it is ``torch.topk``.
    """
    rows, vocab_size = logits.shape
    if vocab_size < _SMALL or count * 32 > vocab_size or logits.stride(1) != 1 or logits.device.type != "cpu":
        values, token_ids = logits.topk(min(count, vocab_size))
        return values, token_ids
    # About sqrt(V / count) balances the two; powers of two measured best between.
    lines = 16 if count > 512 else 32 if count > 96 else 64
    columns = vocab_size // lines
    folded = logits.as_strided((rows, lines, columns), (logits.stride(0), columns, 1), logits.storage_offset())
    chosen = folded.amax(1).topk(min(count, columns), sorted=False).indices
    pool = (chosen[:, None, :] + _line_starts(lines, columns, logits.device)).flatten(1)
    if lines * columns < vocab_size:
        rest = torch.arange(lines * columns, vocab_size, device=logits.device)
        pool = torch.cat([pool, rest.expand(rows, -1)], 1)
    values, place = logits.gather(1, pool).topk(count)
    return values, pool.gather(1, place)


@lru_cache(maxsize=64)
def _line_starts(lines: int, columns: int, device: torch.device) -> Tensor:
    return (torch.arange(lines, device=device) * columns)[:, None]
