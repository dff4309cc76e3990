"""Counter-based noise for the draw: a token wins if its race time, Exp(1) / probability, is the smallest of its row.

The noise is a hash of (seed, step, token id): no state, the same noise for a token whatever else is in the batch and on
any device. Its uniforms have 63 bits, so race times down to 2**-64 occur and a token of probability 1e-12 is drawn at
its rate; float32 noise stops at 2**-24 and never draws it (vLLM issue 43150).

The hash is SplitMix64 (Steele, Lea and Flood 2014): a counter that moves by the golden ratio per token id, from a start
per (seed, step), through its 64-bit finaliser. int64 arithmetic wraps; right shifts are made logical by a mask.
"""

from collections.abc import Sequence
from math import inf, log1p

from ..options.numpy_or_torch import Array, double, namespace

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15
MIX1, MIX2 = -4658895280553007687, -7723592293110705685  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SEED, _STEP = -4132994306676758123, 2685821657736338717  # odd, so that each seed and each step has its own start
# The hash leaves 0 where it is: from there the noise of token 0 would be the least there is, and it would always win.
_FOR_ZERO = 0x243F6A8885A308D3
_WORD, _LOW_63 = 2**64 - 1, 2**63 - 1


def counter_keys(seeds: Array, steps: Array | int) -> Array:
    """Where each row's counter starts: seeds int64 [N], or [1, N] beside steps [S, 1]; steps an int or int64.

    Returns [N, 1] or [S, N, 1] int64.
    """
    moved = (steps * _STEP + 2**63) % 2**64 - 2**63 if isinstance(steps, int) else steps * _STEP
    key = seeds * _SEED + moved
    key ^= (key >> 32) & 0xFFFFFFFF
    return (key * MIX2 + (key == 0) * _FOR_ZERO)[..., None]


def mixed(counters: Array) -> Array:
    """The finaliser of int64 counters, which are overwritten: int64 from 0 to 2**63 - 1, of the same shape."""
    z = counters
    z ^= (z >> 30) & 0x3FFFFFFFF
    z *= MIX1
    z ^= (z >> 27) & 0x1FFFFFFFFF
    z *= MIX2
    # What is shifted in keeps the sign beside its 33 bits, so that the sign goes as it meets itself.
    z ^= (z >> 31) & (0x1FFFFFFFF - 2**63)
    return z


def counter_uniform(keys: Array, token_ids: Array) -> Array:
    """Uniform noise per (row, token) in (0, 1], float64 [N, M], with 63 bits near 0.

    keys: [N, 1] from ``counter_keys``. token_ids: [N, M] or [M] int64. Arrays or tensors.
    """
    uniform = double(mixed(keys + token_ids * GOLDEN))
    uniform += 0.5
    uniform *= 2.0**-63
    return uniform


def counter_exponential(keys: Array, token_ids: Array) -> Array:
    """Exp(1) noise per (row, token), float64 [N, M], strictly positive."""
    return -namespace(keys).log1p(-counter_uniform(keys, token_ids))


def row_key(seed: int, step: int) -> int:
    """``counter_keys`` of one row in Python's integers, unsigned."""
    key = (seed * _SEED + step * _STEP) & _WORD
    return (key ^ key >> 32) * MIX2 & _WORD if key else _FOR_ZERO


def exponentials(key: int, token_ids: Sequence[int]) -> list[float]:
    """``counter_exponential`` of some tokens of a row in Python's integers: the same but for the last place."""
    noise = []
    for token_id in token_ids:
        z = (key + token_id * GOLDEN) & _WORD
        z = (z ^ z >> 30) * MIX1 & _WORD
        z = (z ^ z >> 27) * MIX2 & _WORD
        uniform = ((z ^ z >> 31) & _LOW_63) * 2.0**-63 + 2.0**-64
        noise.append(-log1p(-uniform) if uniform < 1.0 else inf)
    return noise
