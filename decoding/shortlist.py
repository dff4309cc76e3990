"""Which tokens temperature, top-k, top-p and min-p leave, decided on the few largest logits of each row.

A shortlist proves what it says. For every token it knows one of three things: the library certainly keeps it, the
library certainly drops it, or rounding and the order of equal logits decide (the token is doubtful). Only where a
doubtful token would win the draw is the library's own arithmetic needed for that row.

Rounding bounds, for the library's float32 softmax over the sorted row and its running sum (kept in float64, rounded to
float32): each exponential is within 20 units in the last place, and the normaliser adds the row in vector lanes from
the smallest up, so that its relative error is at most 2**-24 * (mean rank of the mass / lanes + a constant).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .candidates import MASS_ERROR, largest, row_mass
from .params import CompiledParams
from .rows import check_row_maxima, divided

_EXP = 8e-6  # two exponentials of 20 units in the last place each, a division and a product, relative
_UNIT = 2.0**-24
_FAST = ("temperature", "top_k", "top_p", "min_p")
FIRST_COUNT, FIRST_FOR_MIN_P, GROWTH, MOST = 128, 48, 8, 8192


@dataclass(frozen=True)
class Shortlist:
    """The largest logits of N rows, largest first.

    values, scaled: [N, M] float32, the logits as given and divided by the temperature. token_ids: [N, M].
    possible: [N, M] bool, what the library may keep. certain: [N, M] bool, what it keeps for sure, if it is possible.
    settled: [N] bool, whether every token that is not listed is certainly dropped; None where all rows are.
    """

    values: Tensor
    scaled: Tensor
    token_ids: Tensor
    possible: Tensor
    certain: Tensor
    settled: Tensor | None


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
    logits: Tensor, params: CompiledParams, *, validate: bool = False
) -> tuple[list[tuple[Tensor | None, Shortlist]], list[int]]:
    """Shortlists of all rows of ``logits`` [N, V], longer for the rows that need it, and the rows without one.

    Each comes with the rows [n] it is for; None stands for all.
    """
    count = first_count(params, logits.shape[1])
    part = shortlist(logits, params, count, validate=validate)
    if part.settled is None or bool(part.settled.all()):
        return [(None, part)], []
    parts: list[tuple[Tensor | None, Shortlist]] = [(None, part)]
    unsettled = []
    for row in (~part.settled).nonzero()[:, 0].tolist():
        one = torch.tensor([row], device=logits.device)
        listed = _longer(logits[row : row + 1], params.select_rows(one), count)
        if listed is None:
            unsettled.append(row)
        else:
            parts.append((one, listed))
    return parts, unsettled


def _longer(logits: Tensor, params: CompiledParams, count: int) -> Shortlist | None:
    while count < min(MOST, logits.shape[1]):
        count = min(count * GROWTH, logits.shape[1])
        listed = shortlist(logits, params, count)
        if listed.settled is None or bool(listed.settled):
            return listed
    return None


def shortlist(logits: Tensor, params: CompiledParams, count: int, *, validate: bool = False) -> Shortlist:
    """Decide what the filters keep, from the ``count`` largest logits of each row: logits [N, V] float.

    validate: raise if a row has NaN, +inf or only -inf.
    """
    on, keep = params.on, params.min_tokens_to_keep
    vocab_size = logits.shape[1]
    values, token_ids = largest(logits, count)
    temperature = on.get("temperature", 1.0)
    values = values.to(torch.float32)
    scaled = divided(values, temperature) if "temperature" in on else values
    listed = scaled.shape[1]
    if params.uniform and keep == 1 and not params.joint and listed > 1:
        # Finite logits of which no two are equal leave less to decide.
        smallest, largest_gap = torch.aminmax(scaled[:, :-1] - scaled[:, 1:])
        if smallest.item() > 0 and largest_gap.item() < math.inf:
            return _plain(values, scaled, token_ids, logits, on)
    if validate:
        check_row_maxima(values[:, 0])
    weight = (scaled - scaled[:, :1]).to(torch.float64).exp_()  # 1 for the best
    dropped = torch.zeros_like(scaled, dtype=torch.bool)
    sure = ~dropped
    everything = listed == vocab_size

    ranked = None
    if "top_k" in on:
        ranked = _in_top_k(scaled, on["top_k"], keep)
        dropped = ~ranked
    if "top_p" in on:
        limited = ranked is not None and not params.joint
        inside = torch.where(ranked, weight, 0.0) if limited and ranked is not None else weight
        rest = None
        if not (limited and _always_on(on["top_k"])):
            mass = row_mass(logits, temperature, scaled[:, :1]) if not everything else weight.sum(-1, keepdim=True)
            rest = (mass - weight.sum(-1, keepdim=True)).clamp_(min=0.0)
            if limited:  # rows whose own top_k is off
                rest = torch.where(on["top_k"] == 0, rest, 0.0)  # type: ignore[arg-type]
        certain, possible = _in_nucleus(scaled, inside, rest, on["top_p"], keep, vocab_size)
        dropped = dropped | ~possible
        sure = certain
    if "min_p" in on:
        certain, possible = _above_min_p(weight, on["min_p"], keep)
        dropped = dropped | ~possible
        sure = sure & certain
    return Shortlist(values, scaled, token_ids, ~dropped, sure, None if everything else dropped[:, -1])


def _mass_error(scaled: Tensor) -> Tensor:
    """Relative error of ``row_mass`` over these rows, [N, 1]: tokens that weigh at all are within 20 of the top."""
    return MASS_ERROR + 2e-7 * (scaled[:, :1].abs().to(torch.float64) + 20)


def _plain(
    values: Tensor, scaled: Tensor, token_ids: Tensor, logits: Tensor, on: dict[str, float | Tensor]
) -> Shortlist:
    """The same decisions with fewer operations: one option for all rows, and no two listed logits equal."""
    vocab_size = logits.shape[1]
    top_k = int(on.get("top_k", 0))
    if 0 < top_k < scaled.shape[1]:
        values, scaled, token_ids = values[:, :top_k], scaled[:, :top_k], token_ids[:, :top_k]
    complete = top_k > 0 or scaled.shape[1] == vocab_size
    weight = (scaled - scaled[:, :1]).to(torch.float64).exp_()
    possible = certain = None
    if "top_p" in on:
        border = _float32_border(float(on["top_p"]))
        before = weight.cumsum(1)  # weight of all tokens before this one, once its own is taken off
        total, slack = before[:, -1:], _EXP + _UNIT * (scaled.shape[1] / 4 + 40)
        before = before - weight
        if complete:
            least, most = total * (1 - border / (1 - slack) - 1e-14), total * (1 - border / (1 + slack) + 1e-14)
        else:
            mass = row_mass(logits, on.get("temperature", 1.0), scaled[:, :1])
            rest = (mass - total).clamp_(min=0.0)
            # The rank of what is listed is at most M, of the rest (M + V) / 2 in the mean.
            room = border * (slack + rest / mass * (_UNIT * (vocab_size + scaled.shape[1]) / 8)) + _mass_error(scaled)
            least, most = mass * (1 - border - room), mass * (1 - border + room)
        certain, possible = before < least, before < most
        if border > 0.9:  # the best token is kept whatever the border
            certain[:, 0] = True
            possible[:, 0] = True
    if "min_p" in on:
        above = weight > float(on["min_p"]) * (1 + 2 * _EXP)
        within = weight >= float(on["min_p"]) * (1 - 2 * _EXP)
        if float(on["min_p"]) > 0.9:
            above[:, 0] = True
            within[:, 0] = True
        certain = above if certain is None else certain & above
        possible = within if possible is None else possible & within
    if certain is None or possible is None:
        certain = possible = torch.ones_like(scaled, dtype=torch.bool)
    return Shortlist(values, scaled, token_ids, possible, certain, None if complete else ~possible[:, -1])


def _always_on(top_k: float | Tensor) -> bool:
    return not isinstance(top_k, Tensor) or bool((top_k > 0).all())


def _in_top_k(scaled: Tensor, top_k: float | Tensor, keep: int) -> Tensor:
    """Exactly the tokens that top-k keeps, among the listed."""
    listed = scaled.shape[1]
    if not isinstance(top_k, Tensor):
        rank = max(int(top_k), keep)
        return scaled >= scaled[:, rank - 1, None] if rank <= listed else torch.ones_like(scaled, dtype=torch.bool)
    ranks = top_k.long().clamp(min=keep)
    threshold = scaled.gather(1, ranks.clamp(max=listed) - 1)
    return (scaled >= threshold) | (top_k == 0) | (ranks > listed)


def _in_nucleus(
    scaled: Tensor, weight: Tensor, rest: Tensor | None, top_p: float | Tensor, keep: int, vocab_size: int
) -> tuple[Tensor, Tensor]:
    """Which tokens top-p certainly keeps, and which it may keep: [N, M] bool each.

    weight: [N, M] float64, 0 for what top-k dropped. rest: [N, 1], the weight of what is not listed.
    """
    listed = weight.shape[1]
    tail = weight.flip(1).cumsum(1).flip(1)  # weight of this token and all after it
    total = tail[:, :1]
    rank = torch.arange(1, listed + 1, dtype=torch.float64, device=weight.device)
    mean_rank = (weight * rank).sum(1, keepdim=True)
    if rest is not None:
        tail = tail + rest
        total = total + rest
        # What is not listed is no larger than what is: its mean rank is at most the middle of the remaining ranks.
        mean_rank = mean_rank + rest * ((listed + vocab_size) / 2)
    relative = _EXP + _UNIT * (mean_rank / total / 4 + 40)
    slack = tail * relative
    if rest is not None:
        slack = slack + total * _mass_error(scaled) * (rest > 0)
    one = top_p if isinstance(top_p, Tensor) else None
    border = total * (_float32_border(float(top_p)) if one is None else (1 - one).to(torch.float32).to(torch.float64))
    above, below = tail - slack > border, tail + slack <= border
    if keep < listed:
        above = above | (scaled > scaled[:, keep, None])
        below = below & (scaled < scaled[:, keep - 1, None])
    else:
        above = torch.ones_like(above)
        below = torch.zeros_like(below)
    if bool((scaled[:, 1:] == scaled[:, :-1]).any()):
        # Equal logits stand in any order: such a run is kept if its last token is, dropped if its first token is.
        falling = -scaled
        first = torch.searchsorted(falling, falling)
        last = torch.searchsorted(falling, falling, right=True) - 1
        # A run that ends the list may go on behind it.
        above = above.gather(1, last) & (scaled > scaled[:, -1:]) if rest is not None else above.gather(1, last)
        below = below.gather(1, first)
    if isinstance(top_p, Tensor):
        off = top_p >= 1.0
        above, below = above | off, below & ~off
    return above, ~below


@lru_cache(maxsize=256)
def _float32_border(top_p: float) -> float:
    """``1 - top_p`` as the library compares with it."""
    return torch.tensor(1 - top_p, dtype=torch.float32).item()


def _above_min_p(weight: Tensor, min_p: float | Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Which tokens min-p certainly keeps, and which it may keep."""
    above, below = weight > min_p * (1 + 2 * _EXP), weight < min_p * (1 - 2 * _EXP)
    if keep < weight.shape[1]:
        above = above | (weight > weight[:, keep, None] * (1 + 2 * _EXP))
        return above, ~(below & (weight < weight[:, keep - 1, None] * (1 - 2 * _EXP)))
    return torch.ones_like(above), torch.ones_like(above)
