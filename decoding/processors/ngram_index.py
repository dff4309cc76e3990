"""An index of the n-grams of a batch: which tokens have followed a given context, without reading the history."""

from __future__ import annotations

import torch
from torch import Tensor

_MIX = -7046029254386353131  # 2**64 / golden ratio as int64, odd


class NgramIndex:
    """For every row of ``token_ids`` [N, T], the tokens that followed each context of ``size - 1`` tokens.

    One sorted array of int64 holds row, hash of the context and following token, in that order, each n-gram once. A
    look-up is two binary searches per row; what it finds is compared token by token, so a hash that two contexts share
    costs time, never a wrong answer. The index does not change: rows are chosen at look-up, so that beams re-parent
    without copying it. rows_on: [N] bool, the rows to index.
    """

    def __init__(self, token_ids: Tensor, size: int, rows_on: Tensor | None = None) -> None:
        self.size = size
        self._ids = token_ids.contiguous()
        rows, length = token_ids.shape
        row_bits = max(rows - 1, 0).bit_length()
        self._token_bits = int(token_ids.max()).bit_length() if token_ids.numel() else 0
        self._hash_bits = 63 - row_bits - self._token_bits
        windows = max(length - size + 1, 0)
        owner = torch.arange(rows, device=token_ids.device)
        hashed = torch.zeros((rows, windows), dtype=torch.int64, device=token_ids.device)
        for offset in range(size - 1):
            hashed = _mix(hashed, token_ids[:, offset : offset + windows])
        keys = (self._prefix(hashed, owner[:, None]) << self._token_bits) | token_ids[:, size - 1 :].long()
        # The flat position of each n-gram's last token.
        places = owner[:, None] * length + torch.arange(size - 1, size - 1 + windows, device=token_ids.device)
        if rows_on is not None:
            keys, places = keys[rows_on], places[rows_on]
        # Sorting row by row sorts the whole array: the row is in the highest bits.
        keys, order = keys.sort(dim=1)
        places = places.gather(1, order).reshape(-1)
        self._keys, self._places = self._without_repeats(keys.reshape(-1), places)

    def continuations(self, context: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens that followed ``context`` [M, size - 1] in row ``rows[i]`` [M]: pairs (i, token), each [F]."""
        hashed = torch.zeros(context.shape[0], dtype=torch.int64, device=context.device)
        for column in context.unbind(dim=1):
            hashed = _mix(hashed, column)
        prefix = self._prefix(hashed, rows)
        first = torch.searchsorted(self._keys, prefix << self._token_bits)
        # The last key with this prefix, rather than the next prefix, which may not fit.
        last = torch.searchsorted(self._keys, (prefix << self._token_bits) | ((1 << self._token_bits) - 1), right=True)
        count = last - first
        query = torch.repeat_interleave(count)
        before = count.cumsum(0) - count
        places = self._places[first[query] + torch.arange(len(query), device=query.device) - before[query]]
        ids = self._ids.view(-1)
        same = torch.ones_like(query, dtype=torch.bool)
        for back in range(1, self.size):
            same &= ids[places - back] == context[query, self.size - 1 - back]
        return query[same], ids[places[same]].long()

    def _prefix(self, hashed: Tensor, rows: Tensor) -> Tensor:
        high = (hashed >> (64 - self._hash_bits)) & ((1 << self._hash_bits) - 1)
        return (rows << self._hash_bits) | high

    def _without_repeats(self, keys: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Drop n-grams equal to the one before them; equal keys alone do not make n-grams equal."""
        repeat = keys[1:] == keys[:-1]
        ids = self._ids.view(-1)
        for back in range(1, self.size):
            repeat &= ids[places[1:] - back] == ids[places[:-1] - back]
        keep = torch.ones_like(keys, dtype=torch.bool)
        keep[1:] = ~repeat
        return keys[keep], places[keep]


def _mix(hashed: Tensor, token_ids: Tensor) -> Tensor:
    """One more token into a hash whose high bits are the good ones; int64 products wrap around."""
    return (hashed ^ (hashed >> 29)) * _MIX + (token_ids + 1) * _MIX
