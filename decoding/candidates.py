"""The largest logits of a row without sorting or copying the vocabulary, and the row's mass without a softmax."""

import torch
from torch import Tensor

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
    inside = folded.gather(2, chosen[:, None, :].expand(rows, lines, chosen.shape[1])).flatten(1)
    rest = logits[:, lines * columns :]
    pool = torch.cat([inside, rest], 1) if rest.shape[1] else inside
    values, place = pool.topk(count)
    width = chosen.shape[1]
    line = place.div(width, rounding_mode="floor")
    token_ids = chosen.gather(1, place - line * width) + line * columns
    if rest.shape[1]:
        behind = place - inside.shape[1]
        token_ids = torch.where(behind >= 0, behind + lines * columns, token_ids)
    return values, token_ids


def row_mass(logits: Tensor, temperature: float | Tensor, top: Tensor) -> Tensor:
    """Sum of exp(logits / temperature - top) over each row, float64 [N, 1], to about 2e-6 relative.

    logits: [N, V]. temperature: float or float64 [N, 1]. top: [N, 1] float32, the largest of logits / temperature. The
    division and the subtraction round as float32, as in the library's softmax. Works through the batch in pieces that
    stay in cache and never hold more than an eighth of the logits.
    """
    rows, vocab_size = logits.shape
    piece = min(_WORKSPACE, max(rows * vocab_size // 8, 1024))
    height = min(max(piece // vocab_size, 1), max(rows, 1))
    width = min(vocab_size, piece // height)
    space = torch.empty(height * width, dtype=torch.float32, device=logits.device)
    total = torch.zeros(rows, 1, dtype=torch.float64, device=logits.device)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(torch.float32)
        if logits.is_cuda:
            return _plain_mass(logits, temperature, top)
    for first in range(0, rows, height):
        some = slice(first, first + height)
        divisor = temperature[some] if isinstance(temperature, Tensor) else temperature
        for left in range(0, vocab_size, width):
            part = logits[some, left : left + width]
            scratch = space[: part.numel()].view(part.shape)
            if isinstance(divisor, Tensor) or divisor != 1.0:
                torch.div(part, divisor, out=scratch) if part.dtype == torch.float32 else scratch.copy_(part).div_(
                    divisor
                )
                scratch.sub_(top[some])
            elif part.dtype == torch.float32:
                torch.sub(part, top[some], out=scratch)
            else:
                scratch.copy_(part).sub_(top[some])
            total[some] += scratch.exp_().sum(-1, keepdim=True)
    return total


def _plain_mass(logits: Tensor, temperature: Tensor, top: Tensor) -> Tensor:
    scaled = logits.to(torch.float32) * temperature.reciprocal()
    return (scaled - top).exp_().sum(-1, keepdim=True, dtype=torch.float64)


def top_logprobs(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best log-probabilities of each row and their token ids, best first: [N, M] each, float32.

    The log-softmax is formed for those alone. Values agree with ``torch.log_softmax`` to 1e-6; the order is that of
    the logits. A row without a finite logit gives NaN.
    >>> top_logprobs(torch.tensor([[0.0, 1.0, 1.0]]).log(), 1)[0]
    tensor([[-0.6931]])
    """
    values, token_ids = largest(logits, count)
    values = values.to(torch.float32)
    top = values[:, :1]
    return values - top - row_mass(logits, 1.0, top).log().to(torch.float32), token_ids
