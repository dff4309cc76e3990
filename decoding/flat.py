"""Seeded draws from flat rows, where a nucleus holds most of a large vocabulary: proposals instead of a race.

A race needs the noise of every token that may win. In a flat row that is the whole vocabulary, but there a token picked
blindly is a good guess: propose tokens uniformly, accept each with its weight exp((logit - largest) / T), and take the
first accepted one that the filters keep. What comes out has the filtered distribution (von Neumann 1951); a rejected
proposal costs nothing but its hash, and only accepted ones are looked up in the nucleus.

Whether a row is flat is an exact count of its logits, and the proposals are hashes of (seed, step, place in the row of
proposals): the token depends on the row's seed, step, logits and options alone, on any device and in any batch.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .arrays import as_tensor
from .candidates import MASS_ERROR
from .noise import counter_uniform
from .params import CompiledParams
from .peaks import Listed
from .shortlist import EXP_ERROR, UNIT, float32_border

WITHIN = 2.0  # flat: enough logits lie within this many temperatures of the largest
PART = 4  # counted is the first part of the vocabulary, one in so many
LEAST, SHARE = 1024, 32  # enough: so many, and one of so many of that part
LEAST_TOP_P = 0.5  # below, too many accepted proposals would lie outside of the nucleus
_BLOCK = 64
_FIRST = -2  # the first proposal's counter; tokens count from 0 up, proposals from here down
_CLOSE = 1e-12  # relative: more than the exponentials of two libraries or devices differ by
_PIECE = 2**19  # logits at a time, in cache


def flat_rows(logits: Tensor, params: CompiledParams, listed: Listed | None = None) -> list[int]:
    """Which rows of logits [N, V] are flat and drawn by proposals.

    Only rows whose filters are temperature, a top-p of at least 0.5 and min-p, or fewer. listed: the largest logits, if
    they are known; few rows are then read.
    """
    vocab_size, on = logits.shape[1], params.on
    in_order = params.active == tuple(name for name in ("temperature", "top_p", "min_p") if name in params.active)
    if not in_order or params.min_tokens_to_keep > 1 or "dynamic_temperature" in on:
        return []
    part = vocab_size // PART
    if part < LEAST or logits.dtype == torch.float64:
        return []
    known = listed is not None and listed.values.shape[1] < LEAST
    top = as_tensor(listed.values[:, :1]) if known and listed is not None else _largest(logits)
    floor = (top.to(torch.float64) - WITHIN * on.get("temperature", 1.0)).to(torch.float32)
    may_be = top.isfinite() & (torch.as_tensor(on.get("top_p", 1.0), device=top.device) >= LEAST_TOP_P)
    may_be &= ~torch.as_tensor(params.greedy, device=top.device)
    if known and listed is not None:
        may_be &= as_tensor(listed.bound) >= floor  # else fewer than are listed lie above
    enough = max(LEAST, part // SHARE)
    rows = may_be[:, 0].nonzero()[:, 0]
    height = max(_PIECE // part, 1)
    found = []
    for some in torch.split(rows, height):
        counts = (logits[some, :part] >= floor[some]).sum(1, dtype=torch.int32)
        found.append(some[counts >= enough])
    return torch.cat(found).tolist() if found else []


def _largest(logits: Tensor) -> Tensor:
    return logits.amax(1, keepdim=True).to(torch.float32)


def draw_flat(
    logits: Tensor, params: CompiledParams, keys: Tensor, kept: Callable[[int], Tensor]
) -> tuple[Tensor, int]:
    """The first accepted proposal that the filters keep: tokens [N], and how many rows needed ``kept``.

    logits: [N, V], flat rows without NaN. params: of these rows. keys: [N, 1] from
    ``counter_keys``. kept(row): the library's own filters, [V] bool, for rows where rounding decides about a proposal.
    Cost: some hashes, and one exponential per logit for about 1 / top_p accepted proposals of each row.
    """
    rows, top = logits.shape[0], _largest(logits)
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    # What is known of a row: everything is kept from the one logit up, and dropped from the other down.
    inside, outside = torch.full_like(top, torch.inf), torch.full_like(top, -torch.inf)
    waiting = torch.arange(rows, device=logits.device)
    block, by_the_book = 0, 0
    while len(waiting):
        picks, values, accepted = _proposals(logits, top, params, keys, waiting, block)
        while True:
            accepted &= values > outside[waiting]
            first = accepted.to(torch.uint8).argmax(1, keepdim=True)
            at, found = values.gather(1, first), accepted.gather(1, first)
            done = (found & (at >= inside[waiting]))[:, 0]
            tokens[waiting[done]] = picks.gather(1, first)[done, 0]
            asked = (found[:, 0] & ~done).nonzero()[:, 0]
            if len(asked):
                those = waiting[asked]
                keeps, drops = _decide(logits, top, params, those, at[asked])
                inside[those] = torch.where(keeps, at[asked], inside[those])
                outside[those] = torch.where(drops, at[asked], outside[those])
                for row in those[~(keeps | drops)[:, 0]].tolist():
                    tokens[row] = _by_the_book(logits, top, params, keys, row, kept(row))
                    by_the_book += 1
                    done |= waiting == row
            going = ~done
            waiting, picks, values, accepted = waiting[going], picks[going], values[going], accepted[going]
            if not len(asked) or not len(waiting):
                break
        block += 1
    return tokens, by_the_book


def _proposals(
    logits: Tensor, top: Tensor, params: CompiledParams, keys: Tensor, rows: Tensor, block: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A block of proposals of some rows: tokens, their logits (float32) and whether each is accepted, [n, 64] each."""
    vocab_size = logits.shape[1]
    places = torch.arange(block * _BLOCK, (block + 1) * _BLOCK, device=logits.device)
    pick = counter_uniform(keys[rows], _FIRST - 2 * places)
    coin = counter_uniform(keys[rows], _FIRST - 1 - 2 * places)
    token_ids = (pick * vocab_size).long().clamp_(max=vocab_size - 1)
    values = logits[rows[:, None], token_ids].to(torch.float32)
    temperature = params.select_rows(rows).on.get("temperature", 1.0)
    gap = (values.to(torch.float64) - top[rows].to(torch.float64)) / temperature
    weight = gap.exp()
    accepted = coin <= weight
    for row, place in ((coin - weight).abs() <= _CLOSE * weight).nonzero().tolist():
        accepted[row, place] = coin[row, place].item() <= math.exp(gap[row, place].item())
    return token_ids, values, accepted


def _decide(logits: Tensor, top: Tensor, params: CompiledParams, rows: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Whether a token with logit ``at`` [n, 1] is certainly kept, and whether it is certainly dropped, [n, 1] each."""
    on = params.select_rows(rows).on
    temperature = on.get("temperature", 1.0)
    weight = ((at.to(torch.float64) - top[rows].to(torch.float64)) / temperature).exp()
    keeps = torch.ones_like(at, dtype=torch.bool)
    drops = ~keeps
    if "top_p" in on:
        total, upto, equals = _masses(logits, top, rows, at, temperature)
        top_p = on["top_p"]
        border = float32_border(top_p) if isinstance(top_p, float) else (1 - top_p).to(torch.float32).double()
        scaled = (top[rows].to(torch.float64) / temperature).abs()
        slack = upto * (EXP_ERROR + UNIT * (logits.shape[1] / 8 + 40)) + total * (MASS_ERROR + 2e-7 * (scaled + 20))
        # Equal logits stand in any order: this token comes first or last among them.
        above = upto - (equals - 1) * weight * (1 + 1e-4) - slack > border * total
        below = upto + slack <= border * total
        off = torch.as_tensor(top_p >= 1.0, device=at.device)
        keeps, drops = above | off, below & ~off
    if "min_p" in on:
        keeps = keeps & (weight > on["min_p"] * (1 + 2 * EXP_ERROR))
        drops = drops | (weight < on["min_p"] * (1 - 2 * EXP_ERROR))
    return keeps, drops


def _masses(
    logits: Tensor, top: Tensor, rows: Tensor, at: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The weight of a row, of its tokens with logits up to ``at``, and how many equal ``at``: float64 [n, 1] each."""
    height = max(_PIECE // logits.shape[1], 1)
    inverse = torch.as_tensor(1 / temperature, dtype=torch.float32, device=at.device).expand(at.shape)
    parts = []
    for first in range(0, len(rows), height):
        some = slice(first, first + height)
        part = logits.index_select(0, rows[some]).to(torch.float32)
        low, equals = part <= at[some], (part == at[some]).sum(1, keepdim=True, dtype=torch.int32)
        weight = part.sub_(top[rows[some]]).mul_(inverse[some]).exp_()
        total = weight.sum(1, keepdim=True)
        parts.append(torch.cat([total, weight.mul_(low).sum(1, keepdim=True), equals], 1).to(torch.float64))
    found = torch.cat(parts)
    return found[:, :1], found[:, 1:2], found[:, 2:]


def _by_the_book(logits: Tensor, top: Tensor, params: CompiledParams, keys: Tensor, row: int, kept: Tensor) -> Tensor:
    """The same with the library's own filters: kept [V] bool."""
    one = torch.tensor([row], device=logits.device)
    block = 0
    while True:
        picks, _, accepted = _proposals(logits, top, params, keys, one, block)
        good = (accepted & kept[picks])[0].nonzero()[:, 0]
        if len(good):
            return picks[0, good[0]]
        block += 1
