"""Who wins the exponential race among the listed tokens, and whether that is certain.

Source: of independent exponential times with rates p the first is token i with probability p_i, which is the Gumbel-max
trick (Gumbel 1954; Maddison, Tarlow and Minka 2014) before the logarithm. ``torch.multinomial`` draws so too.
"""

import math

import torch
from torch import Tensor

from ..options.batch_options import CompiledParams
from ..options.numpy_or_torch import Array, along, double, namespace
from .counter_noise import counter_exponential, counter_uniform
from .shortlist import Shortlist

MARGIN = 2e-5  # relative: what the library's float32 p / q of two tokens may be off by, with room
_CLOSE = 1e-12  # relative: more than the logarithms of two libraries or devices differ by


def seeded_winner(part: Shortlist, noise: Array, temperature: float | Array) -> tuple[Array, Array]:
    """The place [N, 1] of the token with the largest logit / T - log(noise) among those possible; is it certain, [N].

    noise: Exp(1) of each listed token, [N, M] float64. Everything is float64; where devices might see another order of
    the first two, nothing is certain.
    """
    xp = namespace(noise)
    score = xp.where(part.possible, double(part.values) / temperature - xp.log(noise), -torch.inf)
    winner = score.argmax(1)[:, None]
    best = along(score, winner)
    alone = (score >= best - _CLOSE * (1 + abs(best))).sum(1) == 1
    return winner, along(part.certain, winner)[:, 0] & alone


def stream_winner(part: Shortlist, noise: Array) -> tuple[Array, Array]:
    """The place [N, 1] of the token with the largest p / noise among those possible; is it the library's, [N].

    noise: float32 values in [N, M] float64. Uncertain where the library may drop the winner or where the second is so
    close that the library's rounding decides.
    """
    xp = namespace(noise)
    weight = xp.exp(double(part.scaled - part.scaled[:, :1]))
    ratio = xp.where(part.possible, weight / noise, 0.0)
    winner = ratio.argmax(1)[:, None]
    alone = (ratio > along(ratio, winner) * (1 - MARGIN)).sum(1) == 1
    return winner, along(part.certain, winner)[:, 0] & alone


def shortlist_winners(part: Shortlist, noise: Array, params: CompiledParams, seeded: bool) -> tuple[Array, Array]:
    """The drawn tokens [N] of a shortlist, and whether each is certain, [N]."""
    if seeded:
        winner, certain = seeded_winner(part, noise, params.arrays.get("temperature", 1.0))
    else:
        winner, certain = stream_winner(part, noise)
    drawn, certain = along(part.token_ids, winner)[:, 0], certain & part.settled
    if "greedy" in params.arrays:
        greedy = params.arrays["greedy"][:, 0]
        where = namespace(part.values).where
        drawn = where(greedy, part.token_ids[:, 0], drawn)
        if part.values.shape[1] > 1:
            certain = where(greedy, part.values[:, 0] > part.values[:, 1], certain)
    return drawn, certain


def divisor(params: CompiledParams) -> float | Tensor | None:
    """The temperature of ``full_winner``; None where it differs from token to token."""
    return None if "dynamic_temperature" in params.on else params.on.get("temperature", 1.0)


def full_winner(wide: Tensor, kept: Tensor, keys: Tensor, temperature: float | Tensor | None) -> Tensor:
    """The same race over the whole vocabulary: logits [N, V] before and after the filters, keys [N, 1] -> tokens [N].

    temperature None: the filtered logits are divided already. Where two tokens are so close that devices might differ,
    Python's own arithmetic decides, and the lower token id.
    """
    winners = []
    token_ids = torch.arange(wide.shape[1], device=wide.device)
    for row in range(wide.shape[0]):
        if temperature is None:
            score = kept[row].to(torch.float64)
        else:
            divisor = temperature[row] if isinstance(temperature, Tensor) else temperature
            score = (wide[row].to(torch.float64) / divisor).masked_fill_(kept[row] == -torch.inf, -torch.inf)
        key = keys[row : row + 1]
        raced = score - counter_exponential(key, token_ids)[0].log_()
        best = raced.amax()
        close = (raced >= best - _CLOSE * (1 + best.abs())).nonzero()[:, 0]
        if len(close) > 1:
            uniform = counter_uniform(key, close)[0].tolist()
            exact = [x - math.log(-math.log1p(-u)) for x, u in zip(score[close].tolist(), uniform, strict=True)]
            close = close[exact.index(max(exact))][None]
        winners.append(close)
    return torch.cat(winners)
