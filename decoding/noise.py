"""Noise for the draw: a token wins if its exponential race time, Exp(1) / probability, is the smallest of its row.

``counter_exponential`` hashes (seed, step, token id): no state, the same noise for a token whatever else is in the
batch and on any device. Its uniforms have 64 bits, so race times down to 2**-64 occur and a token of probability
1e-12 is drawn at its rate; float32 noise stops at 2**-24 and never draws it (vLLM issue 43150).
"""

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64: 2**64 / golden ratio
_MIX1, _MIX2 = -4658895280553007687, -7723592293110705685  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_FMIX1, _FMIX2 = -2048144789, -1028477387  # 0x85EBCA6B, 0xC2B2AE35 as int32


def counter_keys(seeds: Tensor, steps: int | Tensor) -> Tensor:
    """Four 32-bit keys per row from its seed and step: [N] int64 -> [N, 4] int32.

    SplitMix64 (Steele et al. 2014) over the seed, then over the step; int64 arithmetic wraps.
    """
    state = _splitmix(seeds + _GOLDEN)
    state = _splitmix((state ^ (torch.as_tensor(steps, device=seeds.device) * _GOLDEN)) + _GOLDEN)
    words = torch.stack([state, _splitmix(state + _GOLDEN)], 1)  # [N, 2]
    return torch.stack([words & 0xFFFFFFFF, (words >> 32) & 0xFFFFFFFF], 2).flatten(1).to(torch.int32)


def _splitmix(z: Tensor) -> Tensor:
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX2
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


def _fmix(h: Tensor) -> Tensor:
    """MurmurHash3's 32-bit finaliser, in int32 arithmetic that wraps; shifts are made logical by a mask."""
    h = (h ^ ((h >> 16) & 0xFFFF)) * _FMIX1
    h = (h ^ ((h >> 13) & 0x7FFFF)) * _FMIX2
    return h ^ ((h >> 16) & 0xFFFF)


def counter_words(keys: Tensor, token_ids: Tensor, which: int) -> Tensor:
    """32 random bits per (row, token) as int32: keys [N, 4], token_ids [N, M] or [M] int32, which 0 or 1."""
    first, second = keys[:, 2 * which, None], keys[:, 2 * which + 1, None]
    return _fmix(_fmix(token_ids ^ first) + second)


def counter_exponential(keys: Tensor, token_ids: Tensor) -> Tensor:
    """Exp(1) noise per (row, token), float64 [N, M], strictly positive.

    keys: [N, 4] from ``counter_keys``. token_ids: [N, M] or [M].
    """
    return -torch.log1p(-counter_uniform(keys, token_ids))


def counter_uniform(keys: Tensor, token_ids: Tensor) -> Tensor:
    """Uniform noise per (row, token) in (0, 1), float64 [N, M], with 64 bits near 0."""
    token_ids = token_ids.to(torch.int32)
    high = (counter_words(keys, token_ids, 0).to(torch.int64) & 0xFFFFFFFF).to(torch.float64)
    low = (counter_words(keys, token_ids, 1).to(torch.int64) & 0xFFFFFFFF).to(torch.float64)
    # The largest value would round to 1: a float64 has 53 bits.
    return ((high + (low + 0.5) * 2.0**-32) * 2.0**-32).clamp_(max=1 - 2.0**-53)
