"""Who wins the exponential race among the listed tokens, and whether that is certain."""

import torch
from torch import Tensor

from .shortlist import Shortlist

MARGIN = 2e-5  # relative: what the library's float32 p / q of two tokens may be off by, with room


def seeded_winner(
    part: Shortlist, noise: Tensor, temperature: float | Tensor, rows: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The place [N, 1] of the token with the largest logit / T - log(noise) among those possible; is it certain, [N].

    noise: Exp(1) of each listed token, [N, M] float64, written over. Everything is float64, so that devices agree.
    """
    divisor = temperature[rows] if isinstance(temperature, Tensor) and rows is not None else temperature
    score = part.values.to(torch.float64).div_(divisor).sub_(noise.log_()).masked_fill_(~part.possible, -torch.inf)
    winner = score.argmax(1, keepdim=True)
    return winner, part.certain.gather(1, winner)[:, 0]


def stream_winner(part: Shortlist, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The place [N, 1] of the token with the largest p / noise among those possible; is it the library's, [N].

    noise: float32 values in [N, M] float64. Uncertain where the library may drop the winner or where the second is so
    close that the library's rounding decides.
    """
    weight = (part.scaled - part.scaled[:, :1]).to(torch.float64).exp_()
    ratio = (weight / noise).masked_fill_(~part.possible, 0.0)
    best = ratio.topk(min(2, ratio.shape[1]))
    winner = best.indices[:, :1]
    certain = part.certain.gather(1, winner)[:, 0]
    if best.values.shape[1] == 2:
        certain &= best.values[:, 1] < best.values[:, 0] * (1 - MARGIN)
    return winner, certain
