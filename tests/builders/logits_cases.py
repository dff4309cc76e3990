"""Logits that break samplers: every kind a filter or a draw may meet, made from a seed.

``draw_case`` is one case: a batch of logits of one dtype, rows of mixed kinds, and the options to try on it.
"""

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor

SIZES = (2, 3, 5, 7, 16, 31, 97, 128, 257, 1000, 1009, 4096, 5003)
LARGE_SIZES = (32_000, 50_257, 65_537, 128_256, 151_936, 299_993, 300_000)
DTYPES = (torch.float32, torch.float32, torch.float32, torch.float16, torch.bfloat16)
MASSES = (0.0, 1e-7, 1e-3, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1 - 1e-7, 1.0)


def language_model(n: int, v: int, g: torch.Generator) -> Tensor:
    """A few hundred large values over a broad floor: what a trained model gives."""
    row = torch.randn(n, v, generator=g) * 2.0
    count = min(v, 300)
    places = torch.stack([torch.randperm(v, generator=g)[:count] for _ in range(n)]) if n else torch.empty(0, count)
    heights = 16.0 - 2.2 * torch.arange(1, count + 1).log() + 0.3 * torch.randn(n, count, generator=g)
    return row.scatter_(1, places.long(), heights)


def _gaussian(n: int, v: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, v, generator=g) * (10.0 * torch.rand(n, 1, generator=g) + 0.01)


def _ties(n: int, v: int, g: torch.Generator) -> Tensor:
    return torch.randint(-3, 4, (n, v), generator=g).float()


def _coarse(n: int, v: int, g: torch.Generator) -> Tensor:
    return (torch.randn(n, v, generator=g) * 4).bfloat16().float()


def _runs(n: int, v: int, g: torch.Generator) -> Tensor:
    return torch.randint(0, 3, (n, v), generator=g).cumsum(1).div(max(v / 8, 1), rounding_mode="floor")


def _one_hot(n: int, v: int, g: torch.Generator) -> Tensor:
    rows = torch.full((n, v), -40.0)
    return rows.scatter_(1, torch.randint(0, v, (n, 1), generator=g), 40.0)


def _uniform(n: int, v: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, 1, generator=g).expand(n, v).clone()


def _close(n: int, v: int, g: torch.Generator) -> Tensor:
    """Neighbouring floats around one value."""
    return 1.0 + torch.randint(0, 4, (n, v), generator=g).float() * 2.0**-23


def _denormal(n: int, v: int, g: torch.Generator) -> Tensor:
    """Gaps that only denormal numbers have."""
    return torch.randint(0, 6, (n, v), generator=g).float() * 1e-42


def _all_but_one(n: int, v: int, g: torch.Generator) -> Tensor:
    rows = torch.full((n, v), -math.inf)
    return rows.scatter_(1, torch.randint(0, v, (n, 1), generator=g), torch.randn(n, 1, generator=g))


def _masked(n: int, v: int, g: torch.Generator) -> Tensor:
    rows = _gaussian(n, v, g).masked_fill(torch.rand(n, v, generator=g) < 0.7, -math.inf)
    return rows.scatter_(1, torch.randint(0, v, (n, 1), generator=g), 1.0)


def _exact_mass(n: int, v: int, g: torch.Generator) -> Tensor:
    """Powers of two: running sums that end on 0.5, 0.25, 0.75, ... exactly, or as near as float32 gets."""
    powers = -torch.randint(1, 12, (n, v), generator=g).float() * math.log(2)
    return powers if v > 16 else torch.full((n, v), math.log(1 / v))


def _huge(n: int, v: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, v, generator=g) * 3e3


def _ascending(n: int, v: int, g: torch.Generator) -> Tensor:
    return (
        torch.linspace(-8, 8, v).expand(n, v).clone().flip(1)
        if torch.rand((), generator=g) < 0.5
        else torch.linspace(-8, 8, v).expand(n, v).clone()
    )


KINDS: tuple[Callable[[int, int, torch.Generator], Tensor], ...] = (
    language_model,
    _gaussian,
    _ties,
    _coarse,
    _runs,
    _one_hot,
    _uniform,
    _close,
    _denormal,
    _all_but_one,
    _masked,
    _exact_mass,
    _huge,
    _ascending,
)


def draw_logits(rng: random.Random, v: int, n: int, dtype: torch.dtype) -> Tensor:
    """[n, v] logits of ``dtype``, each row of its own kind."""
    g = torch.Generator().manual_seed(rng.randrange(2**31))
    rows = torch.cat([rng.choice(KINDS)(1, v, g) for _ in range(n)]) if n else torch.empty(0, v)
    return rows.to(dtype)


def draw_top_k(rng: random.Random, v: int) -> int:
    return rng.choice([1, 2, 3, 20, 50, 64, 200, max(v - 1, 1), v, v + 7])


def draw_share(rng: random.Random) -> float:
    """A probability mass: the borders, the usual values, and others."""
    return rng.choice(MASSES) if rng.random() < 0.7 else rng.random()
