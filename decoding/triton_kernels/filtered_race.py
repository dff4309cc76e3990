"""What the drawing kernels share: the race of a block, and what top-p and min-p say of its winner.

Tokens are not filtered before they race. The winner of all is asked for: if the filters drop it, they drop everything
at or below it too, and the race goes on above. A winner is a draw from the whole distribution, so it is kept with the
mass of what is kept: seldom more than two rounds, and no sort.

Source: FlashInfer asks the same of a proposed token and raises its pivot so (``TopPSamplingFromProbKernel``).
"""

from ..kernels import error_bounds
from .language import jit, tl
from .noise import (
    SCREEN,
    STREAM_MARGIN,
    counter_uniform,
    exact_exponential,
    screening_exponential,
    stream_exponential,
    stream_uniform,
)

NONE = tl.constexpr(2**40)  # no token id
EXP_ERROR, UNIT = tl.constexpr(error_bounds.EXP_ERROR), tl.constexpr(error_bounds.UNIT)
SEEDED_MARGIN = tl.constexpr(error_bounds.SEEDED_MARGIN)
SCALED_ERROR, WITHIN = tl.constexpr(error_bounds.SCALED_ERROR), tl.constexpr(error_bounds.WITHIN)
LANES, FEW_ADDITIONS = tl.constexpr(error_bounds.LANES), tl.constexpr(error_bounds.FEW_ADDITIONS)
MASS_ERROR = tl.constexpr(2e-5)
"""Relative, of a mass formed here in float32: an exponential by a power of two (64 UNIT for arguments within 20, beyond
which nothing weighs), a tree of sums of 4,096 (45 UNIT), and transformers' own exponential: 1e-5, twice over."""


@jit
def divided(x, temperature, SEEDED: tl.constexpr):
    """x / T in float32. Seeded draws divide, as the CPU does; without seeds CUDA multiplies by the reciprocal."""
    single = temperature.to(tl.float32)
    if SEEDED:
        return tl.div_rn(x, x * 0.0 + single)
    else:
        return x * tl.div_rn(single * 0.0 + 1.0, single)


@jit
def race_noise(token_ids, key, first, offset, threads, SEEDED: tl.constexpr, HARDWARE: tl.constexpr):
    """Exp(1) of each token, float32. key: the row's counter, or the stream's seed. first: of the row's elements."""
    if SEEDED:
        return screening_exponential(counter_uniform(key, token_ids))
    else:
        return stream_exponential(stream_uniform(key, offset, first + token_ids, threads), HARDWARE)


@jit
def block_winner(ratio, logits, token_ids, key, temperature, SEEDED: tl.constexpr):
    """Who wins among a block: (score float64, token id, logit, whether rounding might say otherwise).

    ratio: weight / noise in float32, negative for what takes no part. With seeds the few tokens within ``SCREEN`` of
    the best are scored by logit / T - log(noise) in float64; of equal scores the lowest id wins.
    """
    best = tl.max(ratio)
    if SEEDED:
        # float32 finds the few tokens near the best; only they are scored in float64.
        near = ratio >= best * (1.0 - SCREEN)
        score = tl.full((), -float("inf"), tl.float64)
        winner, last = tl.full((), NONE, tl.int64), tl.full((), -1, tl.int64)
        close = tl.full((), 0, tl.int32)
        token = tl.min(tl.where(near, token_ids, NONE))
        looking = best > 0.0  # nothing that weighs 0 can win
        while looking:
            logit = tl.max(tl.where(token_ids == token, logits, -float("inf"))).to(tl.float64)
            raced = logit / temperature - tl.log(exact_exponential(counter_uniform(key, token)))
            margin = SEEDED_MARGIN * (1.0 + tl.abs(raced))
            better = (raced > score) | (winner == NONE)
            close = tl.where(tl.abs(raced - score) <= margin, 1, tl.where(better, 0, close))
            winner, score = tl.where(better, token, winner), tl.where(better, raced, score)
            last = token
            token = tl.min(tl.where(near & (token_ids > last), token_ids, NONE))
            looking = token < NONE
    else:
        # In torch's stream the race is float32's own, and rivals within its rounding make a doubt.
        score = tl.where(best > 0.0, best.to(tl.float64), -float("inf"))
        winner = tl.where(best > 0.0, tl.min(tl.where(ratio == best, token_ids, NONE)), NONE)
        close = (tl.sum((ratio >= best * (1.0 - STREAM_MARGIN)).to(tl.int32)) > 1).to(tl.int32)
    logit = tl.max(tl.where(token_ids == winner, logits, -float("inf")))
    return score, winner, logit, close


@jit
def border_room(border, top, vocab_size, listed, others, formed):
    """How far, relative to the mass, transformers' end of the nucleus may be from ours: ``nucleus_ends``.

    listed: how many tokens are known one by one. others: the share of the mass of the rest. formed: 1 where the mass is
    that of products with the reciprocal of the temperature, else 0.
    """
    running = EXP_ERROR + UNIT * (FEW_ADDITIONS + 2 * listed / LANES + others * ((vocab_size + listed) / LANES))
    return 1.01 * border * running + MASS_ERROR + formed * SCALED_ERROR * (tl.abs(top).to(tl.float64) + WITHIN)


@jit
def verdict(scaled, top, strictly, level, larger, ahead, mass, border, room, min_p, SEEDED: tl.constexpr):
    """Whether the filters keep a token, and whether rounding or the order of equals might say otherwise.

    strictly, level: the weight of the larger logits, and of the equal ones, the token's own included. larger, ahead:
    the weight and the number of the tokens in front of it: larger ones, and equal ones with higher ids, for a stable
    ascending sort drops lower ids first. CUDA's sort is stable; the CPU's, whose tokens seeded draws have, is not.
    The best token is always kept.
    """
    share = 1.0 - border
    kept = (border < 0.0) | (ahead == 0) | (larger < share * mass)
    # CUDA's sort is stable, so what is in front is known; on the CPU equals may stand in any order.
    least, most = larger, larger
    if SEEDED:
        least, most = strictly, strictly + level - tl.exp(scaled - top).to(tl.float64)
    unsure = (border >= 0.0) & (most > 0.0) & (most >= (share - room) * mass) & (least < (share + room) * mass)
    ratio = tl.exp((scaled - top).to(tl.float64))
    below = scaled < top
    kept = kept & ((ratio >= min_p) | (scaled == top))
    unsure = unsure | (below & (min_p > 0.0) & (tl.abs(ratio - min_p) <= 2.0 * EXP_ERROR * min_p))
    return kept, unsure
