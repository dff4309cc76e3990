"""The decision: what temperature, top-k, top-p and min-p leave of each row's largest logits, for draws and for masks.

It proves what it says. For every token it knows one of three things: transformers certainly keeps it, certainly drops
it, or rounding and the order of equal logits decide (the token is possible, not certain). Only where such a token would
win the draw is transformers' own arithmetic needed for that row. The bounds are those of ``error_bounds``.

Source: a list that grows until it holds the nucleus is llama.cpp's, a bound of the tail's mass onnxruntime-genai's
(``FindNucleus``); what is certain of the result is proven here.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from ..options.batch_options import CompiledParams
from ..options.numpy_or_torch import Array, double, namespace, single
from ..options.validation import divided
from .error_bounds import EXP_ERROR, FEW_ADDITIONS, FLOAT64_UNIT, LANES, UNIT
from .large_logits import LargeLogits

_FILTERS = ("temperature", "top_k", "top_p", "min_p")


@dataclass(frozen=True)
class RowFilters:
    """What temperature, top-k, top-p and min-p ask of N rows; each a float, [N, 1] float64, or None for off.

    border: 1 - top_p as transformers compares with it; negative in rows without top-p. largest_top_k: over the rows.
    joint: top-p is judged on the distribution before top-k. keep: no filter leaves fewer. typical: typical-p, which
    then is on alone.
    What follows from these: divisor: the temperature, 1.0 where it is off. listable: whether the largest logits may
    decide. by_floor: whether min-p alone does, so that what it may keep is known from the largest. needs_mass: whether
    a row's mass, of what is not listed too, decides anything. share: top-p as it compares, 0 where it is off for all.
    protects_best: whether a filter might drop the best token but for the rule that ``keep`` stay.
    """

    temperature: Any = None
    top_k: Any = None
    border: Any = None
    min_p: Any = None
    joint: bool = False
    keep: int = 1
    largest_top_k: int = 0
    typical: Any = None
    divisor: Any = field(init=False)
    listable: bool = field(init=False)
    by_floor: bool = field(init=False)
    needs_mass: bool = field(init=False)
    share: Any = field(init=False)
    protects_best: bool = field(init=False)

    def __post_init__(self) -> None:
        others = self.top_k is not None or self.border is not None
        derived = {
            "divisor": 1.0 if self.temperature is None else self.temperature,
            "listable": others or self.min_p is not None,
            "by_floor": not others and self.min_p is not None and _everywhere(self.min_p > 0),
            # Where top-k comes first and is on in every row, top-p sees none but listed tokens.
            "needs_mass": self.border is not None and (self.top_k is None or self.joint or not _on(self.top_k)),
            "share": 0.0 if self.border is None else 1.0 - self.border,
            "protects_best": self.keep > 1 or max(_largest(self.border), _largest(self.min_p)) > 0.9,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, params: CompiledParams) -> "RowFilters | None":
        """The filters of ``params``; None if there are others, or these in another order than transformers'."""
        if tuple(name for name in params.active if name != "temperature") == ("typical_p",):
            return cls._of_typical(params)
        in_order = params.active == tuple(name for name in _FILTERS if name in params.active)
        if not in_order or "dynamic_temperature" in params.on:
            return None
        on = params.arrays
        temperature, top_k, top_p, min_p = (on.get(name) for name in _FILTERS)
        border = None if top_p is None else border_of(top_p)
        return cls(temperature, top_k, border, min_p, params.joint, params.min_tokens_to_keep, params.largest_top_k)

    @classmethod
    def _of_typical(cls, params: CompiledParams) -> "RowFilters | None":
        on = params.arrays
        if "dynamic_temperature" in params.on or params.active[-1] != "typical_p":
            return None
        return cls(on.get("temperature"), keep=params.min_tokens_to_keep, typical=on["typical_p"])

    def rows(self, some: Any) -> "RowFilters":
        """Those of some rows."""
        parts = (self.temperature, self.top_k, self.border, self.min_p, self.typical)
        if all(x is None or isinstance(x, float) for x in parts):
            return self
        temperature, top_k, border, min_p, typical = (
            x if x is None or isinstance(x, float) else x[some] for x in parts
        )
        return RowFilters(temperature, top_k, border, min_p, self.joint, self.keep, self.largest_top_k, typical)

    def divided(self, logits: Array) -> Array:
        """The logits divided by the temperature as transformers divides them; the argument itself where it is off."""
        if self.temperature is None:
            return logits
        return (
            divided(logits, self.temperature) if isinstance(logits, Tensor) else logits / np.float32(self.temperature)
        )


def border_of(top_p: float | Array) -> float | Array:
    """``1 - top_p`` as transformers compares with it; -1 where top-p is off."""
    if isinstance(top_p, float):
        return float32_border(top_p)
    return namespace(top_p).where(top_p >= 1.0, -1.0, double(single(1 - top_p)))


@lru_cache(maxsize=256)
def float32_border(top_p: float) -> float:
    """The same of one number."""
    return -1.0 if top_p >= 1.0 else float(np.float32(1 - top_p))


@dataclass(frozen=True)
class Kept:
    """What the filters leave of the listed logits of N rows.

    scaled: [N, M] float32, the logits divided by the temperature. possible: [N, M] bool, what transformers may keep.
    certain: [N, M] bool, what it keeps for sure, if it is possible. settled: [N] bool, whether every token that is not
    listed is certainly dropped.
    """

    large: LargeLogits
    scaled: Array
    possible: Array
    certain: Array
    settled: Array


def keep(large: LargeLogits, filters: RowFilters, vocab_size: int) -> Kept:
    """Decide about the listed logits; where top-p needs a row's mass, ``large`` must know what the others weigh."""
    scaled, bound = large.values, large.bound
    if filters.temperature is not None:
        scaled, bound = filters.divided(scaled), filters.divided(bound)
    # The difference is float32's, as transformers' softmax takes it; only its exponential is float64.
    weight = np.exp(np.asarray(scaled - scaled[:, :1], dtype=np.float64))  # 1 for the best
    settled = bound == -np.inf
    certain = possible = scaled > -np.inf
    inside: Array = weight
    others: LargeLogits | None = large
    if filters.top_k is not None:
        lowest = _kth(scaled, filters.top_k, filters.keep)
        certain = possible = possible & (scaled >= lowest)
        settled = settled | (bound < lowest)
        if not filters.joint:
            inside, others = weight * possible, _without_top_k(large, filters.top_k)
    if filters.border is not None:
        above, within, done = _in_nucleus(scaled, inside, bound, others, filters, vocab_size)
        certain, possible, settled = certain & above, possible & within, settled | done
    if filters.min_p is not None:
        above, within, done = _above_min_p(weight, scaled, bound, filters)
        certain, possible, settled = certain & above, possible & within, settled | done
    return Kept(large, scaled, possible, certain, settled[:, 0])


def nucleus_ends(
    border: Any, least: Any, most: Any, error: Any, vocab_size: int, listed: int = 0, others: Any = 1.0
) -> tuple[Any, Any]:
    """Where a nucleus ends, as the weight of all tokens larger than one: it is certainly kept below the first number,
    certainly dropped from the second up.

    border: 1 - top_p. least, most: the row's mass. error: that of the sums here, relative to the mass. listed, others:
    how many of the largest logits are known one by one, and the share of the mass of all others. Transformers drops a
    token if the sum of all up to it, from the smallest, is at most border: so if mass - larger <= border * mass, each
    side within its error.
    """
    # Of transformers' running sum: LANES says why so few additions count.
    running = EXP_ERROR + UNIT * (FEW_ADDITIONS + 2 * listed / LANES + others * ((vocab_size + listed) / LANES))
    # 1.01: the bound is itself relative to a sum that is off by as much.
    room = 1.01 * border * running + error
    return least * (1 - border - room), most * (1 - border + room)


def _kth(scaled: Array, top_k: float | Array, keep: int) -> float | Array:
    """What top-k keeps from, [N, 1] or for all rows; -inf where it is off or longer than the list."""
    listed = scaled.shape[1]
    if isinstance(top_k, float):
        rank = max(int(top_k), keep)
        return scaled[:, rank - 1 : rank] if rank <= listed else -np.inf
    rank = np.clip(top_k, keep, None)
    lowest = np.take_along_axis(scaled, np.clip(rank, 1, listed).astype(np.int64) - 1, 1)
    return np.where((top_k == 0) | (rank > listed), np.float32(-np.inf), lowest)


def _without_top_k(large: LargeLogits, top_k: float | Array) -> LargeLogits | None:
    """What weighs beside the listed logits once top-k is applied: nothing, or only in rows where it is off."""
    if isinstance(top_k, float) or large.most is None:
        return None
    off = top_k == 0
    if not bool(off.any()):
        return None
    parts = (large.least * off, large.most * off, large.error * off)
    return LargeLogits(large.values, large.token_ids, large.bound, None, 1, *parts)


def _in_nucleus(
    scaled: Array,
    inside: Array,
    bound: Array,
    others: LargeLogits | None,
    filters: RowFilters,
    vocab_size: int,
) -> tuple[Array, Array, Array | bool]:
    """Which tokens top-p certainly keeps, which it may keep, [N, M] bool each, and whether it keeps nothing else.

    inside: [N, M] float64, the weights, 0 for what top-k dropped. others: what is not listed weighs; None if nothing.
    """
    listed, border = scaled.shape[1], filters.border
    upto = inside.cumsum(1)
    before = upto - inside  # the weight of all tokens larger than this one
    least = most = upto[:, -1:]
    share: float | Array = 0.0
    error: float | Array = FLOAT64_UNIT * (listed + 1)
    if others is not None and others.most is not None:
        least, most = least + others.least, most + others.most
        share, error = others.most / most, error + others.error
    sure, limit = nucleus_ends(border, least, most, error, vocab_size, listed, share)
    above, within, done = before < sure, before < limit, False
    if bool(((scaled[:, 1:] == scaled[:, :-1]) & (scaled[:, 1:] > -np.inf)).any()):
        # Equal logits stand in any order: such a run is kept if its last token is, dropped if its first token is.
        above = above & (scaled > np.where(above, -np.inf, scaled).max(1)[:, None])
        within = within | (scaled >= np.where(within, scaled, np.inf).min(1)[:, None])
    if others is not None and others.most is not None:
        over = scaled > bound
        above = above & over  # a run that ends the list may go on behind it
        done = (inside * over).sum(1)[:, None] >= limit
    if filters.protects_best:
        above, within, done = _but_the_best(scaled, bound, filters.keep, 0.0, above, within, done)
    if not isinstance(border, float):
        off = border < 0
        above, within, done = above | off, within | off, done & ~off
    return above, within, done


def _above_min_p(weight: Array, scaled: Array, bound: Array, filters: RowFilters) -> tuple[Array, Array, Array]:
    """Which tokens min-p certainly keeps, which it may keep, and whether it keeps nothing that is not listed."""
    min_p, keep = filters.min_p, filters.keep
    above, within = weight > min_p * (1 + 2 * EXP_ERROR), weight >= min_p * (1 - 2 * EXP_ERROR)
    limit = np.exp(np.asarray(bound - scaled[:, :1], dtype=np.float64))
    done = limit < min_p * (1 - 2 * EXP_ERROR)
    if filters.protects_best:
        above, within, done = _but_the_best(weight, limit, keep, 2 * EXP_ERROR, above, within, done)
    return above, within, done


def _but_the_best(
    size: Array, bound: Array, keep: int, error: float, above: Array, within: Array, done: Array | bool
) -> tuple[Array, Array, Array | bool]:
    """No filter drops the ``keep`` largest; among equals it depends on their order which those are.

    size: [N, M], by what the filter ranks, up to a relative error. bound: [N, 1], what nothing unlisted exceeds.
    """
    if keep >= size.shape[1]:
        return above | (size > bound * (1 + error)), within | (size >= bound), False
    last = size[:, keep - 1 : keep] * (1 - error)
    return above | (size > size[:, keep : keep + 1] * (1 + error)), within | (size >= last), done & (bound < last)


def _on(top_k: float | Array) -> bool:
    """Whether top-k is on in every row; a number is on."""
    return isinstance(top_k, float) or not bool((top_k == 0).any())


def _everywhere(found: bool | Array) -> bool:
    return found if isinstance(found, bool) else bool(found.all())


def _largest(option: Any) -> float:
    """Of a number or one for each row; 0 where it is off."""
    if option is None or isinstance(option, float):
        return option or 0.0
    return float(option.max()) if len(option) else 0.0
