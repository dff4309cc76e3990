"""Which tokens temperature, top-k, top-p and min-p leave, decided on the few largest logits of each row.

A shortlist proves what it says. For every token it knows one of three things: the library certainly keeps it, the
library certainly drops it, or rounding and the order of equal logits decide (the token is doubtful). Only where a
doubtful token would win the draw is the library's own arithmetic needed for that row.

Rounding bounds, for the library's float32 softmax over the sorted row and its running sum (kept in float64, rounded to
float32): each exponential is within 20 units in the last place, and the normaliser adds the row in vector lanes from
the smallest up, so that its relative error is at most 2**-24 * (mean rank of the mass / lanes + a constant).

Source: a list that grows until it holds the nucleus is llama.cpp's, a bound of the tail's mass onnxruntime-genai's
(``FindNucleus``); what is certain of the library's result is proven here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..options.batch_options import CompiledParams
from ..options.numpy_or_torch import Array, along, as_tensor, double, namespace, on_host, single, whole
from ..options.validation import check_row_maxima, divided
from .candidates import largest
from .peaks import Listed, Peaks
from .rest import Rest, bounded_rest, exact_rest

EXP_ERROR = 8e-6  # two exponentials of 20 units in the last place each, a division and a product, relative
UNIT = 2.0**-24
_FAST = ("temperature", "top_k", "top_p", "min_p")
FIRST_COUNT, FIRST_FOR_MIN_P, GROWTH, MOST = 384, 48, 8, 8192


@dataclass(frozen=True)
class Shortlist:
    """The largest logits of N rows, largest first: numpy arrays for logits on the CPU, tensors elsewhere.

    values, scaled: [N, M] float32, the logits as given and divided by the temperature; -inf where a row has no more.
    token_ids: [N, M]. possible: [N, M] bool, what the library may keep. certain: [N, M] bool, what it keeps for sure,
    if it is possible. settled: [N] bool, whether every token that is not listed is certainly dropped.
    listed: what it was made from. loose: whether the row's mass is only known between bounds.
    """

    values: Array
    scaled: Array
    token_ids: Array
    possible: Array
    certain: Array
    settled: Array
    listed: Listed
    loose: bool


def covers(params: CompiledParams, dtype: torch.dtype) -> bool:
    """Whether shortlists can decide these filters: of the four, in transformers' order, and truncating at all."""
    in_order = params.active == tuple(name for name in _FAST if name in params.active)
    truncating = any(name != "temperature" for name in params.active)
    return in_order and truncating and "dynamic_temperature" not in params.on and dtype != torch.float64


def first_count(params: CompiledParams, vocab_size: int) -> int:
    """How many logits to look at first: one more than top-k, and some for ties in 16-bit logits."""
    k = params.largest_top_k
    if k > 0 and not params.joint:
        return min(max(k, params.min_tokens_to_keep) + 1, vocab_size)
    return min(FIRST_COUNT if "top_p" in params.on else FIRST_FOR_MIN_P, vocab_size)


def shortlists(
    logits: Tensor,
    params: CompiledParams,
    *,
    validate: bool = False,
    aside: Callable[[Peaks | Listed], set[int]] | None = None,
) -> tuple[list[tuple[Array | None, Shortlist]], list[int]]:
    """Shortlists of all rows of ``logits`` [N, V], longer for the rows that need it, and the rows without one.

    Each comes with the rows [n] it is for; None stands for all. aside: which rows need none; they are in neither.
    """
    count = first_count(params, logits.shape[1])
    known = large_logits(logits, count, validate=validate)
    others = aside(known) if aside is not None else set()
    if others and len(others) == logits.shape[0]:
        return [], []
    listed = list_large(known, params)
    if listed is None:  # much to list: row by row, for the sake of memory
        parts, unsettled = [], []
        for row in range(logits.shape[0]):
            if row in others:
                continue
            part = _longer(logits, params, row, count, None)
            unsettled += [] if part is not None else [row]
            parts += [(_one(row, logits), part)] if part is not None else []
        return parts, unsettled
    part = decide(listed, params, logits)
    if bool(part.settled.all()):
        return [(None, part)], []
    parts, unsettled = [(None, part)], []
    for row in as_tensor(~part.settled).nonzero()[:, 0].tolist():
        if row in others:
            continue
        longer = _longer(logits, params, row, count, listed.row(row))
        unsettled += [] if longer is not None else [row]
        parts += [(_one(row, logits), longer)] if longer is not None else []
    return parts, unsettled


def _one(row: int, logits: Tensor) -> Array:
    return on_host(torch.tensor([row], device=logits.device))


def _longer(logits: Tensor, params: CompiledParams, row: int, count: int, listed: Listed | None) -> Shortlist | None:
    """A shortlist of one row that is settled: with the row's exact mass, then from more and more logits."""
    logits = logits[row : row + 1]
    params = params.select_rows(torch.tensor([row], device=logits.device))
    part = None if listed is None else decide(listed, params, logits, exact=True)
    while part is None or not bool(part.settled):
        if part is not None:
            if count >= min(MOST, logits.shape[1]):
                return None
            count = min(count * GROWTH, logits.shape[1])
        listed = list_large(large_logits(logits, count), params) or _exactly(logits, count)
        part = decide(listed, params, logits, exact=True)
    return part


def large_logits(logits: Tensor, count: int, *, validate: bool = False) -> Peaks | Listed:
    """Where the ``count`` largest logits of each row are: the maxima of its groups on the CPU, a list elsewhere.

    validate: raise if a row has NaN, +inf or only -inf; always done on the CPU.
    """
    if logits.device.type == "cpu":
        return Peaks(logits, count)
    listed = _exactly(logits, count)
    if validate:
        check_row_maxima(listed.top[:, 0])
    return listed


def list_large(known: Peaks | Listed, params: CompiledParams) -> Listed | None:
    """The ``count`` largest logits of each row or more, or those that min-p may keep; None if they are many."""
    if isinstance(known, Listed):
        return known
    min_p = params.arrays.get("min_p", 0.0)
    if len(params.on) > 1 + ("temperature" in params.on) or not np.all(min_p):
        return known.listed()
    # Nothing below this can be kept; rounding of the quotients is within the last term.
    temperature = params.arrays.get("temperature", 1.0)
    least = known.top + temperature * (np.log(min_p) - 4 * EXP_ERROR) - 1e-6 * np.abs(known.top)
    return known.listed(np.minimum(single(least), known.top))


def _exactly(logits: Tensor, count: int) -> Listed:
    values, token_ids = largest(logits, count)
    values = values.to(torch.float32)
    bound = values[:, -1:] if values.shape[1] < logits.shape[1] else torch.full_like(values[:, -1:], -torch.inf)
    return Listed(on_host(values), on_host(token_ids), on_host(bound))


def decide(listed: Listed, params: CompiledParams, logits: Tensor, *, exact: bool = False) -> Shortlist:
    """What the filters keep of the listed logits of these rows.

    exact: where the row's mass matters, form it; else bounds of it may do.
    """
    on, keep = params.arrays, params.min_tokens_to_keep
    values, bound = listed.values, listed.bound
    temperature = on.get("temperature", 1.0)
    scaled, bound = _divided(values, temperature), _divided(bound, temperature)
    weight = namespace(scaled).exp(double(scaled - scaled[:, :1]))  # 1 for the best
    settled = bound == -torch.inf
    certain = possible = scaled > -torch.inf
    inside, unlimited, loose = weight, True, False
    if "top_k" in on:
        lowest = _kth(scaled, on["top_k"], keep)
        certain = possible = possible & (scaled >= lowest)
        settled = settled | (bound < lowest)
        if not params.joint:
            inside = weight * possible
            unlimited = on["top_k"] == 0
    if "top_p" in on:
        rest = None
        if unlimited is True or (not isinstance(unlimited, bool) and bool(unlimited.any())):
            loose = listed.maxima is not None and not exact
            rest = bounded_rest(listed, temperature) if loose else exact_rest(logits, temperature, scaled, weight)
            if unlimited is not True:
                rest = Rest(*(part * unlimited for part in rest))
        above, within, done = _in_nucleus(scaled, inside, bound, rest, on["top_p"], keep, logits.shape[1])
        certain, possible, settled = certain & above, possible & within, settled | done
    if "min_p" in on:
        above, within, done = _above_min_p(weight, scaled, bound, on["min_p"], keep)
        certain, possible, settled = certain & above, possible & within, settled | done
    return Shortlist(values, scaled, listed.token_ids, possible, certain, settled[:, 0], listed, loose)


def _divided(x: Array, temperature: float | Array) -> Array:
    if isinstance(x, Tensor):
        return divided(x, temperature)
    return x if isinstance(temperature, float) and temperature == 1.0 else x / np.float32(temperature)


def _kth(scaled: Array, top_k: float | Array, keep: int) -> float | Array:
    """What top-k keeps from, [N, 1] or for all rows; -inf where it is off or longer than the list."""
    listed = scaled.shape[1]
    if isinstance(top_k, float):
        rank = max(int(top_k), keep)
        return scaled[:, rank - 1 : rank] if rank <= listed else -torch.inf
    xp = namespace(scaled)
    rank = xp.clip(top_k, keep, None)
    lowest = along(scaled, whole(xp.clip(rank, 1, listed) - 1))
    return xp.where((top_k == 0) | (rank > listed), -torch.inf, lowest)


def _in_nucleus(
    scaled: Array,
    inside: Array,
    bound: Array,
    rest: Rest | None,
    top_p: float | Array,
    keep: int,
    vocab_size: int,
) -> tuple[Array, Array, Array | bool]:
    """Which tokens top-p certainly keeps, which it may keep, [N, M] bool each, and whether it keeps nothing else.

    inside: [N, M] float64, the weights, 0 for what top-k dropped. rest: of what is not listed; None where top-k drops
    all of it.
    """
    xp, listed = namespace(scaled), scaled.shape[1]
    border = float32_border(top_p) if isinstance(top_p, float) else double(single(1 - top_p))
    upto = inside.cumsum(1)
    before = upto - inside  # the weight of all tokens larger than this one
    least = most = upto[:, -1:]
    # Relative error of the running sum. The rank of what is listed is at most M, of the rest (M + V) / 2 in the mean.
    slack: float | Array = EXP_ERROR + UNIT * (listed / 4 + 40)
    error: float | Array = 1e-14
    if rest is not None:
        least, most = least + rest.least, most + rest.most
        slack = slack + rest.most / most * (UNIT * (vocab_size + listed) / 8)
        error = error + rest.error
    room = 1.01 * border * slack + error
    limit = most * (1 - border + room)
    above, within, done = before < least * (1 - border - room), before < limit, False
    if bool(((scaled[:, 1:] == scaled[:, :-1]) & (scaled[:, 1:] > -torch.inf)).any()):
        # Equal logits stand in any order: such a run is kept if its last token is, dropped if its first token is.
        above = above & (scaled > xp.amax(xp.where(above, -torch.inf, scaled), 1)[:, None])
        within = within | (scaled >= xp.amin(xp.where(within, scaled, torch.inf), 1)[:, None])
    if rest is not None:
        over = scaled > bound
        above = above & over  # a run that ends the list may go on behind it
        done = (inside * over).sum(1)[:, None] >= limit
    if keep > 1 or _largest(border) > 0.9:
        above, within, done = _but_the_best(scaled, bound, keep, 0.0, above, within, done)
    if not isinstance(top_p, float):
        off = top_p >= 1.0
        above, within, done = above | off, within | off, done & ~off
    return above, within, done


@lru_cache(maxsize=256)
def float32_border(top_p: float) -> float:
    """``1 - top_p`` as the library compares with it."""
    return torch.tensor(1 - top_p, dtype=torch.float32).item()


def _above_min_p(
    weight: Array, scaled: Array, bound: Array, min_p: float | Array, keep: int
) -> tuple[Array, Array, Array]:
    """Which tokens min-p certainly keeps, which it may keep, and whether it keeps nothing that is not listed."""
    above, within = weight > min_p * (1 + 2 * EXP_ERROR), weight >= min_p * (1 - 2 * EXP_ERROR)
    limit = namespace(bound).exp(double(bound - scaled[:, :1]))
    done = limit < min_p * (1 - 2 * EXP_ERROR)
    if keep > 1 or _largest(min_p) > 0.9:
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


def _largest(option: float | Array) -> float:
    return option if isinstance(option, float) else float(option.max()) if len(option) else 0.0
