"""The race: the token with the largest weight over its noise, and whether other rounding might say otherwise.

Source: of independent exponential times with rates p the first is token i with probability p_i, which is the Gumbel-max
trick (Gumbel 1954; Maddison, Tarlow and Minka 2014) before the logarithm. ``torch.multinomial`` draws so too.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..options.numpy_or_torch import Array
from .counter_noise import counter_exponential, counter_uniform
from .decision import Kept, RowFilters
from .error_bounds import RACE_MARGIN, SEEDED_MARGIN


def race(weights: Array, noise: Array, margin: float | Array, lines: Array) -> tuple[Array, Array]:
    """The place [N] of the largest weight / noise of each row, and whether it is ahead by ``margin``, relative, [N].

    weights, noise: [N, M] float64, weights of 0 for what takes no part. lines: 0 to N - 1.
    """
    ratio = weights / noise
    winner = ratio.argmax(1)
    best = ratio[lines, winner][:, None]
    return winner, (ratio > best * (1 - margin)).sum(1) == 1


def listed_winners(
    kept: Kept, noise: Array, filters: RowFilters, greedy: Array | None, seeded: bool
) -> tuple[Array, Array]:
    """The drawn tokens [N] of what the filters left of the listed logits, and whether each is certain, [N].

    noise: of each listed token, [N, M] float64. With seeds everything is float64 from the logits as given; without, the
    winner is transformers' unless its rounding decides. greedy: [N, 1] bool, rows that take their largest logit.
    """
    large, lines = kept.large, np.arange(len(noise))
    margin: float | Array = RACE_MARGIN
    if seeded:
        values = np.asarray(large.values, dtype=np.float64)
        gap, temperature = values - values[:, :1], filters.divisor
        # Scores logit / T - log(noise) are at most this large where a token may win: noise is above 2**-64.
        weight, margin = np.exp(gap / temperature), SEEDED_MARGIN * (46 + abs(values[:, :1] / temperature))
    else:
        # Normalised or not, the winner is the same: both sides of the race are divided by one number.
        weight = np.exp(np.asarray(kept.scaled - kept.scaled[:, :1], dtype=np.float64))
    winner, alone = race(np.where(kept.possible, weight, 0.0), noise, margin, lines)
    drawn = large.token_ids[lines, winner]
    certain = alone & (kept.certain & kept.possible)[lines, winner] & kept.settled
    if greedy is not None:
        greedy, values = greedy[:, 0], large.values
        drawn = np.where(greedy, large.token_ids[:, 0], drawn)
        first = values[:, 0] > (values[:, 1] if values.shape[1] > 1 else large.bound[:, 0])
        certain = np.where(greedy, first, certain)
    return drawn, certain


def full_winner(wide: Tensor, kept: Tensor, keys: Tensor, temperature: float | Tensor | None) -> Tensor:
    """The same over the whole vocabulary, exactly: logits [N, V] before and after the filters, keys [N, 1] -> [N].

    temperature None: the filtered logits are divided already. Where two tokens are so close that devices might differ,
    Python's own arithmetic decides, and the lower token id.
    """
    winners = []
    token_ids = torch.arange(wide.shape[1], device="cpu")
    for row in range(wide.shape[0]):
        score = (kept if temperature is None else wide)[row].to(torch.float64)
        # From the largest logit, or the noise is lost in the rounding of logits beyond 1e16.
        score = score - score.amax()
        if temperature is not None:
            divisor = temperature[row] if isinstance(temperature, Tensor) else temperature
            score = (score / divisor).masked_fill_(kept[row] == -torch.inf, -torch.inf)
        key = keys[row : row + 1]
        raced = score - counter_exponential(key, token_ids)[0].log_()
        best = raced.amax()
        close = (raced >= best - SEEDED_MARGIN * (1 + best.abs())).nonzero()[:, 0]
        # So near each other another device's logarithm might decide otherwise: C's own, through Python, has the last
        # word.
        if len(close) > 1:
            uniform = counter_uniform(key, close)[0].tolist()
            exact = [x - math.log(-math.log1p(-u)) for x, u in zip(score[close].tolist(), uniform, strict=True)]
            close = close[exact.index(max(exact))][None]
        winners.append(close)
    return torch.cat(winners)
