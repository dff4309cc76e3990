"""The rows that a list cannot settle, whatever their shape: every token races, and the filters are asked of the winner.

``chunk_winners`` races each chunk of such a row, a program a chunk. ``exact_row`` then takes the best of the chunks,
sums what is in front of it in one pass over the row, and goes on above it if the filters drop it; a chunk whose winner
fell is raced again only when its turn comes. Flat rows are drawn by the proposals of ``kernels.rejection``, so that a
seed gives the same token on every device. Rows that are not open return at once.
"""

import torch
from torch import Tensor

from ..kernels.rejection import PROPOSALS
from .decide_and_draw import whole_mass
from .filtered_race import block_winner, border_room, divided, race_noise, verdict
from .language import LAUNCH, jit, kernel, on_its_device, tl
from .noise import STREAM_MARGIN, counter_uniform
from .ordering import LOWEST, at_place, place_of
from .row_options import RowOptions
from .row_stats import RowStats, chunks
from .stream_state import StreamDraw

MOST_PROPOSALS = tl.constexpr(PROPOSALS)


@on_its_device
def exact_row(
    logits: Tensor,
    stats: RowStats,
    options: RowOptions,
    keys: Tensor | None,
    stream: StreamDraw | None,
    tokens: Tensor,
    flags: Tensor,
) -> None:
    """Draw the open rows of logits [B, V] into ``tokens`` [B]; their ``flags`` become doubtful or 0.

    Arguments as for ``decide_and_draw``, which says in its twin what is drawn. Cost, of open rows: one read with the
    noise of every token, one read for each token asked about, up to 32 where top-k is longer than a list.
    """
    rows, vocab_size = logits.shape
    count = chunks(vocab_size)
    draw = stream or StreamDraw.none(logits.device)
    scores = torch.empty(rows, count, dtype=torch.float64, device=logits.device)
    winners = torch.empty(rows, count, dtype=torch.int64, device=logits.device)
    close = torch.empty(rows, count, dtype=torch.int32, device=logits.device)
    rest = (options.rows, options.rows if keys is None else keys, draw.signed_seed, draw.offset, draw.threads)
    kinds = {"SEEDED": keys is not None, "HARDWARE": draw.hardware, "num_warps": 8, **LAUNCH}
    given = (logits, logits.stride(0), vocab_size, stats.tops)
    chunk_winners_kernel[(rows, count)](
        *given, count, options.temperature, *rest, scores, winners, close, flags,
        CHUNKS=1 << (count - 1).bit_length(), **kinds,
    )  # fmt: skip
    asked = (options.temperature, options.top_k, options.border, options.min_p, options.proposing)
    exact_row_kernel[(rows,)](
        *given, stats.masses, count, *asked, *rest, scores, winners, close, tokens, flags,
        CHUNKS=1 << (count - 1).bit_length(), **kinds,
    )  # fmt: skip


@jit
def read_chunk(logits, vocab_size, chunk, temperature, SEEDED: tl.constexpr):
    """The logits of a chunk, what they are divided, and their token ids; -inf behind the end of the row."""
    token_ids = chunk.to(tl.int64) * 4096 + tl.arange(0, 4096)
    x = tl.load(logits + token_ids, mask=token_ids < vocab_size, other=-float("inf")).to(tl.float32)
    return x, tl.where(x > -float("inf"), divided(x, temperature, SEEDED), -float("inf")), token_ids


@jit
def race_chunk(
    logits,
    vocab_size,
    chunk,
    top,
    temperature,
    least,
    floor,
    floor_id,
    key,
    first,
    offset,
    threads,
    SEEDED: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The winner of a chunk among logits from ``least`` up and in front of ``floor``: ``block_winner``'s answer."""
    x, scaled, token_ids = read_chunk(logits, vocab_size, chunk, temperature, SEEDED)
    alive = (scaled >= least) & (scaled > -float("inf"))
    alive = alive & ((scaled > floor) | ((scaled == floor) & (token_ids > floor_id)))
    noise = race_noise(token_ids, key, first, offset, threads, SEEDED, HARDWARE)
    ratio = tl.where(alive, tl.exp(scaled - top) / noise, -1.0)
    return block_winner(ratio, x, token_ids, key, temperature, SEEDED)


@jit
def in_front_of(logits, vocab_size, chunks, temperature, top, least, value, token, SEEDED: tl.constexpr):
    """What stands in front of a token among logits from ``least`` up, in one pass over the row, for ``verdict``.

    The weight of the larger logits, of the equal ones, of those in front, and the number of these.
    """
    strictly, level = tl.full((), 0.0, tl.float64), tl.full((), 0.0, tl.float64)
    larger, ahead = tl.full((), 0.0, tl.float64), tl.full((), 0, tl.int32)
    for chunk in range(chunks):
        _, scaled, token_ids = read_chunk(logits, vocab_size, tl.full((), 0, tl.int32) + chunk, temperature, SEEDED)
        inside = (scaled >= least) & (scaled > -float("inf"))
        weights = tl.where(inside, tl.exp(scaled - top), 0.0)
        there = (scaled > value) | ((scaled == value) & (token_ids > token))
        strictly += tl.sum(tl.where(scaled > value, weights, 0.0)).to(tl.float64)
        level += tl.sum(tl.where(scaled == value, weights, 0.0)).to(tl.float64)
        larger += tl.sum(tl.where(there, weights, 0.0)).to(tl.float64)
        ahead += tl.sum((there & inside).to(tl.int32))
    return strictly, level, larger, ahead


@jit
def count_from(logits, vocab_size, chunks, temperature, value, SEEDED: tl.constexpr):
    """How many logits of the row, once divided, reach ``value``."""
    count = tl.full((), 0, tl.int32)
    for chunk in range(chunks):
        _, scaled, _ = read_chunk(logits, vocab_size, tl.full((), 0, tl.int32) + chunk, temperature, SEEDED)
        count += tl.sum(((scaled >= value) & (scaled > -float("inf"))).to(tl.int32))
    return count


@jit
def kth_of_row(logits, vocab_size, chunks, temperature, top, k, SEEDED: tl.constexpr):
    """What exactly the k largest of the row and their equals reach, by bisection: a pass for each question."""
    # 32 questions at most, one for each bit of a float32; the answer is exact.
    low, high = tl.full((), LOWEST, tl.int64), place_of(top) + 1
    searching = count_from(logits, vocab_size, chunks, temperature, at_place(low), SEEDED) > k
    found = searching
    while searching:
        middle = (low + high) >> 1
        count = count_from(logits, vocab_size, chunks, temperature, at_place(middle), SEEDED)
        if count >= k:
            low = middle
        else:
            high = middle
        searching = (high - low > 1) & (count != k)
    return tl.where(found, at_place(low), -float("inf"))


@jit
def is_flat(logits, vocab_size, top_logit, temperature):
    """Whether enough logits of the first quarter reach within two temperatures of the largest, as in ``flat_rows``."""
    part = vocab_size // 4
    floor = (top_logit.to(tl.float64) - 2.0 * temperature).to(tl.float32)
    count = tl.full((), 0, tl.int32)
    for chunk in range((part + 4095) // 4096):
        columns = chunk * 4096 + tl.arange(0, 4096)
        x = tl.load(logits + columns, mask=columns < part, other=-float("inf")).to(tl.float32)
        count += tl.sum(((x >= floor) & (columns < part)).to(tl.int32))
    return count >= tl.maximum(part // 32, 1024)


@jit
def propose(logits, vocab_size, chunks, top_logit, top, temperature, mass, border, room, min_p, key):
    """The first accepted proposal of a flat row that the filters keep, -1 if none that is made is, and whether
    rounding might say otherwise."""
    token, unsure = tl.full((), 0, tl.int64), tl.full((), 0, tl.int32)
    first, looking = tl.full((), 0, tl.int64), tl.full((), 1, tl.int32) > 0
    below = tl.full((), 1 - 2.0**-53, tl.float64) * vocab_size
    while looking & (first < MOST_PROPOSALS):
        turn = first + tl.arange(0, 64)
        # Two counters a proposal, from -2 down: tokens' own counters are 0 and above.
        pick, coin = counter_uniform(key, -2 - 2 * turn), counter_uniform(key, -3 - 2 * turn)
        proposed = (pick * below).to(tl.int64)
        x = tl.load(logits + proposed).to(tl.float32)
        weight = tl.exp((x.to(tl.float64) - top_logit.to(tl.float64)) / temperature)
        accepted = coin <= weight
        # So close to its weight a coin is Python's to judge on the CPU; here the row is called doubtful.
        closely = tl.abs(coin - weight) <= 1e-12 * weight
        at = tl.min(tl.where(accepted, turn, 2**40))
        while (at < 2**40) & looking:
            here = turn == at
            token = tl.max(tl.where(here, proposed, -1))
            its = divided(tl.max(tl.where(here, x, -float("inf"))), temperature, True)
            strictly, level, larger, ahead = in_front_of(
                logits, vocab_size, chunks, temperature, top, -float("inf"), its, token, True
            )
            kept, doubtful = verdict(its, top, strictly, level, larger, ahead, mass, border, room, min_p, True)
            unsure = unsure | doubtful.to(tl.int32) | tl.max((here & closely).to(tl.int32))
            looking = kept == 0
            at = tl.min(tl.where(accepted & (turn > at), turn, 2**40))
        first += 64
    return tl.where(looking, -1, token), unsure


@jit
def race_chunks(
    logits, vocab_size, chunks, top, temperature, least, mass, border, room, min_p, key, row_first, offset, threads,
    scores, winners, close, CHUNKS: tl.constexpr, SEEDED: tl.constexpr, HARDWARE: tl.constexpr,
):  # fmt: skip
    """The best of the chunks' winners that the filters keep, and whether rounding might say otherwise."""
    chunk = tl.arange(0, CHUNKS)
    its_scores = tl.load(scores + chunk, mask=chunk < chunks, other=-float("inf"))
    its_tokens = tl.load(winners + chunk, mask=chunk < chunks, other=2**40)
    its_close = tl.load(close + chunk, mask=chunk < chunks, other=0)
    token, unsure = tl.full((), 0, tl.int64), tl.full((), 0, tl.int32)
    floor, floor_id = tl.full((), -float("inf"), tl.float32), tl.full((), -1, tl.int64)
    looking = tl.full((), 1, tl.int32) > 0
    while looking:
        best = tl.max(its_scores)
        token = tl.min(tl.where(its_scores == best, its_tokens, 2**40))
        at = (token // 4096).to(tl.int32)
        logit = tl.load(logits + tl.minimum(token, vocab_size - 1)).to(tl.float32)
        value = divided(logit, temperature, SEEDED)
        # A chunk's winner that is at or below the floor has fallen with the token that set it.
        fell = (best > -float("inf")) & ((value < floor) | ((value == floor) & (token <= floor_id)) | (value < least))
        if fell:
            score, winner, _, tight = race_chunk(
                logits, vocab_size, at, top, temperature, least, floor, floor_id, key, row_first, offset, threads,
                SEEDED, HARDWARE,
            )  # fmt: skip
            its_scores = tl.where(chunk == at, score, its_scores)
            its_tokens = tl.where(chunk == at, winner, its_tokens)
            its_close = tl.where(chunk == at, tight, its_close)
        else:
            strictly, level, larger, ahead = in_front_of(
                logits, vocab_size, chunks, temperature, top, least, value, token, SEEDED
            )
            kept, doubtful = verdict(value, top, strictly, level, larger, ahead, mass, border, room, min_p, SEEDED)
            if SEEDED:
                rivals = its_scores >= best - 1e-12 * (1.0 + tl.abs(best))
            else:
                rivals = its_scores >= best * (1.0 - STREAM_MARGIN)
            near = (tl.sum(rivals.to(tl.int32)) > 1) | (tl.max(tl.where(chunk == at, its_close, 0)) > 0)
            unsure = unsure | doubtful.to(tl.int32) | (kept & near).to(tl.int32)
            floor, floor_id = value, token
            looking = kept == 0
        nothing = best == -float("inf")  # no token has weight and finite noise: once in 2**54
        looking = looking & (nothing == 0)
    return tl.minimum(token, vocab_size - 1), unsure


@kernel
def chunk_winners_kernel(
    logits, row_stride, vocab_size, tops, chunks, temperatures, rows, keys, seed: tl.int64, offset: tl.int64, threads,
    scores, winners, close, flags, CHUNKS: tl.constexpr, SEEDED: tl.constexpr, HARDWARE: tl.constexpr,
):  # fmt: skip
    """A chunk of a row: program (row, chunk)."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if (tl.load(flags + row) & 4) > 0:
        every = tl.arange(0, CHUNKS)
        top_logit = tl.max(tl.load(tops + row * chunks + every, mask=every < chunks, other=-float("inf")))
        temperature = tl.load(temperatures + row)
        key = tl.load(keys + row)
        if not SEEDED:
            key = tl.full((), 0, tl.int64) + seed
        score, winner, _, tight = race_chunk(
            logits + row * row_stride, vocab_size, chunk, divided(top_logit, temperature, SEEDED), temperature,
            -float("inf"), tl.full((), -float("inf"), tl.float32), tl.full((), -1, tl.int64),
            key, tl.load(rows + row) * vocab_size, offset, threads, SEEDED, HARDWARE,
        )  # fmt: skip
        tl.store(scores + row * chunks + chunk, score)
        tl.store(winners + row * chunks + chunk, winner)
        tl.store(close + row * chunks + chunk, tight)


@kernel
def exact_row_kernel(
    logits, row_stride, vocab_size, tops, masses, chunks, temperatures, top_ks, borders, min_ps, proposing,
    rows, keys, seed: tl.int64, offset: tl.int64, threads, scores, winners, close, tokens, flags,
    CHUNKS: tl.constexpr, SEEDED: tl.constexpr, HARDWARE: tl.constexpr,
):  # fmt: skip
    """A row: program (row)."""
    row = tl.program_id(0).to(tl.int64)
    if (tl.load(flags + row) & 4) > 0:
        logits += row * row_stride
        every = tl.arange(0, CHUNKS)
        top_logit = tl.max(tl.load(tops + row * chunks + every, mask=every < chunks, other=-float("inf")))
        temperature = tl.load(temperatures + row)
        top = divided(top_logit, temperature, SEEDED)
        top_k, border, min_p = tl.load(top_ks + row), tl.load(borders + row), tl.load(min_ps + row)
        key = tl.load(keys + row)
        if not SEEDED:
            key = tl.full((), 0, tl.int64) + seed
        mass = whole_mass(tops, masses, row * chunks, chunks, top_logit, temperature, CHUNKS)
        flat = tl.full((), 0, tl.int32) > 0
        if SEEDED:  # noqa: SIM102 (a constant of the kernel, and a value)
            if tl.load(proposing + row) > 0:
                flat = is_flat(logits, vocab_size, top_logit, temperature)
        token, unsure = tl.full((), -1, tl.int64), tl.full((), 0, tl.int32)
        if flat:
            room = border_room(border, top, vocab_size, 0, 1.0, 1.0)
            token, unsure = propose(
                logits, vocab_size, chunks, top_logit, top, temperature, mass, border, room, min_p, key
            )
        if token < 0:
            least = tl.full((), -float("inf"), tl.float32)
            if top_k > 0:
                least = kth_of_row(logits, vocab_size, chunks, temperature, top, top_k, SEEDED)
                # After top-k the nucleus is judged on what it left: everything in front of nothing.
                mass, _, _, _ = in_front_of(
                    logits, vocab_size, chunks, temperature, top, least, -float("inf"), 2**40, SEEDED
                )
            token, doubtful = race_chunks(
                logits, vocab_size, chunks, top, temperature, least, mass, border,
                border_room(border, top, vocab_size, 0, 1.0, 1.0), min_p,
                key, tl.load(rows + row) * vocab_size, offset, threads,
                scores + row * chunks, winners + row * chunks, close + row * chunks, CHUNKS, SEEDED, HARDWARE,
            )  # fmt: skip
            unsure = unsure | doubtful
        tl.store(tokens + row, token)
        tl.store(flags + row, unsure * 2)
