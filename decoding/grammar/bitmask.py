"""Packed bits on logits: what is forbidden becomes -inf, by the way that touches least of each row.

Where little is forbidden, only the forbidden tokens are written: their places are the zeros of the words that hold
one, found by taking the lowest zero of every such word until none is left. Elsewhere a table gives eight tokens a byte:
the bits of -inf where they are forbidden and 0 where not, and one maximum of unsigned integers puts them in, for -inf
is above all other numbers there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..options.numpy_or_torch import Array

__all__ = [
    *("Kept", "allowed", "few_allowed", "inside", "mask_tokens_", "often_allowed", "on_host", "prepared", "put"),
    "unpack_bits",
]

# The eight bits of every byte as eight bytes of 0 or 1, lowest bit first, read as one int64.
_BYTE_BITS = (
    ((torch.arange(256, device="cpu")[:, None] >> torch.arange(8, device="cpu")) & 1)
    .to(torch.uint8)
    .view(torch.int64)
    .reshape(256)
)
_MINUS_INFINITY = np.uint32(0xFF800000)
# For every byte of a mask, lowest bit first: what each of its eight tokens must be at least.
_FLOORS = np.where((np.arange(256)[:, None] >> np.arange(8)) & 1, np.uint32(0), _MINUS_INFINITY)
# With at most this share of words that forbid something, or at most so many zeros a word of the mask, what is forbidden
# is written token by token; measured where both ways take as long.
_FEW_WORDS, _FEW_ZEROS = 1 / 5, 1.8
_DENSE = 6  # zeros a word, from where reading all its bits is faster than one zero after the other
_SAMPLE = 256  # words that are looked at to tell
_LISTED = 768  # words or pairs of them, of which all bits are read at once sooner than their lowest one after the other
_UNSAMPLED = 3072  # pairs that are taken as they are: a look at how many zeros they have would cost a tenth
_SHORT = 8192  # words of which all bits are read at once
_FULL_PAIR = np.uint64(2**64 - 1)
# By the bytes of a word: the float that holds its powers of two, its bits as an integer, their place and their bias.
_EXPONENTS = {4: (np.float32, np.int32, 23, 127), 8: (np.float64, np.int64, 52, 1023)}
_OFTEN = 1 / 8  # of the tokens, as the least that is often allowed
_FEW_ALLOWED = 1 / 16  # of a mask's words other than 0, as the most that is listed as tokens


@dataclass(frozen=True)
class Kept:
    """A mask as the tokens int64 that it allows, where they are few."""

    token_ids: Array


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
    if on_host(logits) and bitmask.device.type == "cpu":
        whole = bitmask if bitmask.shape[0] == count and bitmask.ndim == 2 else bitmask.reshape(-1, words)
        _mask_on_host(logits, whole if whole.shape[0] == count else whole.expand(count, words), rows)
        return logits
    allowed = unpack_bits(bitmask.to(logits.device).reshape(-1, words))[:, : logits.shape[1]]
    if rows is None:
        return logits.masked_fill_(~allowed, -math.inf)
    places = torch.tensor(rows, device=logits.device)
    logits[places] = logits[places].masked_fill_(~allowed, -math.inf)
    return logits


def unpack_bits(bitmask: Tensor) -> Tensor:
    """int32 [B, W] to bool [B, 32 * W], lowest bit first."""
    if sys.byteorder == "little":
        packed = bitmask.contiguous().view(torch.uint8).int()  # [B, 4 * W]
        table = _BYTE_BITS.to(bitmask.device)
        return table.index_select(0, packed.reshape(-1)).view(torch.bool).reshape(bitmask.shape[0], -1)
    shifts = torch.arange(32, dtype=torch.int32, device=bitmask.device)
    return ((bitmask[:, :, None] >> shifts) & 1).bool().reshape(bitmask.shape[0], -1)


def on_host(logits: Tensor) -> bool:
    """Whether the logits can be written as numbers of numpy."""
    return (
        sys.byteorder == "little"
        and logits.device.type == "cpu"
        and logits.dtype == torch.float32
        and logits.is_contiguous()
        and not logits.requires_grad
    )


def _mask_on_host(logits: Tensor, bitmask: Tensor, rows: Sequence[int] | None) -> None:
    """``mask_tokens_`` of one mask a row: all rows at once where little is forbidden, else one after the other."""
    count, vocab_size = bitmask.shape[0], logits.shape[1]
    bits = inside(bitmask.numpy(), vocab_size)
    host: Array = logits.numpy().view(np.uint32)
    tokens = _little(bits.reshape(-1))
    if tokens is not None:
        if rows is not None or vocab_size % 32:
            place, token = np.divmod(tokens, 32 * bits.shape[1])
            tokens = (place if rows is None else np.asarray(rows)[place]) * vocab_size + token
        host.reshape(-1)[tokens] = _MINUS_INFINITY
        return
    room = np.empty((bits.shape[1] * 4, 8), dtype=np.uint32)
    for place, row in enumerate(range(count) if rows is None else rows):
        put(host[row], prepared(bits[place], room, vocab_size))


def prepared(bits: Array, room: Array, vocab_size: int) -> Array | Kept | None:
    """What ``put`` needs of one row's bits int32 [W]: nothing, the forbidden tokens int64, those that are kept, or
    ``room`` uint32 [4W, 8] filled with what each token must be at least."""
    words = _forbidding(bits)
    if not words.size:
        return None
    zeros = _zeros_a_word(bits, words)
    if words.size <= bits.shape[0] * _FEW_WORDS or words.size * zeros <= bits.shape[0] * _FEW_ZEROS:
        return _forbidden(bits, words, zeros)
    few = few_allowed(bits, vocab_size)
    return np.take(_FLOORS, bits.view(np.uint8), axis=0, out=room, mode="clip") if few is None else Kept(few)


def allowed(bits: Array, token_ids: Array) -> Array:
    """Whether bits int32 [W] allow the tokens int64 [M]: bool [M]."""
    return (bits.take(token_ids >> 5) >> (token_ids & 31)) & 1 == 1


def few_allowed(bits: Array, vocab_size: int) -> Array | None:
    """The tokens int64 that bits int32 [W] allow, ascending; None where they are many."""
    words = (bits != 0).nonzero()[0]
    if words.size > max(bits.shape[0] * _FEW_ALLOWED, 1):
        return None
    tokens = _ones(bits[words], words)
    return tokens[: int(np.searchsorted(tokens, vocab_size))]


def often_allowed(bits: Array) -> bool:
    """Whether each row of bits int32 [N, W] allows a good part of the tokens, by a sample of its words."""
    sample = np.ascontiguousarray(bits[:, :: bits.shape[1] // _SAMPLE + 1])
    return bool((np.unpackbits(sample.view(np.uint8), axis=1).mean(1) >= _OFTEN).all())


def put(row: Array, mask: Array | Kept | None) -> None:
    """Make -inf what ``prepared`` found forbidden, in logits [V] read as uint32."""
    if mask is None:
        return
    if isinstance(mask, Kept):
        kept = row.take(mask.token_ids)
        row.fill(_MINUS_INFINITY)
        row[mask.token_ids] = kept
    elif mask.ndim == 1:
        row[mask] = _MINUS_INFINITY
    else:
        _raise_to(row, mask.reshape(-1)[: row.shape[0]])


def _raise_to(row: Array, floor: Array) -> None:
    """Make what is forbidden -inf: read as unsigned integers, no number is above it, and every number is above 0."""
    np.maximum(row, floor, out=row)
    if row.max() > _MINUS_INFINITY:  # NaN of negative sign
        row[(row > _MINUS_INFINITY) & (floor > 0)] = _MINUS_INFINITY


def _little(bits: Array) -> Array | None:
    """The tokens whose bits are 0 in bits int32 [W], in any order; None where they are more than is worth a list."""
    if bits.shape[0] % 2 == 0 and bits.shape[0] > _SHORT:  # two words at a time
        pairs = bits.view(np.uint64)
        places = (pairs != _FULL_PAIR).nonzero()[0]
        if places.size <= _LISTED:
            return _every_bit(~pairs[places], places << 6)
        if places.size <= _UNSAMPLED or (places.size <= pairs.shape[0] >> 3 and _zeros_a_word(pairs, places) <= _DENSE):
            return _lowest_bits(~pairs[places], places << 6)
    words = _forbidding(bits)
    if not words.size:
        return words
    zeros = _zeros_a_word(bits, words)
    return _forbidden(bits, words, zeros) if words.size * zeros <= bits.shape[0] * _FEW_ZEROS else None


def _forbidding(bits: Array) -> Array:
    """The places of the words that hold a zero, in bits int32 [W]."""
    return (bits != -1).nonzero()[0]


def _zeros_a_word(bits: Array, words: Array) -> float:
    """About how many zeros the ``words`` have that hold one, by a sample of them."""
    sample = ~bits[words[:: words.size // _SAMPLE + 1]]
    return int(np.count_nonzero(np.unpackbits(sample.view(np.uint8)))) / int(sample.size)


def _forbidden(bits: Array, words: Array, zeros: float) -> Array:
    """The tokens whose bits are 0 in ``words`` of bits int32 [W], about ``zeros`` in each; in any order."""
    if words.size <= _SHORT or zeros > _DENSE:
        return _ones(~bits[words], words)
    return _lowest_bits((~bits[words]).view(np.uint32), words << 5)


def _lowest_bits(rest: Array, first: Array) -> Array:
    """The places of the 1 bits of uint32 or uint64 [M], the lowest of each at ``first``: one bit of each a round.

    Where many are left after two rounds, all of their bits are read at once.
    """
    real, whole, mantissa, bias = _EXPONENTS[rest.dtype.itemsize]
    places: list[Array] = []
    while rest.size:
        if len(places) == 2 and rest.size > _LISTED:
            places.append(_every_bit(rest, first))
            break
        lowest = rest & np.negative(rest)
        # The exponent of 2 ** n is n and the bias.
        places.append(first + ((lowest.astype(real).view(whole) >> mantissa) - bias))
        rest ^= lowest
        left = (rest != 0).nonzero()[0]
        rest, first = rest[left], first[left]
    return np.concatenate(places)


def _every_bit(words: Array, first: Array) -> Array:
    """The places of the 1 bits of words [M] of any integers, the lowest of each at ``first``; ascending where these
    are."""
    size, shift = 8 * words.dtype.itemsize, 3 + words.dtype.itemsize.bit_length() - 1
    found = np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_).nonzero()[0]
    places: Array = first[found >> shift] + (found & (size - 1))
    return places


def _ones(bits: Array, words: Array) -> Array:
    """The tokens whose bits are 1 in int32 [M], which are ``words`` of a mask; ascending where these are."""
    return _every_bit(bits, words << 5)


def inside(bits: Array, vocab_size: int) -> Array:
    """The bits [B, W] with those past the vocabulary 1: nothing is written there."""
    past = -vocab_size % 32
    if not past:
        return np.ascontiguousarray(bits)
    bits = bits.copy()
    bits[:, -1] |= np.int32(-1 << (32 - past))
    return bits
