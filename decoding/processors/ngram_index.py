"""An index of the n-grams of a batch: which tokens have followed a given context, without reading the history."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MIX = -7046029254386353131  # 2**64 / golden ratio as int64, odd

_Ids = NDArray[np.int64]


class NgramIndex:
    """For every row of ``token_ids`` [N, T] on the CPU, the tokens that followed each context of ``size - 1`` tokens.

    One sorted array of int64 holds row, hash of the context and following token, in that order, each n-gram once. A
    look-up is two binary searches per row; what it finds is compared token by token, so a hash that two contexts share
    costs time, never a wrong answer. The index does not change: rows are chosen at look-up, so that beams re-parent
    without copying it. rows_on: [N] bool, the rows to index.
    The work is numpy's: on the few numbers of a look-up an operation of torch costs five times as much to call.
    """

    def __init__(self, token_ids: Tensor, size: int, rows_on: Tensor | None = None) -> None:
        self.size = size
        ids = np.ascontiguousarray(token_ids.numpy(), dtype=np.int64)
        self._ids = ids.reshape(-1)
        rows, length = ids.shape
        row_bits = max(rows - 1, 0).bit_length()
        self._token_bits = int(ids.max()).bit_length() if ids.size else 0
        self._hash_bits = 63 - row_bits - self._token_bits
        windows = max(length - size + 1, 0)
        owner = np.arange(rows)
        hashed = np.zeros((rows, windows), dtype=np.int64)
        for offset in range(size - 1):
            hashed = _mix(hashed, ids[:, offset : offset + windows])
        keys = (self._prefix(hashed, owner[:, None]) << self._token_bits) | ids[:, size - 1 :]
        # The flat position of each n-gram's last token.
        places = owner[:, None] * length + np.arange(size - 1, size - 1 + windows)
        if rows_on is not None:
            keys, places = keys[rows_on.numpy()], places[rows_on.numpy()]
        # Sorting row by row sorts the whole array: the row is in the highest bits.
        order = keys.argsort(1)
        keys, places = np.take_along_axis(keys, order, 1), np.take_along_axis(places, order, 1)
        self._keys, self._places = self._without_repeats(keys.reshape(-1), places.reshape(-1))

    def continuations(self, context: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens that followed ``context`` [M, size - 1] in row ``rows[i]`` [M]: pairs (i, token), each [F]."""
        asked = context.numpy()
        hashed = np.zeros(len(asked), dtype=np.int64)
        for column in asked.T:
            hashed = _mix(hashed, column)
        # All n-grams of one row and context are neighbours in the sorted keys, by their last token.
        least = self._prefix(hashed, rows.numpy()) << self._token_bits
        first = self._keys.searchsorted(least)
        # The last key with this prefix, rather than the next prefix, which may not fit.
        count = self._keys.searchsorted(least | ((1 << self._token_bits) - 1), "right") - first
        if not count.any():
            return _NOTHING, _NOTHING
        query = np.arange(len(count)).repeat(count)
        before = count.cumsum() - count
        places = self._places[first[query] + np.arange(len(query)) - before[query]]
        same = np.ones(len(query), dtype=bool)
        for back in range(1, self.size):
            same &= self._ids[places - back] == asked[query, self.size - 1 - back]
        return torch.from_numpy(query[same]), torch.from_numpy(self._ids[places[same]])

    def _prefix(self, hashed: _Ids, rows: _Ids) -> _Ids:
        high = (hashed >> (64 - self._hash_bits)) & ((1 << self._hash_bits) - 1)
        prefix: _Ids = (rows << self._hash_bits) | high
        return prefix

    def _without_repeats(self, keys: _Ids, places: _Ids) -> tuple[_Ids, _Ids]:
        """Drop n-grams equal to the one before them; equal keys alone do not make n-grams equal."""
        repeat = keys[1:] == keys[:-1]
        for back in range(1, self.size):
            repeat &= self._ids[places[1:] - back] == self._ids[places[:-1] - back]
        keep = np.ones(len(keys), dtype=bool)
        keep[1:] = ~repeat
        return keys[keep], places[keep]


class NgramRows:
    """The same of a few rows that move on token by token, in Python: a dictionary and the last tokens of each row.

    source_ids: [N, T] on the CPU, the texts whose n-grams are looked up. owners, sizes: of each row that decodes, which
    text is its own and how long its n-grams are, 0 for none. recent: [M, R], the last tokens of these rows.
    Building it costs a step of Python for each token, once; a look-up costs less than any operation on arrays.
    """

    def __init__(self, source_ids: Tensor, owners: list[int], sizes: list[int], recent: Tensor) -> None:
        texts = source_ids.tolist()
        tables = {key: _followers(texts[key[0]], key[1]) for key in {*zip(owners, sizes, strict=True)}}
        self._tables = [tables[key] for key in zip(owners, sizes, strict=True)]
        self._lengths = [max(size - 1, 0) for size in sizes]
        self._contexts = [
            tuple(ids[max(len(ids) - length, 0) :]) for ids, length in zip(recent.tolist(), self._lengths, strict=True)
        ]

    def continuations(self, vocab_size: int) -> tuple[list[int], list[int]]:
        """Tokens below ``vocab_size`` that followed the rows' last tokens: pairs (row, token), repeats included."""
        rows, tokens = [], []
        for row, (table, context) in enumerate(zip(self._tables, self._contexts, strict=True)):
            for token in table.get(context, ()):
                if token < vocab_size:
                    rows.append(row)
                    tokens.append(token)
        return rows, tokens

    def advance(self, token_ids: list[int]) -> None:
        """One more token of each row. A context that is still too short is no key of its table."""
        moved = zip(self._contexts, token_ids, self._lengths, strict=True)
        self._contexts = [(*old, last)[len(old) == length :] for old, last, length in moved]

    def select(self, rows: list[int]) -> None:
        """Go on with these rows; one may be there more than once."""
        self._tables = [self._tables[row] for row in rows]
        self._lengths = [self._lengths[row] for row in rows]
        self._contexts = [self._contexts[row] for row in rows]


def _followers(token_ids: list[int], size: int) -> dict[tuple[int, ...], list[int]]:
    """What followed each context of ``size - 1`` tokens of a text; nothing for size 0, which is off."""
    followed: dict[tuple[int, ...], list[int]] = {}
    for *context, last in zip(*(token_ids[offset:] for offset in range(size)), strict=False):
        followed.setdefault(tuple(context), []).append(last)
    return followed


_NOTHING = torch.empty(0, dtype=torch.int64, device="cpu")


def _mix(hashed: _Ids, token_ids: NDArray[np.integer]) -> _Ids:
    """One more token into a hash whose high bits are the good ones; int64 products wrap around."""
    mixed: _Ids = (hashed ^ (hashed >> 29)) * _MIX + (token_ids.astype(np.int64) + 1) * _MIX
    return mixed
