"""Packed bits on logits: what is forbidden becomes -inf, by the way that touches least of each row.

A grammar's mask is seldom balanced. Inside a string nearly every token is allowed: only the forbidden ones are
written. Between two keys a handful is: the row is filled and the handful put back. What is left is unpacked.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..options.numpy_or_torch import Array

__all__ = ["mask_tokens_", "token_count", "unpack_bits"]

# The eight bits of every byte as eight bytes of 0 or 1, lowest bit first, read as one int64.
_BYTE_BITS = ((torch.arange(256)[:, None] >> torch.arange(8)) & 1).to(torch.uint8).view(torch.int64).reshape(256)
# A row with at most this share of its tokens allowed, or forbidden, is written token by token.
_FEW = 1 / 24


def mask_tokens_(logits: Tensor, bitmask: Tensor, *, rows: Sequence[int] | None = None) -> Tensor:
    """Set to -inf, in place, every token whose bit is 0; returns ``logits`` [B, V].

    bitmask: int32 [B, ceil(V / 32)], [1, ceil(V / 32)] or [ceil(V / 32)], lowest bit first. rows: the rows that it
    stands for, one each; all if None.
    Cost: one read of the bits; then the allowed or the forbidden tokens alone where they are few, or one pass.
    """
    if not isinstance(bitmask, Tensor):
        raise TypeError(f"bitmask must be an int32 tensor; got {type(bitmask).__name__}")
    count = logits.shape[0] if rows is None else len(rows)
    words = (logits.shape[1] + 31) // 32
    if bitmask.dtype != torch.int32 or bitmask.shape not in ((count, words), (1, words), (words,)):
        raise ValueError(
            f"bitmask must be an int32 tensor of shape {[count, words]}; got {bitmask.dtype} {list(bitmask.shape)}"
        )
    if _on_host(logits, bitmask):
        _mask_on_host(logits, bitmask.reshape(-1, words).expand(count, words), rows)
        return logits
    allowed = unpack_bits(bitmask.to(logits.device).reshape(-1, words))[:, : logits.shape[1]]
    if rows is None:
        return logits.masked_fill_(~allowed, -math.inf)
    places = torch.tensor(rows, device=logits.device)
    logits[places] = logits[places].masked_fill_(~allowed, -math.inf)
    return logits


def token_count(bitmask: Tensor, vocab_size: int) -> int:
    """How many of ``vocab_size`` tokens one row's bits [ceil(V / 32)] allow."""
    return int(np.bitwise_count(_inside(bitmask.reshape(1, -1).numpy(), vocab_size).view(np.uint32)).sum())


def unpack_bits(bitmask: Tensor) -> Tensor:
    """int32 [B, W] to bool [B, 32 * W], lowest bit first."""
    if sys.byteorder == "little":
        packed = bitmask.contiguous().view(torch.uint8).int()  # [B, 4 * W]
        table = _BYTE_BITS.to(bitmask.device)
        return table.index_select(0, packed.reshape(-1)).view(torch.bool).reshape(bitmask.shape[0], -1)
    shifts = torch.arange(32, dtype=torch.int32, device=bitmask.device)
    return ((bitmask[:, :, None] >> shifts) & 1).bool().reshape(bitmask.shape[0], -1)


def _on_host(logits: Tensor, bitmask: Tensor) -> bool:
    return (
        sys.byteorder == "little"
        and logits.device.type == bitmask.device.type == "cpu"
        and logits.dtype in (torch.float32, torch.float64)
        and logits.is_contiguous()
        and not logits.requires_grad
    )


def _mask_on_host(logits: Tensor, bitmask: Tensor, rows: Sequence[int] | None) -> None:
    vocab_size = logits.shape[1]
    bits = _inside(bitmask.numpy(), vocab_size)
    allowed = np.bitwise_count(bits.view(np.uint32)).sum(axis=1, dtype=np.int64)
    own = range(logits.shape[0]) if rows is None else rows
    few = int(vocab_size * _FEW)
    host: Array = logits.numpy()
    for place, row in enumerate(own):  # every way is a pass over a row: the rows' own loop costs nothing beside it
        count = int(allowed[place])
        if count == vocab_size:
            continue
        if vocab_size - count <= few:
            host[row, _places(~bits[place], vocab_size)] = -math.inf
        elif count <= few:
            kept = _places(bits[place], vocab_size)
            values = host[row, kept]
            logits[row].fill_(-math.inf)
            host[row, kept] = values
        else:
            forbidden = np.unpackbits(~bits[place].view(np.uint8), bitorder="little", count=vocab_size)
            logits[row].masked_fill_(torch.from_numpy(forbidden.view(np.bool_)), -math.inf)


def _places(bits: Array, vocab_size: int) -> Array:
    """The numbers of the bits that are 1 in words int32 [W], below ``vocab_size``."""
    words = np.flatnonzero(bits)
    found, bit = np.nonzero(np.unpackbits(bits[words].view(np.uint8).reshape(-1, 4), axis=1, bitorder="little"))
    places = words[found] * 32 + bit
    return places[: np.searchsorted(places, vocab_size)]


def _inside(bits: Array, vocab_size: int) -> Array:
    """The bits [B, W] with those past the vocabulary 0."""
    past = -vocab_size % 32
    if not past:
        return np.ascontiguousarray(bits)
    bits = bits.copy()
    bits[:, -1] &= np.int32((1 << (32 - past)) - 1)
    return bits
