"""Seeded draws from flat rows, where a nucleus holds most of a large vocabulary: proposals instead of a race.

A race needs the noise of every token that may win. In a flat row that is the whole vocabulary, but there a token picked
blindly is a good guess: propose tokens uniformly, accept each with its weight exp((logit - largest) / T), and take the
first accepted one that the filters keep. What comes out has the filtered distribution (von Neumann 1951); a rejected
proposal costs nothing but its hash, and only accepted ones are looked up in the nucleus.

Whether a row is flat is an exact count of its logits, and the proposals are hashes of (seed, step, place in the row of
proposals): the token depends on the row's seed, step, logits and options alone, in any batch. ``device_race`` draws the
same on a device.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..options.batch_options import CompiledParams
from ..options.numpy_or_torch import Array, single
from .counter_noise import counter_uniform
from .error_bounds import SEEDED_MARGIN
from .large_logits import GroupMaxima
from .nucleus import Nucleus

WITHIN = 2.0  # flat: enough logits lie within this many temperatures of the largest
PART = 4  # counted is the first part of the vocabulary, one in so many
LEAST, SHARE = 1024, 32  # enough: so many, and one of so many of that part
LEAST_TOP_P = 0.5  # below, too many accepted proposals would lie outside of the nucleus
_BLOCK, _LONGEST_BLOCK = 16, 1024
PROPOSALS = 4096  # a row of which none is accepted and kept is raced instead, in all of its tokens
FIRST = -2  # the first proposal's counter; tokens count from 0 up, proposals from here down
BELOW_ONE = 1 - 2.0**-53  # a uniform of 1 times the size times this is below the size: the last token
_PIECE = 2**19  # logits at a time, in cache


def flat_rows(
    logits: Tensor, params: CompiledParams, known: GroupMaxima | Array | None = None
) -> tuple[list[int], Array | None]:
    """Which rows of logits [N, V] are flat and drawn by proposals, and the largest logit of every row, [N, 1].

    Only rows whose filters are temperature, a top-p of at least 0.5 and min-p, or fewer. known: the maxima of groups or
    the largest logits [N, 1], if there are any; few rows are then read.
    """
    vocab_size, on = logits.shape[1], params.arrays
    part = vocab_size // PART
    enough = max(LEAST, part // SHARE)
    if part < LEAST or logits.dtype == torch.float64 or params.proposing is False:
        return [], None
    maxima = known if isinstance(known, GroupMaxima) else None
    if maxima is not None:
        top: Array = maxima.top
    else:
        top = known if known is not None else logits.amax(1, keepdim=True).to(torch.float32).numpy()
    floor = single(top.astype(np.float64) - WITHIN * on.get("temperature", 1.0))
    may_be = np.isfinite(top) & (on.get("top_p", 1.0) >= LEAST_TOP_P)
    if params.proposing is not True:
        may_be = may_be & np.asarray(params.proposing)
    if maxima is not None:
        within = (maxima.maxima[:, : -(-part // maxima.width)].numpy() >= floor).sum(1, keepdims=True)
        may_be = may_be & (within * maxima.width >= enough)
    if not may_be.any():
        return [], top
    rows, floor = torch.from_numpy(may_be[:, 0].nonzero()[0]), torch.from_numpy(floor)
    found = []
    for size in (min(4 * enough, part), part):  # most show it by their first few thousand logits
        flat = _reached(logits[:, :size], rows, floor, enough)
        found += rows[flat].tolist()
        rows = rows[~flat]
        if not len(rows):
            break
    return sorted(found), top


def _reached(logits: Tensor, rows: Tensor, floor: Tensor, enough: int) -> Tensor:
    """Which of the rows [n] have enough logits from the floor [N, 1] up, [n] bool."""
    counts = [
        (logits[some] >= floor[some]).sum(1, dtype=torch.int32)
        for some in torch.split(rows, max(_PIECE // logits.shape[1], 1))
    ]
    return torch.cat(counts) >= enough


def draw_flat(
    logits: Tensor, top: Array, params: CompiledParams, keys: Array, kept: Callable[[int], Tensor]
) -> tuple[list[int], int]:
    """The first accepted proposal of each row that the filters keep, [N], and how many rows needed ``kept``.

    A token is -1 where none of ``PROPOSALS`` is, which hangs on the row alone.
    logits: [N, V], flat rows without NaN. top: [N, 1] float32, the largest of each. params: of these rows. keys: [N, 1]
    from ``counter_keys``. kept(row): transformers' own filters, [V] bool, for rows where rounding decides about a
    proposal.
    Cost: some hashes, one exponential per logit, and a sum of those above each proposal asked about (about 1 / top_p).
    """
    logits = logits.detach()
    options, space = _options(params, len(logits)), torch.empty(logits.shape[1], dtype=torch.float32, device="cpu")
    drawn, books = [-1] * len(logits), dict[int, Tensor]()
    waiting, first, size = list(range(len(logits))), 0, _BLOCK
    while waiting and first < PROPOSALS:
        proposals = _accepted(logits, top, params, keys, waiting, first, size)
        for row, accepted in zip(waiting, proposals, strict=True):
            nucleus = Nucleus(logits[row], top[row].item(), space, *options[row])
            for token_id, logit in accepted:
                holds = bool(books[row][token_id]) if row in books else nucleus.holds(logit)
                if holds is None:
                    books[row] = kept(row)
                    holds = bool(books[row][token_id])
                if holds:
                    drawn[row] = token_id
                    break
        waiting = [row for row in waiting if drawn[row] < 0]
        first += size
        size = min(size * 4, _LONGEST_BLOCK, PROPOSALS - first)
    return drawn, len(books)


def _accepted(
    logits: Tensor, top: Array, params: CompiledParams, keys: Array, rows: list[int], first: int, size: int
) -> list[list[tuple[int, float]]]:
    """The accepted ones among ``size`` proposals of some rows: token ids and their logits, in order, a list per row."""
    vocab_size = logits.shape[1]
    places = np.arange(FIRST - 2 * first, FIRST - 2 * (first + size), -1)
    noise = counter_uniform(keys[rows], places)
    pick, coin = noise[:, ::2], noise[:, 1::2]
    token_ids = (pick * (vocab_size * BELOW_ONE)).astype(np.int64)
    values = logits[torch.tensor(rows, device="cpu")[:, None], torch.from_numpy(token_ids)].to(torch.float32).numpy()
    temperature = params.arrays.get("temperature", 1.0)
    gap = (values.astype(np.float64) - top[rows].astype(np.float64)) / (
        temperature if isinstance(temperature, float) else temperature[rows]
    )
    weight = np.exp(gap)
    accepted = coin <= weight
    for i, j in np.argwhere(abs(coin - weight) <= SEEDED_MARGIN * weight).tolist():
        accepted[i, j] = float(coin[i, j]) <= math.exp(float(gap[i, j]))
    found = zip(token_ids.tolist(), values.tolist(), accepted.tolist(), strict=True)
    return [[(token, x) for token, x, good in zip(*row, strict=True) if good] for row in found]


def _options(params: CompiledParams, rows: int) -> list[tuple[float, float, float]]:
    """Temperature, top-p and min-p of each row; 1, 1 and 0 where they are off."""
    off = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0}
    columns = [
        torch.as_tensor(params.on.get(name, value), dtype=torch.float64, device="cpu") for name, value in off.items()
    ]
    return list(zip(*(column.expand(rows, 1)[:, 0].tolist() for column in columns), strict=True))
