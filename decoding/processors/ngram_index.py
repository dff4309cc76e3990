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


class NgramTable:
    """The same of a few rows, by a dictionary for each row: a look-up costs less than any operation on arrays.

    token_ids: [N, T] on the CPU. Building it costs a step of Python for each token, once.
    """

    def __init__(self, token_ids: Tensor, size: int) -> None:
        self._rows: list[dict[tuple[int, ...], list[int]]] = []
        for ids in token_ids.tolist():
            followed: dict[tuple[int, ...], list[int]] = {}
            for *context, last in zip(*(ids[offset:] for offset in range(size)), strict=False):
                followed.setdefault(tuple(context), []).append(last)
            self._rows.append(followed)

    def continuations(self, context: list[int], row: int) -> list[int]:
        """Tokens that followed ``context`` in a row; one may be there more than once."""
        return self._rows[row].get(tuple(context), [])


_NOTHING = torch.empty(0, dtype=torch.int64)


def _mix(hashed: _Ids, token_ids: NDArray[np.integer]) -> _Ids:
    """One more token into a hash whose high bits are the good ones; int64 products wrap around."""
    mixed: _Ids = (hashed ^ (hashed >> 29)) * _MIX + (token_ids.astype(np.int64) + 1) * _MIX
    return mixed
