"""Token ids as inputs: histories [B, T], and lists of tokens to write to, one for the batch or one per row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .numpy_or_torch import sent

TokenList: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]] | Tensor


def check_token_ids(token_ids: Tensor, batch_size: int | None = None, name: str = "token_ids") -> None:
    """Raise unless `token_ids` is an integer tensor [B, T]. Negative ids are looked for on the CPU only."""
    if not isinstance(token_ids, Tensor):
        raise TypeError(f"{name} must be a tensor; got {type(token_ids).__name__}")
    if token_ids.dim() != 2 or token_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"{name} must be an int64 or int32 tensor of shape [B, T]; got {token_ids.dtype} {list(token_ids.shape)}"
        )
    if batch_size is not None and token_ids.shape[0] != batch_size:
        raise ValueError(f"{name} must have one row per row of logits, {batch_size}; got {token_ids.shape[0]}")
    if token_ids.device.type == "cpu" and token_ids.numel() and int(token_ids.min()) < 0:
        row, column = (token_ids < 0).nonzero()[0].tolist()
        raise ValueError(f"{name} must be >= 0; got {int(token_ids[row, column])} in row {row}")


@dataclass(frozen=True)
class TokenSet:
    """Token ids to write to: the same for every row (`rows` is None), or pairs (rows[i], columns[i])."""

    columns: Tensor  # [D] int64, each inside the vocabulary
    rows: Tensor | None = None  # [D] int64

    def fill_(self, logits: Tensor, value: float, where: Tensor | None = None) -> Tensor:
        """Set the tokens to `value` in place, in the rows that `where` ([B] bool) holds, or in all."""
        if self.rows is None:
            if where is None:
                return logits.index_fill_(1, self.columns, value)
            kept = logits.index_select(1, self.columns)
            return logits.index_copy_(1, self.columns, kept.masked_fill_(where[:, None], value))
        kept = logits[self.rows, self.columns]
        chosen = torch.ones_like(kept, dtype=torch.bool) if where is None else where[self.rows]
        return logits.index_put_((self.rows, self.columns), kept.masked_fill_(chosen, value))

    def keep_(self, logits: Tensor, where: Tensor | None = None) -> Tensor:
        """Set every other token to -inf in place, in the rows that `where` ([B] bool) holds, or in all."""
        if self.rows is None:
            kept = logits.index_select(1, self.columns)
            return logits.fill_(-math.inf).index_copy_(1, self.columns, kept)
        kept = logits[self.rows, self.columns]
        if where is None:
            logits.fill_(-math.inf)
        else:
            logits.masked_fill_(where[:, None], -math.inf)
        return logits.index_put_((self.rows, self.columns), kept)

    def select_rows(self, rows: Tensor) -> TokenSet:
        """The set of the rows kept, which may repeat."""
        if self.rows is None:
            return self
        owner, entry = (rows[:, None] == self.rows[None, :]).nonzero(as_tuple=True)
        return TokenSet(self.columns[entry], owner)


def token_id(value: Any, name: str) -> int:
    """``value`` as an int, if it is a whole number of Python, numpy or torch."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name} must hold token ids, which are ints; got {value!r}") from None


def token_list(value: Any, name: str) -> list[Any]:
    """One id as a list, or the entries of what holds several."""
    if _is_number(value):
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a token id or a list of them; got {value!r}")
    return list(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.generic) or (isinstance(value, Tensor | np.ndarray) and not value.ndim)


def token_set(
    token_ids: TokenList,
    name: str,
    batch_size: int,
    vocab_size: int,
    *,
    outside: str = "ignore",
    device: torch.device | str = "cpu",
) -> TokenSet:
    """Read one id, a list of ids, or one list per row. Ids outside the vocabulary are ignored, or raise."""
    lists, per_row = _lists(token_ids, name, batch_size)
    pairs = [(row, token) for row, entry in enumerate(lists) for token in dict.fromkeys(entry)]
    inside = [(row, token) for row, token in pairs if 0 <= token < vocab_size]
    if outside == "raise" and len(inside) < len(pairs):
        row, token = next((row, token) for row, token in pairs if not 0 <= token < vocab_size)
        place = f" in row {row}" if per_row else ""
        raise ValueError(f"{name} must be in [0, {vocab_size}); got {token}{place}")
    there = torch.device(device)
    columns = sent(torch.tensor([token for _, token in inside], dtype=torch.int64, device="cpu"), there)
    if not per_row:
        return TokenSet(columns)
    return TokenSet(columns, sent(torch.tensor([row for row, _ in inside], dtype=torch.int64, device="cpu"), there))


def _lists(token_ids: TokenList, name: str, batch_size: int) -> tuple[list[list[int]], bool]:
    """The ids as lists of ints, one for each row or a single one for all, and whether it is one for each."""
    if isinstance(token_ids, Tensor):
        if (token_ids.is_floating_point() and token_ids.numel()) or token_ids.dim() > 1:
            raise ValueError(
                f"{name} must be integers of shape [] or [D]; got {token_ids.dtype} {list(token_ids.shape)}"
            )
        token_ids = token_ids.reshape(-1).tolist()
    entries = token_list(token_ids, name)
    per_row = any(isinstance(entry, (Sequence, Tensor, np.ndarray)) and not _is_number(entry) for entry in entries)
    lists = [[token_id(t, name) for t in token_list(row, name)] for row in (entries if per_row else [entries])]
    if per_row and len(lists) != batch_size:
        raise ValueError(f"{name} must be one list, or one list per row, {batch_size}; got {len(lists)} lists")
    return lists, per_row


def tokens_for(logits: Tensor, token_ids: TokenList, name: str, outside: str = "ignore") -> TokenSet:
    """`token_set` in the sizes and on the device of the logits."""
    return token_set(token_ids, name, *logits.shape, outside=outside, device=logits.device)


def fill_where_(logits: Tensor, tokens: TokenSet, value: float, where: Tensor) -> Tensor:
    """Fill the tokens in the rows of `where`, a bool tensor on the host, [] or [B]; most steps fill nothing."""
    if not bool(where.any()):
        return logits
    return tokens.fill_(logits, value, where.to(logits.device) if where.dim() else None)
