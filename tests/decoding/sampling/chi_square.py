"""Whether seeded draws follow the distribution: counts of many draws against what is expected."""

import torch
from torch import Tensor

from afterlogits.decoding import Sampler, SamplingParams

_ROWS = 10_000


def _shape(name: str) -> Tensor:
    if name == "uniform":
        return torch.zeros(64)
    if name == "power law":
        return -1.1 * torch.arange(1, 201).log()
    return torch.cat([torch.tensor([3.0, 2.9]), torch.full((30,), -2.0)])  # two large, a floor


SHAPES = ("uniform", "power law", "peaked")


def chi_square_seeded(name: str, draws: int) -> float:
    """The probability that draws as far from the distribution as these come from it."""
    logits = _shape(name)
    rows = logits.expand(_ROWS, -1)
    counts = torch.zeros(len(logits), dtype=torch.int64)
    for start in range(0, draws, _ROWS):
        seeds = torch.arange(start, start + _ROWS) * 7919
        params = SamplingParams(top_k=len(logits))  # keeps all, through the fast path
        sampler = Sampler(params, batch_size=_ROWS, vocab_size=len(logits), device="cpu", seeds=seeds)
        counts += torch.bincount(sampler.select(rows, step=start % 17), minlength=len(logits))
    return chi_square(counts, logits.double().softmax(-1))


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    """The same for counts of draws from a distribution, [K] each."""
    expected = probabilities.double() * counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = torch.tensor(len(counts) - 1.0, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom / 2, statistic / 2))
