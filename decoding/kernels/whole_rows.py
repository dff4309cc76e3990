"""The exponential race of every token of a row, its filters asked about the winner alone.

Where a nucleus is wide a list of the largest logits does not hold it, and a sort of the row takes longer than all of
its noise. A race needs neither: weights exp(x - largest) are divided by the noise as they are, and only the token that
wins is looked up in the filters. Top-p keeps it if the tokens below it weigh more than 1 - top_p together: one sum. If
it is dropped, so is everything smaller, and the next one wins. All of it happens in float32 in blocks of rows that stay
in cache; where rounding might decide who wins or whether it is kept, the row is not certain.

Nor does it need the logarithm in the noise of counters: the uniform number u under it is never larger, so weight / u
bounds weight / noise from above. The token with the largest bound comes to something at least, and only those whose
bound reaches that are looked at: in most rows it alone.

Source: of independent exponential times with rates p the first is token i with probability p_i (Gumbel 1954; Maddison,
Tarlow and Minka 2014), and torch.multinomial draws so; FlashInfer asks a proposed token's mass in the same way
(``TopPSamplingFromProbKernel``).
"""

from collections.abc import Iterable
from functools import lru_cache
from math import log1p
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .candidates import largest
from .decision import RowFilters, nucleus_ends
from .error_bounds import (
    EXP_ERROR,
    FEW_ADDITIONS,
    LANES,
    LEAST_NOISE_ERROR,
    MASS_ERROR,
    NEAR,
    RACE_MARGIN,
    UNIT,
    scaled_error,
    typical_error,
)
from .row_noise import PIECE, CounterBlock, Floats, NoiseBlock, Places

_FEW = 6  # so many tokens of a row race faster in Python
_TINY = np.float32(1e-37)  # a ratio of no token in a race: those are cleared to 0


class Block:
    """The race of some rows: logits [n, V] float32 divided by the temperature, the largest of each in ``top`` [n, 1].

    ratios: [n, V], at least weight over noise, 0 for what takes no part; the largest wins.
    A ``margin`` is relative, by how much a winner must be ahead, a number or [n].
    """

    def __init__(self, scaled: Floats, top: Floats, filters: RowFilters, noise: NoiseBlock):
        self.filters, self.noise = filters, noise
        self.mass: NDArray[np.float64] | None = None  # of each row, [n], where a filter asks
        self.weights = weights = scaled - top
        np.exp(weights, out=weights)
        # Jointly, top-p is judged on all tokens: the mass is taken before top-k clears any.
        if filters.joint:
            self._weigh()
        if filters.top_k is not None:
            weights *= scaled >= _kth(scaled, filters.top_k)
        if filters.border is not None and self.mass is None:
            self._weigh()
        vocab_size = scaled.shape[1]
        if vocab_size <= PIECE:
            least = noise.least(0, vocab_size)
            self.ratios = np.divide(self._racing(weights), least, out=least)
            return
        self.ratios = np.empty_like(weights)
        for left in range(0, vocab_size, PIECE):
            right = min(left + PIECE, vocab_size)
            np.divide(self._racing(weights[:, left:right]), noise.least(left, right), out=self.ratios[:, left:right])

    def _weigh(self) -> None:
        self.mass = self.weights.sum(1).astype(np.float64)

    def _racing(self, weights: Floats) -> Floats:
        """Without what min-p certainly drops."""
        if self.filters.min_p is None:
            return weights
        least = np.float32(self.filters.min_p) * np.float32(1 - 2 * EXP_ERROR)
        racing: Floats = weights * (weights >= least)
        return racing

    def winners(self, margin: Any) -> tuple[Places, NDArray[np.bool_]]:
        """The winning token ids [n], and whether each is certain."""
        filters = self.filters
        tokens, best, alone = self._first(_lines(len(self.ratios)), self.ratios, margin)
        if filters.border is None and filters.min_p is None and filters.typical is None:
            return tokens, alone
        kept, dropped = self._asked(None, tokens)
        certain, left = alone & kept, (dropped & (best > 0)).nonzero()[0]
        while len(left):  # what the filter ranks no better is dropped too: the next one wins
            ratios = np.where(self._no_better(left, tokens[left]), np.float32(0), self.ratios[left])
            self.ratios[left] = ratios
            tokens[left], best, alone = self._first(left, ratios, margin if isinstance(margin, float) else margin[left])
            kept, dropped = self._asked(left, tokens[left])
            certain[left] = alone & kept
            left = left[dropped & (best > 0)]
        return tokens, certain

    def _first(
        self, rows: Places, ratios: Floats, margin: Any
    ) -> tuple[Places, NDArray[np.float64], NDArray[np.bool_]]:
        """The token of each of these rows with the largest weight over its noise, that ratio at least, and whether it
        is ahead. A row where nothing takes part has 0 and is not ahead.
        """
        lines, won = _lines(len(rows)), ratios.argmax(1)
        if len(rows) == 1:
            ratio = self._least_ratio_of(self.weights.item(rows.item(), won.item()), ratios.item(won.item()))
            limit = ratio * (1 - LEAST_NOISE_ERROR - (margin if isinstance(margin, float) else margin.item()))
            near = ratios >= max(np.float32(limit), _TINY)
            count = np.count_nonzero(near)
            if count == 1:
                return won, np.array([ratio]), np.array([True])
            # None is near where nothing takes part, or an endless margin leaves no limit.
            if 0 < count <= _FEW and isinstance(self.noise, CounterBlock):
                return self._first_of_few(self.noise, rows, near.ravel().nonzero()[0], margin)
        best = self._least_ratio(self.weights[rows, won], ratios[lines, won])
        limit = (best * (1 - margin - LEAST_NOISE_ERROR)).astype(np.float32)
        # On one axis numpy finds what is set five times faster.
        line, token = np.divmod((ratios >= np.maximum(limit, _TINY)[:, None]).ravel().nonzero()[0], ratios.shape[1])
        if len(line) == len(lines) and (len(lines) == 1 or bool((line == lines).all())):
            return won, best, np.ones(len(lines), dtype=bool)  # nothing else may win in any row
        exact: NDArray[Any] = ratios[line, token]
        if isinstance(self.noise, CounterBlock):
            exact = self.weights[rows[line], token] / self.noise.exact(rows[line], token)
        best = np.zeros(len(lines))
        np.maximum.at(best, line, exact)
        alone = np.bincount(line[exact > (best * (1 - margin))[line]], minlength=len(lines)) == 1
        first = exact == best[line]
        won[line[first]] = token[first]
        return won, best, alone

    def _first_of_few(
        self, noise: CounterBlock, rows: Places, tokens: Places, margin: Any
    ) -> tuple[Places, NDArray[np.float64], NDArray[np.bool_]]:
        """The same among a few tokens of one row, in Python: where u does not tell them apart, their noise does."""
        times = noise.exact(rows.repeat(len(tokens)), tokens).tolist()
        row, places = rows.item(), tokens.tolist()
        exact = [self.weights.item(row, token) / e for token, e in zip(places, times, strict=True)]
        best = max(exact)
        limit = best * (1 - (margin if isinstance(margin, float) else margin.item()))
        alone = sum(ratio > limit for ratio in exact) == 1
        return np.array([places[exact.index(best)]]), np.array([best]), np.array([alone])

    def _least_ratio(self, weights: Floats, ratios: Floats) -> NDArray[np.float64]:
        """What weight over noise is at least, where it is at most ``ratios``: u is weight / ratio, and no more than
        the block's ``slack`` above it. Without counters the ratios are exact."""
        if not isinstance(self.noise, CounterBlock):
            return ratios.astype(np.float64)
        unit = self.noise.unit
        uniform = weights.astype(np.float64) / ratios * (unit * (1 + LEAST_NOISE_ERROR)) + self.noise.slack
        found: NDArray[np.float64] = weights / (np.log1p(-np.minimum(uniform, 1.0)) * (-1 / unit))
        return found

    def _least_ratio_of(self, weight: float, ratio: float) -> float:
        """The same of one token, in Python, where a tenth of the calls' time counts."""
        if not isinstance(self.noise, CounterBlock):
            return ratio
        if not ratio > 0:
            return 0.0
        uniform = weight / ratio * (self.noise.unit * (1 + LEAST_NOISE_ERROR)) + self.noise.slack
        return weight / (log1p(-uniform) * (-1 / self.noise.unit)) if uniform < 1 else 0.0

    def _no_better(self, rows: Places, won: Places) -> NDArray[np.bool_]:
        """Which tokens of these rows are certainly dropped if those of ``won`` are, [n, V]."""
        weights = self.weights[rows]
        limit = weights[_lines(len(rows)), won] * np.float32(1 + NEAR)
        found: NDArray[np.bool_] = weights <= limit[:, None]
        return found

    def _asked(self, rows: Places | None, won: Places) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether the filters certainly keep the tokens ``won`` of these rows (None: all), and certainly drop them."""
        if len(won) == 1:
            keeps, drops = self._asked_of(0 if rows is None else rows.item(), won.item())
            return np.array([keeps]), np.array([drops])
        filters = self.filters if rows is None else self.filters.rows(rows)
        weights = self.weights if rows is None else self.weights[rows]
        weight = weights[_lines(len(won)), won].astype(np.float64)
        kept, dropped = weight > 0, np.zeros(len(won), dtype=bool)
        if filters.min_p is not None:
            kept &= weight > _flat(filters.min_p) * (1 + 2 * EXP_ERROR)
        if self.mass is not None:
            border, mass = _flat(filters.border), self.mass if rows is None else self.mass[rows]
            sure, limit = nucleus_ends(border, mass, mass, 2 * MASS_ERROR, weights.shape[1])
            at_most = weight * (1 - NEAR)
            inside = (_above(weights, at_most) - at_most < sure) | (border < 0)
            kept &= inside
            if not inside.all():
                dropped = ~inside & (_above(weights, weight * (1 + NEAR)) >= limit)
        return kept, dropped

    def _asked_of(self, row: int, token: int) -> tuple[bool, bool]:
        """The same of one token, in Python's numbers."""
        border, min_p = _of_row(self.filters.border, row), _of_row(self.filters.min_p, row)
        weights = self.weights[row : row + 1]
        weight = weights.item(token)
        kept = weight > 0 and (min_p is None or weight > min_p * (1 + 2 * EXP_ERROR))
        if self.mass is None or border < 0:
            return kept, False
        mass = self.mass.item(row)
        # No token is listed here, so the whole row is of "others" in the bound.
        sure, limit = nucleus_ends(border, mass, mass, 2 * MASS_ERROR, weights.shape[1])
        at_most = weight * (1 - NEAR)
        if _above_of(weights, at_most) - at_most < sure:
            return kept, False
        return False, _above_of(weights, weight * (1 + NEAR)) >= limit


class TypicalBlock(Block):
    """The same where typical-p is on: a token is kept if those whose surprise is closer to the entropy weigh less than
    typical-p together. In units of the largest logit: surprise less entropy is the mean of the gaps less the gap.
    """

    def __init__(self, scaled: Floats, top: Floats, filters: RowFilters, noise: NoiseBlock):
        super().__init__(scaled, top, filters, noise)
        mass = self.mass = self.weights.sum(1).astype(np.float64)
        self.gaps = gaps = scaled - top
        # The entropy less the largest log-probability is minus the mean gap: the normaliser cancels.
        spread = self.weights * np.maximum(gaps, np.float32(-1e30))  # no 0 * inf
        mean = spread.sum(1).astype(np.float64) / mass
        self.distance = np.abs(gaps - mean.astype(np.float32)[:, None])
        self.error = typical_error(np.log(mass) - mean)

    def _no_better(self, rows: Places, won: Places) -> NDArray[np.bool_]:
        distance = self.distance[rows]
        found: NDArray[np.bool_] = distance >= distance[_lines(len(rows)), won][:, None]
        return found

    def _asked(self, rows: Places | None, won: Places) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of the tokens ``won`` [N], of the rows ``rows``, typical-p surely keeps, and which it surely drops.

        A token is kept where those closer to the entropy hold less than ``typical`` of the mass; how close two are is
        known up to ``error``, so the sums are formed over what is surely and over what may be closer.
        """
        chosen = slice(None) if rows is None else rows
        typical = self.filters.typical if isinstance(self.filters.typical, float) else self.filters.typical[chosen, 0]
        distance, weights, mass = self.distance[chosen], self.weights[chosen], np.asarray(self.mass)[chosen]
        lines, error = _lines(len(won)), self.error[chosen]
        own = distance[lines, won]
        off, size = typical >= 1.0, weights.shape[1]
        room = EXP_ERROR + UNIT * (FEW_ADDITIONS + size / LANES) + 2 * MASS_ERROR
        gaps = self.gaps[chosen]
        others = gaps != gaps[lines, won][:, None]  # equal logits are equally close, in any arithmetic
        closer_at_most = (weights * ((distance < (own + error)[:, None]) & others)).sum(1)
        kept = off | (closer_at_most < typical * mass * (1 - room))
        if kept.all():
            return kept, ~kept
        # Strictly closer whatever rounding does: the token's equals are not counted, nor those within the error.
        closer_at_least = (weights * (distance < (own - error)[:, None])).sum(1)
        return kept, ~kept & (closer_at_least >= typical * mass * (1 + room))


def _above_of(weights: Floats, limit: float) -> float:
    """The sum of the weights of a row [1, V] that are larger than ``limit``."""
    total: float = torch.threshold(torch.from_numpy(weights), float(np.float32(limit)), 0.0).numpy().sum(1).item()
    return total


def _of_row(option: Any, row: int) -> Any:
    """A number, or that of a row of [n, 1]; None for off."""
    return option if option is None or isinstance(option, float) else option.item(row)


def _above(weights: Floats, limit: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of the weights [n, V] of each row that are larger than its limit [n]."""
    larger = weights * (weights > limit.astype(np.float32)[:, None])
    total: NDArray[np.float64] = larger.sum(1).astype(np.float64)
    return total


def _flat(option: Any) -> Any:
    """A number, or [n, 1] as [n]."""
    return option if isinstance(option, float) else option[:, 0]


@lru_cache(maxsize=64)
def _lines(count: int) -> Places:
    return np.arange(count)


def whole_row_winners(
    logits: Tensor, top: Floats, filters: RowFilters, noise: Iterable[NoiseBlock], seeded: bool
) -> tuple[Places, NDArray[np.bool_]]:
    """The drawn tokens [N] of the rows of ``logits`` [N, V] that ``noise`` holds, and whether each is certain, [N].

    top: [N, 1] float32, the largest logit of each. Where it is certain the token is that of transformers' operations;
    with seeds that of ``full_winner``, which divides in float64.
    Cost: the noise of a row, one exponential a logit, and a sum of the larger weights for each token asked about.
    """
    count, kind = logits.shape[0], Block if filters.typical is None else TypicalBlock
    tokens = certain = None
    for block in noise:
        rows = block.rows
        if len(rows) == count:  # it goes on: rows behind them that are not drawn move the stream on too
            tokens, certain = _winners(kind, logits, top, filters, block, seeded)
            continue
        if tokens is None or certain is None:
            tokens, certain = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
        one_after_another = rows[-1] - rows[0] + 1 == len(rows)
        some = slice(rows[0], rows[-1] + 1) if one_after_another else list(rows)
        part, asked = logits[some], filters.rows(some)
        tokens[some], certain[some] = _winners(kind, part, top[some], asked, block, seeded)
    if tokens is None or certain is None:  # no row is drawn
        return np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
    return tokens, certain


def _winners(
    kind: type[Block], logits: Tensor, top: Floats, filters: RowFilters, block: NoiseBlock, seeded: bool
) -> tuple[Places, NDArray[np.bool_]]:
    """The same of one block."""
    wide: Floats = (logits if logits.dtype == torch.float32 else logits.to(torch.float32)).numpy()
    if filters.temperature is not None:
        wide, top = filters.divided(wide), filters.divided(top)
    margin = RACE_MARGIN + scaled_error(top.item() if len(top) == 1 else top[:, 0]) if seeded else RACE_MARGIN
    return kind(wide, top, filters, block).winners(margin)


def _kth(scaled: Floats, top_k: Any) -> Floats:
    """The k-th largest of each row, [n, 1]; -inf where k is 0 or all of the row."""
    rows, vocab_size = scaled.shape
    if isinstance(top_k, float) and 0 < top_k < vocab_size:  # one number for all, as most calls have
        last: Floats = largest(torch.from_numpy(scaled), int(top_k))[0][:, -1:].numpy()
        return last
    rank = np.broadcast_to(np.asarray(top_k), (rows, 1)).astype(np.int64)
    rank = np.where(rank >= vocab_size, 0, rank)
    most = int(rank.max())
    if most == 0:
        return np.full((rows, 1), -np.inf, dtype=np.float32)
    values = largest(torch.from_numpy(scaled), most)[0].numpy()
    found = values[np.arange(rows)[:, None], np.maximum(rank, 1) - 1]
    kth: Floats = np.where(rank == 0, np.float32(-np.inf), found)
    return kth
