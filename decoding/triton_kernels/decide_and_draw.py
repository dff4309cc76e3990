"""A token a row from its group maxima: the few groups that can matter are listed, filtered and raced by one program.

A row that its list cannot settle (a wide nucleus, a flat row, a top-k longer than the list) is left open for
``exact_row``.
"""

import torch
from torch import Tensor

from .filtered_race import block_winner, border_room, divided, race_noise, verdict
from .language import LAUNCH, jit, kernel, on_its_device, tl
from .ordering import kth_largest, least_with_at_most
from .row_options import RowOptions
from .row_stats import GROUPS, RowStats, chunks
from .stream_state import StreamDraw

LISTED = 64
"""Groups to a list: 4,096 logits, as many as one program holds in registers."""
BAD, DOUBT, OPEN = 1, 2, 4
"""Bits of a row's flag: NaN, +inf or nothing above -inf; rounding might have decided; not drawn yet."""


@on_its_device
def decide_and_draw(
    logits: Tensor,
    stats: RowStats,
    options: RowOptions,
    keys: Tensor | None,
    stream: StreamDraw | None,
    tokens: Tensor,
    flags: Tensor,
    largest: Tensor,
) -> None:
    """Draw the rows that their lists settle into ``tokens`` [B] int64; ``flags`` [B] int32 says what became of each.

    largest: [B] float32, written: the largest logit of each row, NaN where it holds one.

    logits: [B, V], read in the groups listed alone. keys: [B] int64, the rows' counters; stream: torch's draw if there
    are none. Cost: 64 groups of 64 logits a row. Reads nothing on the host.
    """
    rows, vocab_size = logits.shape
    count = chunks(vocab_size)
    draw = stream or StreamDraw.none(logits.device)
    decide_and_draw_kernel[(rows,)](
        logits,
        logits.stride(0),
        vocab_size,
        count,
        stats.maxima,
        stats.tops,
        stats.masses,
        stats.bad,
        options.temperature,
        options.top_k,
        options.border,
        options.min_p,
        options.greedy,
        options.proposing,
        options.rows,
        options.rows if keys is None else keys,
        draw.signed_seed,
        draw.offset,
        draw.threads,
        torch.empty(rows, LISTED, dtype=torch.int32, device=logits.device),
        tokens,
        flags,
        largest,
        WIDTH=_power_of_two(count * GROUPS),
        CHUNKS=_power_of_two(count),
        SEEDED=keys is not None,
        HARDWARE=draw.hardware,
        num_warps=8,
        **LAUNCH,
    )


def draw_twin(logits: Tensor, options: RowOptions, noise: Tensor) -> Tensor:
    """What ``decide_and_draw`` and ``exact_row`` do of a row that is neither greedy nor flat, in torch: [B] tokens.

    noise: [B, V] float64, Exp(1) of every token.
    """
    scaled = (logits.float() / options.temperature[:, None].float()).double()
    ordered, ids = scaled.flip(1).sort(dim=1, descending=True, stable=True)  # of equals the higher id stands first
    ids = logits.shape[1] - 1 - ids
    rank = torch.where(options.top_k > 0, options.top_k, logits.shape[1]).long()
    kept = ordered >= ordered.gather(1, rank[:, None] - 1)
    weights = (ordered - ordered[:, :1]).exp() * kept
    in_front = weights.cumsum(1) - weights
    mass = weights.sum(1, keepdim=True)
    nucleus = (in_front < (1 - options.border[:, None]) * mass) | (options.border[:, None] < 0)
    nucleus[:, 0] = True
    kept &= nucleus & (weights >= options.min_p[:, None])
    left = torch.zeros_like(kept).scatter(1, ids, kept)
    scores = logits.double() / options.temperature[:, None] - noise.log()
    return scores.masked_fill(~left, -torch.inf).argmax(1)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


@jit
def first_of(logits, vocab_size, maxima, groups, top):
    """The first token of a row whose logit is ``top``, from the maxima of its groups."""
    # The first group with the maximum holds its first place, for groups are neighbours in order.
    group = tl.min(tl.where(maxima == top, groups, 2**30))
    token_ids = group.to(tl.int64) * 64 + tl.arange(0, 64)
    x = tl.load(logits + token_ids, mask=token_ids < vocab_size, other=-float("inf")).to(tl.float32)
    return tl.min(tl.where(x == top, token_ids, 2**40))


@jit
def may_be_flat(maxima, groups, vocab_size, top, temperature):
    """Whether enough groups of the first quarter reach within two temperatures of the largest logit."""
    part = vocab_size // 4
    enough = tl.maximum(part // 32, 1024)
    floor = (top.to(tl.float64) - 2.0 * temperature).to(tl.float32)
    return tl.sum(((maxima >= floor) & (groups < (part + 63) // 64)).to(tl.int32)) * 64 >= enough


@jit
def whole_mass(tops, masses, first, chunks, top, temperature, CHUNKS: tl.constexpr):
    """Sum of exp((x - top) / T) over a row, float64, from its chunks in their order."""
    chunk = tl.arange(0, CHUNKS)
    # Chunks were summed in units of their own maxima; here all become units of the row's.
    its_top = tl.load(tops + first + chunk, mask=chunk < chunks, other=-float("inf"))
    its_mass = tl.load(masses + first + chunk, mask=chunk < chunks, other=0.0).to(tl.float64)
    return tl.sum(tl.where(its_mass > 0.0, its_mass * tl.exp((its_top - top).to(tl.float64) / temperature), 0.0))


@jit
def best_groups(logits, vocab_size, maxima, groups, scratch):
    """The logits of a row's best groups, 64 at most, with their token ids, [64, 64]; what every other logit is below,
    -inf if there is none; how many groups they are.

    maxima: of each of the row's ``groups``. scratch: room for 64 numbers.
    """
    least = least_with_at_most(maxima, 64, 48)
    chosen = (maxima >= least) & (maxima > -float("inf"))
    place = tl.cumsum(chosen.to(tl.int32), 0) - 1
    tl.store(scratch + place, groups, mask=chosen)
    tl.debug_barrier()  # what a program wrote it may read
    slot, count = tl.arange(0, 64), tl.sum(chosen.to(tl.int32))
    group = tl.load(scratch + slot, mask=slot < count, other=0).to(tl.int64)
    token_ids = group[:, None] * 64 + tl.arange(0, 64)[None, :]
    there = (slot < count)[:, None] & (token_ids < vocab_size)
    x = tl.load(logits + token_ids, mask=there, other=-float("inf")).to(tl.float32)
    # In a chosen group too what is below the bound is left to it, so that the list is all above one value.
    return tl.where(x >= least, x, -float("inf")), token_ids, least, count


@jit
def settles(scaled, weights, edge, kth, top, mass, top_k, border, min_p, room):
    """Whether what is below ``edge``, all that is not listed, is surely dropped: by top-k, top-p or min-p.

    scaled, weights: the listed logits, divided, and their weights. kth: of top-k, -inf without. mass: what top-p is
    judged on; room: its bound of rounding. Top-p comes after top-k, min-p after both.
    """
    above_edge = tl.sum(tl.where(scaled > edge, weights, 0.0)).to(tl.float64)
    by_top_k = (top_k > 0) & (edge < kth)
    by_top_p = (border >= 0.0) & (top_k == 0) & (above_edge >= (1.0 - border + room) * mass)
    below_min_p = tl.exp((edge - top).to(tl.float64)) < min_p * (1.0 - 0.000016)
    by_min_p = below_min_p & ((top_k == 0) | (border < 0.0))
    return by_top_k | by_top_p | by_min_p


@jit
def draw_listed(
    x,
    token_ids,
    least,
    top,
    mass,
    vocab_size,
    temperature,
    top_k,
    border,
    min_p,
    key,
    first,
    offset,
    threads,
    SEEDED: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The token drawn from a list, whether rounding might say otherwise, and whether the list settles the row.

    x: the listed logits, -inf elsewhere. least: what every logit that is not listed is below; -inf if all are listed.
    top: the largest, divided. mass: of the whole row.
    """
    everything = least == -float("inf")
    scaled = tl.where(x > -float("inf"), divided(x, temperature, SEEDED), -float("inf"))
    # Rounding is monotone: what is below ``least`` is not above ``edge`` once both are divided.
    edge = tl.where(everything, -float("inf"), divided(least, temperature, SEEDED))
    listed = tl.sum((scaled > -float("inf")).to(tl.int32))
    kth = tl.full((), -float("inf"), tl.float32)
    if top_k > 0:
        kth = kth_largest(scaled, top_k)
    inside = (scaled >= kth) & (scaled > -float("inf"))
    weights = tl.where(inside, tl.exp(scaled - top), 0.0)
    known = tl.sum(weights).to(tl.float64)
    alone = everything | (top_k > 0)  # whether the list holds all of the mass that top-p is judged on
    mass = tl.where(alone, known, mass)
    others = tl.where(alone, 0.0, tl.maximum(1.0 - known / mass, 0.0))
    room = border_room(border, top, vocab_size, listed, others, tl.where(alone, 0.0, 1.0))

    settled = everything | settles(scaled, weights, edge, kth, top, mass, top_k, border, min_p, room)

    noise = race_noise(token_ids, key, first, offset, threads, SEEDED, HARDWARE)
    ratio = tl.where(inside & (scaled > edge), weights / noise, -1.0)
    token, unsure = tl.full((), 0, tl.int64), tl.full((), 0, tl.int32)
    floor, floor_id = tl.full((), -float("inf"), tl.float32), tl.full((), -1, tl.int64)
    # A token that falls takes everything at or below it with it, so the race goes on above it.
    looking = settled
    while looking:
        alive = (scaled > floor) | ((scaled == floor) & (token_ids > floor_id))
        _, winner, logit, close = block_winner(tl.where(alive, ratio, -1.0), x, token_ids, key, temperature, SEEDED)
        its = divided(logit, temperature, SEEDED)
        in_front = (scaled > its) | ((scaled == its) & (token_ids > winner))
        strictly = tl.sum(tl.where(scaled > its, weights, 0.0)).to(tl.float64)
        level = tl.sum(tl.where(scaled == its, weights, 0.0)).to(tl.float64)
        larger = tl.sum(tl.where(in_front, weights, 0.0)).to(tl.float64)
        ahead = tl.sum((in_front & inside).to(tl.int32))
        kept, doubtful = verdict(its, top, strictly, level, larger, ahead, mass, border, room, min_p, SEEDED)
        unsure = unsure | doubtful.to(tl.int32)
        token, floor, floor_id = winner, its, winner
        if kept:
            unsure = unsure | close
        settled = settled & (winner < 2**40)  # else no token has weight and finite noise: once in 2**54
        looking = (kept == 0) & settled
    return token, unsure, settled


@kernel
def decide_and_draw_kernel(
    logits,
    row_stride,
    vocab_size,
    chunks,
    maxima,
    tops,
    masses,
    bad,
    temperatures,
    top_ks,
    borders,
    min_ps,
    greedy,
    proposing,
    rows,
    keys,
    seed: tl.int64,
    offset: tl.int64,
    threads,
    scratch,
    tokens,
    flags,
    largest,
    WIDTH: tl.constexpr,
    CHUNKS: tl.constexpr,
    SEEDED: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """A row: program (row)."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    chunk, groups = tl.arange(0, CHUNKS), tl.arange(0, WIDTH)
    spoiled = tl.max(tl.load(bad + row * chunks + chunk, mask=chunk < chunks, other=0).to(tl.int32))
    its_maxima = tl.load(maxima + row * chunks * 64 + groups, mask=groups < chunks * 64, other=-float("inf"))
    top_logit = tl.max(its_maxima)
    temperature = tl.load(temperatures + row)
    top = divided(top_logit, temperature, SEEDED)
    token, flag = tl.full((), 0, tl.int64), tl.full((), 0, tl.int32)
    if (spoiled > 0) | (tl.abs(top) == float("inf")) | (top != top):
        flag = tl.full((), 1, tl.int32)
    else:
        if tl.load(greedy + row) > 0:
            token = first_of(logits, vocab_size, its_maxima, groups, top_logit)
        else:
            flat = (tl.load(proposing + row) > 0) & may_be_flat(its_maxima, groups, vocab_size, top_logit, temperature)
            x, token_ids, least, _ = best_groups(logits, vocab_size, its_maxima, groups, scratch + row * 64)
            mass = whole_mass(tops, masses, row * chunks, chunks, top_logit, temperature, CHUNKS)
            top_k, border, min_p = tl.load(top_ks + row), tl.load(borders + row), tl.load(min_ps + row)
            key, first = tl.load(keys + row), tl.load(rows + row) * vocab_size
            if not SEEDED:
                key = tl.full((), 0, tl.int64) + seed
            token, unsure, settled = draw_listed(
                x, token_ids, least, top, mass, vocab_size, temperature, top_k, border, min_p, key, first,
                offset, threads, SEEDED, HARDWARE,
            )  # fmt: skip
            flag = tl.where(flat | (settled == 0), 4, unsure * 2)
    tl.store(tokens + row, token)
    tl.store(flags + row, flag)
    tl.store(largest + row, tl.where((spoiled > 0) & (top_logit < float("inf")), float("nan"), top_logit))
