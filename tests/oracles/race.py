"""The draw, slowly: SplitMix64 in Python's own integers, and transformers' operations over the whole vocabulary."""

import math

import torch
from torch import Tensor

_M = 2**64 - 1


def uniform(seed: int, step: int, token_id: int) -> float:
    """The counter-based uniform of one token."""
    key = (seed * 0xC6A4A7935BD1E995 + step * 0x2545F4914F6CDD1D) & _M
    key = ((key ^ (key >> 32)) * 0x94D049BB133111EB) & _M if key else 0x243F6A8885A308D3
    z = (key + token_id * 0x9E3779B97F4A7C15) & _M
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _M
    z ^= z >> 31
    return ((z & (2**63 - 1)) + 0.5) * 2.0**-63


def counter_of(word: int) -> int:
    """The counter that SplitMix64's finaliser takes to ``word``: each of its steps undone."""
    z = word ^ word >> 31 ^ word >> 62
    z = z * pow(0x94D049BB133111EB, -1, 2**64) & _M
    z = z ^ z >> 27 ^ z >> 54
    z = z * pow(0xBF58476D1CE4E5B9, -1, 2**64) & _M
    return z ^ z >> 30 ^ z >> 60


def seeded_token(logits: list[float], temperature: float, seed: int, step: int) -> int:
    """The winner of one row's race; logits of -inf do not take part."""
    scores = [
        x / temperature - math.log(-math.log1p(-uniform(seed, step, i))) if x > -math.inf else -math.inf
        for i, x in enumerate(logits)
    ]
    return scores.index(max(scores))


def flat_token(logits: Tensor, kept: Tensor, temperature: float, seed: int, step: int) -> int:
    """The first accepted proposal that is kept, for a flat row: logits, kept [V]."""
    top, place = float(logits.amax()), 0
    while True:
        token_id = min(int(uniform(seed, step, -2 - 2 * place) * len(logits)), len(logits) - 1)
        weight = math.exp((float(logits[token_id]) - top) / temperature)
        if uniform(seed, step, -3 - 2 * place) <= weight and bool(kept[token_id]):
            return token_id
        place += 1


def library_draw(processors: list, logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """What transformers' ``_sample`` does with a step's logits."""
    scores = logits.to(torch.float32)
    for processor in processors:
        scores = processor(None, scores)
    return torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
