"""The largest logits of a row without sorting or copying the vocabulary, and the row's mass without a softmax.

Source: group maxima as bounds of what is not looked at, the idea of the threshold algorithm (Fagin, Lotem and Naor
2003); the mass is the usual log-sum-exp, in pieces that stay in cache.
"""

from functools import lru_cache

import torch
from torch import Tensor

from ..options.validation import check_count, check_logits

_SMALL = 4096  # below this many logits per row torch.topk itself is as fast
_WORKSPACE = 2**19  # floats that stay in the second-level cache of two cores


def largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest logits of each row, largest first, and their token ids: [N, M] each, M = min(count, V).

    Exactly the values of ``torch.topk``; among equals at the end, any of them. NaN counts as the largest.
    The row is seen as ``R`` lines of ``C`` logits. The largest ``count`` lie in the ``count`` columns with the largest
    maxima: one read of the row for the maxima, then work on ``count * R`` logits.
    """
    rows, vocab_size = logits.shape
    if vocab_size < _SMALL or count * 32 > vocab_size or logits.stride(1) != 1:
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


def row_mass(logits: Tensor, temperature: float | Tensor, top: Tensor) -> Tensor:
    """Sum of exp(logits / temperature - top) over each row, float64 [N, 1].

    logits: [N, V]. temperature: float or float64 [N, 1]. top: [N, 1] float32, the largest of logits / temperature.
    Relative error: ``error_bounds.MASS_ERROR``, and 2e-7 for each unit of |top|, since the division is a product here.
    Goes through the batch in pieces that stay in cache and never hold more than a sixth of the logits.
    """
    logits, top = logits.detach(), top.detach()
    rows, vocab_size = logits.shape
    piece = min(_WORKSPACE, max(rows * vocab_size // 6, 1024))
    height = min(max(piece // vocab_size, 1), max(rows, 1))
    width = min(vocab_size, piece // height)
    space = torch.empty(height * width, dtype=torch.float32, device=logits.device)
    total = torch.zeros(rows, 1, dtype=torch.float64, device=logits.device)
    if isinstance(temperature, Tensor):
        inverse = temperature.reciprocal().to(torch.float32)
    bottom = -top
    for first in range(0, rows, height):
        some = slice(first, first + height)
        for left in range(0, vocab_size, width):
            part = logits[some, left : left + width]
            scratch = space[: part.numel()].view(part.shape)
            if isinstance(temperature, Tensor):
                torch.addcmul(bottom[some], part, inverse[some], out=scratch)
            else:
                torch.add(bottom[some], part, alpha=1 / temperature, out=scratch)
            total[some] += scratch.exp_().sum(-1, keepdim=True)
    return total


def top_logprobs(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best log-probabilities of each row and their token ids, best first: [N, M] each, float32.

    The log-softmax is formed for those alone. Values agree with ``torch.log_softmax`` to 1e-6; the order is that of
    the logits. A row without a finite logit gives NaN.
    Cost: one read of the row for the candidates, one exponential per logit for the normaliser.
    count: >= 1; M = min(count, V).
    >>> top_logprobs(torch.tensor([[0.0, 1.0, 1.0]]).log(), 1)[0]
    tensor([[-0.6931]])
    """
    check_logits(logits)
    check_count("count", count)
    values, token_ids = largest(logits, count)
    values = values.to(torch.float32)
    top = values[:, :1]
    return values - top - row_mass(logits, 1.0, top).log().to(torch.float32), token_ids
