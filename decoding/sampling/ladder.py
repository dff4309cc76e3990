"""The ladder: the ways to draw, tried in order until every row of a batch has its token.

Each way draws the rows whose token it can prove, by the proofs of ``kernels``, and leaves the others to the next:

greedy                    every row takes its largest logit
device kernels            rows of a CUDA device with temperature, top-k, top-p and min-p, where triton is installed
small batch               up to 8 rows of float32, one number an option: in plain Python
proposals                 flat rows with seeds: temperature, top-p from 0.5 up, min-p
largest logits            rows whose top-k, top-p or min-p a list of their largest logits settles
few tokens                rows without filters that have lost most of their tokens, as inside a grammar
whole rows                rows with these filters, typical-p or none, on the CPU: the race of every token
filtered rows             other filters and steps, on the CPU: the race of what they leave
transformers' operations  what is left

``LADDER`` is this table; a plan keeps the ways that apply to its options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..kernels.counter_noise import counter_exponential
from ..kernels.decision import RowFilters, keep
from ..kernels.error_bounds import RACE_MARGIN
from ..kernels.exponential_race import full_winner, listed_winners
from ..kernels.large_logits import GroupMaxima
from ..kernels.rejection import LEAST, PART, draw_flat, flat_rows
from ..kernels.row_noise import CounterNoise, RestoredNoise, StreamNoise
from ..kernels.torch_stream import exponentials_at, stream_is_known
from ..kernels.whole_rows import whole_row_winners
from ..options.numpy_or_torch import Array
from ..options.validation import check_row_maxima
from .batch import Batch, keys_of
from .kernel_draw import by_kernels
from .reference_draw import check_drawable, divisor, filtered, multinomial, winner, xtc_chance
from .small_batch import MOST_ROWS

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["LADDER", "Way", "draw"]

_LARGE = 2**14  # logits of a row, from where a look at some of them costs little beside a race of all
_SAMPLE, _LOST = 128, 0.9  # logits of a row that are looked at, and the share of them at -inf where few tokens are left


class Way(NamedTuple):
    """One way: whether it ``applies(plan, seeded)``, and ``draw(batch)``, which takes the tokens that it can prove.

    most_rows: of a batch that it is tried with.
    """

    name: str
    when: str
    applies: Callable[[Plan, bool], bool]
    draw: Callable[[Batch], None]
    most_rows: float = math.inf


def draw(batch: Batch) -> Tensor:
    """One token for each row, [N], by the first of the ways that can prove it."""
    for way, most_rows in batch.plan.ways[batch.seeds is not None]:
        if not batch.left or batch.count > most_rows:
            continue
        if way is _small_batch:  # in Python's numbers; to enter the context below is a tenth of so short a call
            way(batch)
            continue
        with np.errstate(all="ignore"):  # what overflows is uncertain, and transformers' operations decide
            way(batch)
    return torch.empty(0, dtype=torch.int64, device="cpu") if batch.tokens is None else batch.tokens


def _greedy(batch: Batch) -> None:
    check_row_maxima(batch.logits.amax(1))
    batch.put(first_argmax(batch.logits))


def _small_batch(batch: Batch) -> None:
    """All rows or none."""
    few, logits = batch.plan.few, batch.logits
    if few is None or type(batch.step) is not int:
        return
    if not few.may_draw(batch.count, batch.vocab_size, logits.dtype):
        return
    if batch.seeds is None:
        prefixes = few.prefixes(logits) if stream_is_known() else None
        if prefixes is not None:
            _race_prefixes(batch, prefixes)
        return
    tokens = few.seeded(logits, (batch.seeds if batch.rows is None else batch.seeds[batch.rows]).tolist(), batch.step)
    if tokens is not None:
        batch.put(_as_tokens(logits, tokens))


def _as_tokens(logits: Tensor, tokens: list[int]) -> Tensor:
    if len(tokens) == 1:  # without torch.tensor, which takes as long as three other operations
        return logits.new_full((1,), tokens[0], dtype=torch.int64)
    return torch.tensor(tokens, device="cpu")


def _race_prefixes(batch: Batch, prefixes: Sequence[Any]) -> None:
    """The winners in torch's stream; rows where rounding decides are left."""
    rows = np.arange(len(prefixes)).repeat([len(part.token_ids) for part in prefixes])
    noise = _noise_at(batch, np.concatenate([part.token_ids for part in prefixes]), rows).tolist()
    tokens, sure, first = [], [], 0
    for part in prefixes:
        last = first + len(part.token_ids)
        token = part.winner(noise[first:last], RACE_MARGIN + 4 * part.error)
        tokens.append(0 if token is None else token)
        sure.append(token is not None)
        first = last
    batch.put(_as_tokens(batch.logits, tokens), np.array(sure))


def _noise_at(batch: Batch, token_ids: Array, rows: Array) -> Array:
    """Noise of listed tokens of the rows at these places, of shapes that broadcast: of their counters, or of the whole
    batch's stream, which moves on; the rows' states in it are kept."""
    if batch.seeds is not None:
        return counter_exponential(keys_of(batch.seeds, batch.step, batch.rows).numpy()[rows[:, 0]], token_ids)
    plan, states = batch.plan, dict.fromkeys(batch.original, batch.logits)
    places = np.array(batch.original)[rows] * batch.vocab_size + token_ids
    noise = exponentials_at(places.ravel(), plan.batch_size, plan.vocab_size, batch.generator, states)
    batch.states = [*map(states.__getitem__, batch.original)]
    return noise.reshape(places.shape)


def _proposals(batch: Batch) -> None:
    """Flat rows with seeds: the first accepted one of some thousand proposed tokens that the filters keep."""
    known, logits, params, keys = batch.known(), batch.logits, batch.params, batch.keys
    flat, top = flat_rows(logits, params, batch.top() if known is None else known)
    if not flat or top is None or keys is None:
        return
    if len(flat) < batch.count:
        rows = torch.tensor(flat, device="cpu")
        logits, top, keys, params = logits[rows], top[flat], keys[rows], params.select_rows(rows)
    tokens, undecided = draw_flat(
        logits, top, params, keys.numpy(), lambda row: filtered(*batch.one(flat[row]))[0] > -torch.inf
    )
    batch.fallbacks += undecided
    drawn = np.array(tokens)
    batch.put(drawn, drawn >= 0, among=flat)


def _largest_logits(batch: Batch) -> None:
    """Rows whose nucleus, top-k or min-p is settled by a list of their largest logits."""
    known, filters = batch.known(), batch.filters
    if known is None or filters is None or batch.states:  # a way that was tried has moved the stream on
        return
    large = known.listed(known.min_p_floor(filters.min_p, filters.divisor) if filters.by_floor else known.floor())
    if filters.needs_mass:
        large = large.weighed(filters.divisor, batch.logits, filters.share, ())
    kept = keep(large, filters, batch.vocab_size)
    hopeless = np.broadcast_to(large.hopeless, batch.count)
    if not bool(kept.settled.any()) and hopeless.all():
        return
    noise = _noise_at(batch, large.token_ids, np.arange(batch.count)[:, None])
    greedy, seeded = batch.params.arrays.get("greedy"), batch.seeds is not None
    batch.put(*listed_winners(kept, noise, filters, greedy, seeded))
    if batch.left and not hopeless[list(batch.left)].all():  # what their mass, once it is formed, may settle
        large = large.weighed(filters.divisor, batch.logits, filters.share, batch.left)
        batch.put(*listed_winners(keep(large, filters, batch.vocab_size), noise, filters, greedy, seeded))


def _few_tokens(batch: Batch) -> None:
    """Rows of which little is above -inf, as inside a grammar: the race of that alone."""
    filters, every = batch.filters, batch.vocab_size // _SAMPLE
    if filters is None or batch.states or not batch.covered:
        return
    batch.top()  # names the rows that may not be drawn
    lost = (batch.logits[:, ::every] == -math.inf).float().mean(1) >= _LOST
    some = [row for row in lost.nonzero()[:, 0].tolist() if row in batch.left]
    if not some:
        return
    known = GroupMaxima(batch.logits[some], 1)
    large = known.listed(np.full_like(known.top, -np.inf))
    noise = _noise_at(batch, large.token_ids, np.array(some)[:, None])
    greedy, own = batch.params.arrays.get("greedy"), filters.rows(some)
    greedy = greedy[some] if isinstance(greedy, np.ndarray) else None
    batch.put(*listed_winners(keep(large, own, batch.vocab_size), noise, own, greedy, batch.seeds is not None), some)


def _whole_rows(batch: Batch) -> None:
    """Rows of any other shape: the race of every token, the filters asked about the winner."""
    if batch.filters is None or not batch.covered:
        return
    top = batch.top()
    batch.put(*_raced(batch, batch.logits, top, batch.filters))


def _raced(batch: Batch, logits: Tensor, top: Array, filters: RowFilters) -> tuple[Array, Array]:
    """The winners of the rows that are left, [N], among what ``filters`` leave of ``logits``, and which are certain."""
    noise = _row_noise(batch)
    tokens, certain = whole_row_winners(logits, top, filters, noise, batch.seeds is not None)
    if isinstance(batch.params.greedy, Tensor):
        greedy = batch.params.greedy[:, 0].numpy()
        tokens, certain = np.where(greedy, first_argmax(batch.logits).numpy(), tokens), certain | greedy
    return tokens, certain


def _row_noise(batch: Batch) -> CounterNoise | StreamNoise | RestoredNoise:
    """The whole noise of the rows that are left; afterwards ``batch.again`` gives it once more."""
    if batch.keys is not None:
        return CounterNoise(batch.keys.numpy(), batch.vocab_size, batch.left)
    noise: StreamNoise | RestoredNoise
    if batch.states:
        noise = RestoredNoise(batch.vocab_size, {row: batch.states[row] for row in batch.left})
    else:  # every row is left, for the stream has not moved on
        original = None if batch.rows is None else batch.original
        noise = StreamNoise(batch.plan.batch_size, batch.vocab_size, batch.generator, original)
    batch.again = noise.again
    return noise


def _filtered_rows(batch: Batch) -> None:
    """Other filters, and steps that learn from the draw: transformers' filters, then the race of what they leave."""
    if batch.states or not batch.covered or not np.isfinite(batch.top()).all():
        return
    rest = batch.rest()
    kept = _filtered(rest)
    check_drawable(kept, rest.params, rest.original)
    tokens, certain = _raced(rest, kept, kept.amax(1, keepdim=True).numpy(), RowFilters())
    for place in np.flatnonzero(~certain).tolist():
        tokens[place] = int(_exact(kept[place : place + 1], rest, place))
    drawn = torch.from_numpy(tokens)
    if rest.steps:
        rest.steps.advance(drawn, rest.rows)
    batch.put(drawn, among=batch.left)


def _filtered(batch: Batch) -> Tensor:
    """The logits through every filter and step."""
    plan, params = batch.plan, batch.params
    chance = xtc_chance(params, batch.keys, batch.rows, plan.batch_size, plan.device, batch.generator)
    kept = filtered(batch.logits, params, chance)
    return batch.steps.apply(kept, batch.rows) if batch.steps else kept


def _exact(kept: Tensor, batch: Batch, place: int) -> Tensor:
    """The token of one row from its filtered logits [1, V]."""
    check_drawable(kept, batch.one(place)[1], batch.original[place : place + 1])
    if batch.keys is None:
        return winner(kept, batch.noise_of(place))[0]
    logits, params = batch.one(place)
    wide, divided = (kept, None) if batch.steps else (logits.to(kept.dtype), divisor(params))
    return full_winner(wide, kept, batch.keys[place : place + 1], divided)[0]


def _exactly(batch: Batch) -> None:
    """The rows that no proof covers, by transformers' operations alone."""
    batch.top()
    if batch.again is None and not batch.states and (batch.keys is None or not batch.covered):
        batch.put(_exactly_together(batch.rest()), among=batch.left)
        return
    tokens = []
    for place in batch.left:
        logits, params = batch.one(place)
        greedy = isinstance(params.greedy, Tensor) and bool(params.greedy)
        tokens.append(first_argmax(logits)[0] if greedy else _exact(filtered(logits, params), batch, place))
    batch.fallbacks += len(tokens)
    batch.put(torch.stack(tokens), among=batch.left)


def _exactly_together(batch: Batch) -> Tensor:
    """The same of a batch whose stream has not moved on, or with counters."""
    kept, params, steps = _filtered(batch), batch.params, batch.steps
    check_drawable(kept, params, batch.original)
    if batch.keys is None:
        drawn = multinomial(kept, batch.rows, batch.plan.batch_size, batch.generator)
    else:
        wide = kept if steps else batch.logits.to(kept.dtype)
        drawn = full_winner(wide, kept, batch.keys, None if steps else divisor(params))
    if isinstance(params.greedy, Tensor):
        drawn = torch.where(params.greedy[:, 0], first_argmax(batch.logits), drawn)
    if steps:
        steps.advance(drawn, batch.rows)
    return drawn


def _is_raced(plan: Plan) -> bool:
    return plan.filters is not None and plan.filters.keep == 1


def _is_bare(plan: Plan) -> bool:
    """Whether nothing is on but a temperature, over a vocabulary whose whole race costs more than a look at the row."""
    filters = plan.filters
    plain = filters is not None and filters.keep == 1 and not filters.listable and filters.typical is None
    return plain and plan.vocab_size >= _LARGE


LADDER: tuple[Way, ...] = (
    Way("greedy", "every row takes its largest logit", lambda plan, _: plan.params.greedy is True, _greedy),
    Way(
        "device kernels",
        "rows of a CUDA device with temperature, top-k, top-p and min-p, where triton is installed",
        lambda plan, _: plan.kernel_options is not None,
        by_kernels,
    ),
    Way(
        "small batch",
        "up to 8 rows of float32, one number an option: in plain Python",
        lambda plan, _: plan.few is not None,
        _small_batch,
        MOST_ROWS,
    ),
    Way(
        "proposals",
        "flat rows with seeds: temperature, top-p from 0.5 up, min-p",
        lambda plan, seeded: seeded and plan.params.proposing is not False and plan.vocab_size >= PART * LEAST,
        _proposals,
    ),
    Way(
        "largest logits",
        "rows whose top-k, top-p or min-p a list of their largest logits settles",
        lambda plan, _: plan.filters is not None and plan.filters.listable,
        _largest_logits,
    ),
    Way(
        "few tokens",
        "rows without filters that have lost most of their tokens, as inside a grammar",
        lambda plan, _: _is_bare(plan),
        _few_tokens,
    ),
    Way(
        "whole rows",
        "rows with these filters, typical-p or none, on the CPU: the race of every token",
        lambda plan, _: _is_raced(plan),
        _whole_rows,
    ),
    Way(
        "filtered rows",
        "other filters and steps, on the CPU: the race of what they leave",
        lambda plan, _: not _is_raced(plan),
        _filtered_rows,
    ),
    Way("transformers' operations", "what is left", lambda *_: True, _exactly),
)
"""The ways to draw, in the order in which they are tried."""
