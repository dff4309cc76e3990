"""The best continuations of a step's beams, without a sorted or even a stored log-softmax of the vocabulary.

The library's arithmetic per item of the batch is: log-softmax of each beam's logits in float32, plus the beam's score,
flattened to [K * V], the best C of it. Here each row gives its best C + 1 and the item's best C are taken among those.
Where the C-th and the next value are apart and no two of the C are equal, that is the only possible answer; an item
with a tie goes through the library's own operations, because ties there are broken by the internals of ``topk``.
"""

import torch
from torch import Tensor

from .candidates import largest

__all__ = ["Candidates", "top_candidates"]

# scores, parent beam and token of each candidate, all [B, C]
Candidates = tuple[Tensor, Tensor, Tensor]
_CHUNK = 2  # rows of a large vocabulary whose log-softmax stays in the processor's cache, one per core measured best


def top_candidates(logits: Tensor, scores: Tensor, count: int, *, normalized: bool = True) -> Candidates:
    """The ``count`` best continuations of each item, best first.

    logits: [B * K, V]; log-probabilities, or raw logits with ``normalized=False``. scores: [B, K] of the beams.
    Ties: as torch.topk over the flattened [K * V] breaks them.
    """
    batch_size, num_beams = scores.shape
    vocab_size = logits.shape[-1]
    per_row = min(count + 1, vocab_size)
    values, token_ids = _row_tops(logits, per_row, normalized)
    merged = (values.view(batch_size, num_beams, per_row) + scores[:, :, None]).flatten(1)
    if merged.shape[1] <= count:
        return _by_the_book(logits, scores, count, normalized)
    best, where = merged.topk(count + 1)
    tied = (best[:, 1:] == best[:, :-1]).any(dim=1) | best[:, 0].isnan()
    parent = where[:, :count] // per_row
    token = token_ids.view(batch_size, -1).gather(1, where[:, :count])
    best = best[:, :count].contiguous()
    if bool(tied.any()):
        again = tied.nonzero().squeeze(1)
        rows = logits.view(batch_size, num_beams, vocab_size)[again].flatten(0, 1)
        best[again], parent[again], token[again] = _by_the_book(rows, scores[again], count, normalized)
    return best, parent, token


def _by_the_book(logits: Tensor, scores: Tensor, count: int, normalized: bool) -> Candidates:
    batch_size, num_beams = scores.shape
    vocab_size = logits.shape[-1]
    log_probs = logits if normalized else torch.log_softmax(logits, dim=-1)
    accumulated = (log_probs.view(batch_size, num_beams, vocab_size) + scores[:, :, None]).flatten(1)
    best, where = accumulated.topk(count)
    return best, where // vocab_size, where % vocab_size


def _row_tops(logits: Tensor, count: int, normalized: bool) -> tuple[Tensor, Tensor]:
    """The best ``count`` log-probabilities of each row and their tokens, [N, count] each."""
    if normalized:
        return largest(logits, count)
    height = min(_CHUNK, max(logits.shape[0], 1))
    space = torch.empty(height, logits.shape[1], dtype=logits.dtype, device=logits.device)
    chunks = (logits[first : first + height] for first in range(0, max(logits.shape[0], 1), height))
    tops = [largest(torch.log_softmax(chunk, dim=-1, out=space[: chunk.shape[0]]), count) for chunk in chunks]
    return torch.cat([top[0] for top in tops]), torch.cat([top[1] for top in tops])
