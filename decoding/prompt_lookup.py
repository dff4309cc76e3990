"""Prompt lookup: guess that what followed the last few tokens before will follow them again.

Source: Saxena 2023, and the rule of transformers 5.23: the longest n-gram first, its leftmost earlier occurrence.
"""

import torch
from torch import Tensor

from .speculative import Draft
from .stopping import hits_token

__all__ = ["PromptLookup", "lookup"]


def lookup(
    token_ids: Tensor, lengths: Tensor, *, num_tokens: int, max_ngram_size: int = 2, starts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What followed an earlier occurrence of each row's last n-gram: token ids [B, ``num_tokens``] and how many count.

    token_ids: [B, T], of which the first ``lengths[b]`` are row b's. starts: [B] where a row's own tokens begin, for
    prompts padded on the left. The n-gram is as long as possible up to ``max_ngram_size``; of several occurrences the
    leftmost is taken. Rows without one have a count of 0. All rows are searched at once.
    >>> lookup(torch.tensor([[5, 6, 7, 8, 5, 6]]), torch.tensor([6]), num_tokens=2)
    (tensor([[7, 8]]), tensor([2]))
    """
    batch_size, width = token_ids.shape
    device = token_ids.device
    starts = torch.zeros_like(lengths) if starts is None else starts
    follows = torch.full((batch_size,), width, device=device)  # where the guess begins
    found = torch.zeros(batch_size, dtype=torch.bool, device=device)
    for size in range(min(max_ngram_size, width - 1), 0, -1):
        where = (lengths[:, None] - size + torch.arange(size, device=device)).clamp(min=0)
        ngram = token_ids.gather(1, where)
        match = torch.ones((batch_size, width - size), dtype=torch.bool, device=device)
        for offset in range(size):
            match &= token_ids[:, offset : offset + width - size] == ngram[:, offset, None]
        position = torch.arange(width - size, device=device)
        match &= (position >= starts[:, None]) & (position + size < lengths[:, None])
        match &= (lengths - starts > size)[:, None]
        hit = match.any(dim=1) & ~found
        follows = torch.where(hit, match.to(torch.uint8).argmax(dim=1) + size, follows)
        found |= hit
    counts = torch.where(found, (lengths - follows).clamp(min=0, max=num_tokens), 0)
    take = (follows[:, None] + torch.arange(num_tokens, device=device)).clamp(max=width - 1)
    return token_ids.gather(1, take), counts


class PromptLookup:
    """The drafter that looks its tokens up. It has no model and no probabilities."""

    def __init__(
        self,
        *,
        num_tokens: int = 10,
        max_ngram_size: int = 2,
        eos_token_id: Tensor | None = None,
        starts: Tensor | None = None,
    ):
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be at least 1; got {num_tokens}")
        if max_ngram_size < 1:
            raise ValueError(f"max_ngram_size must be at least 1; got {max_ngram_size}")
        self.num_tokens = num_tokens
        self.max_ngram_size = max_ngram_size
        self.eos_token_id = eos_token_id
        self.starts = starts

    def draft(self, token_ids: Tensor, lengths: Tensor, limit: int) -> Draft:
        """Guesses for every row, cut before an EOS; as wide as the longest of them. Reads one device value."""
        token_ids, counts = lookup(
            token_ids,
            lengths,
            num_tokens=min(self.num_tokens, limit),
            max_ngram_size=self.max_ngram_size,
            starts=self.starts,
        )
        if self.eos_token_id is not None:
            before_eos = (~hits_token(token_ids, self.eos_token_id)).long().cumprod(dim=1).sum(dim=1)
            counts = torch.minimum(counts, before_eos)
        width = int(counts.max())
        return Draft(token_ids[:, :width], counts)

    def select_rows(self, rows: Tensor) -> None:
        if self.starts is not None:
            self.starts = self.starts[rows]
