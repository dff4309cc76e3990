"""The ladder: the ways to draw, tried in order until every row of a batch has its token.

Each way draws the rows whose token it can prove, by the proofs of ``kernels``, and leaves the others to the next.
``LADDER`` is the table; a sampler keeps the ways that apply to its options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..kernels.counter_noise import counter_exponential
from ..kernels.decision import RowFilters, keep, may_settle, needs_mass
from ..kernels.error_bounds import RACE_MARGIN
from ..kernels.exponential_race import full_winner, listed_winners
from ..kernels.large_logits import GroupMaxima, LargeLogits, read
from ..kernels.rejection import LEAST, PART, draw_flat, flat_rows
from ..kernels.row_noise import CounterNoise, RestoredNoise, StreamNoise
from ..kernels.torch_stream import exponentials_at, row_exponentials, stream_is_known
from ..kernels.whole_rows import whole_row_winners
from ..options.batch_options import CompiledParams
from ..options.numpy_or_torch import Array, as_tensor, on_host
from ..options.validation import check_row_maxima
from .plan import Plan
from .reference_draw import check_drawable, divisor, filtered, multinomial, winner, xtc_chance

if TYPE_CHECKING:
    from .sampler import Sampler

__all__ = ["LADDER", "Batch", "Way", "ways_for"]

_SHORT = 4096  # below this many logits in a row its whole noise costs less than a list
_COUNT, _COUNT_FOR_MIN_P = 384, 48


class Batch:
    """The rows of one call, logits [N, V], and what is drawn of them.

    rows: [N] int64, which rows of the sampler's batch these are; None means all. left: places of the rows that have no
    token yet. states: of torch's stream where each row's noise begins, once it has moved on; ``again`` then gives a
    row's whole noise, [1, V].
    """

    def __init__(self, sampler: Sampler, logits: Tensor, step: int | Tensor, rows: Tensor | None):
        self.sampler, self.logits, self.step, self.rows = sampler, logits.detach(), step, rows
        self.params: CompiledParams = sampler.params if rows is None else sampler.params.select_rows(rows)
        filters = sampler.filters
        self.filters = filters if filters is None or rows is None else filters.rows(on_host(rows))
        self.count = logits.shape[0]
        self.left: Sequence[int] = range(self.count)
        self.tokens: Tensor | None = None
        self.states: dict[int, Tensor] = {}
        self.again: Callable[[int], Tensor] | None = None
        self._known: GroupMaxima | LargeLogits | None = None
        self._top: Array | None = None
        self._keys: Tensor | None = None

    @property
    def keys(self) -> Tensor | None:
        """The rows' counters, [N, 1]; None draws from torch's stream."""
        if self._keys is None and self.sampler.seeds is not None:
            self._keys = self.sampler.keys(self.step, self.rows)
        return self._keys

    @property
    def original(self) -> Sequence[int]:
        """Which rows of the sampler's batch these are."""
        return range(self.count) if self.rows is None else self.rows.tolist()

    @property
    def on_host(self) -> bool:
        """Whether rows are raced here: float32 or less on the CPU, with seeds or torch's stream as it is known."""
        sampler = self.sampler
        plain = sampler.plan.on_cpu and self.logits.dtype != torch.float64
        return plain and (sampler.seeds is not None or stream_is_known())

    def known(self) -> GroupMaxima | LargeLogits | None:
        """The rows read once, where a list of their largest logits may serve; bad rows raise."""
        filters, vocab_size = self.filters, self.logits.shape[1]
        if self._known is not None or filters is None or not filters.listable:
            return self._known
        if vocab_size < _SHORT if self.on_host else self.sampler.seeds is None or self.logits.dtype == torch.float64:
            return None
        count = _COUNT if filters.border is not None else _COUNT_FOR_MIN_P
        if filters.largest_top_k > 0 and not filters.joint:
            count = max(filters.largest_top_k, filters.keep) + 1
        self._known = read(self.logits, count, validate=self.sampler.validate)
        return self._known

    def top(self) -> Array:
        """The largest logit of each row, [N, 1] float32; bad rows raise."""
        if self._top is None:
            known = self.known()
            self._top = self._read_top() if known is None else known.top
        return self._top

    def _read_top(self) -> Array:
        top = self.logits.amax(1, keepdim=True)
        if self.logits.dtype not in (torch.float32, torch.float64):
            top = top.to(torch.float32)
        if not self.sampler.plan.on_cpu:
            if self.sampler.validate:
                check_row_maxima(top[:, 0])
            return top
        found = top.numpy()
        if not np.isfinite(found).all():
            check_row_maxima(top[:, 0])
        return found

    def put(self, tokens: Array, certain: Array | None = None, among: Sequence[int] | None = None) -> None:
        """Take the tokens that are certain (all if None); both are [N], or of the rows ``among`` [n]."""
        tokens = as_tensor(tokens)
        if among is None and (certain is None or bool(certain.all())) and len(self.left) == self.count:
            self.tokens, self.left = tokens, ()
            return
        if self.tokens is None:
            self.tokens = torch.zeros(self.count, dtype=torch.int64, device=self.logits.device)
        places = range(self.count) if among is None else among
        sure, waiting = [True] * len(places) if certain is None else certain.tolist(), set(self.left)
        good = [(i, place) for i, place in enumerate(places) if sure[i] and place in waiting]
        if good:
            self.tokens[[place for _, place in good]] = tokens[[i for i, _ in good]]
            waiting -= {place for _, place in good}
            self.left = sorted(waiting)

    def rest(self) -> Batch:
        """The rows that are left, as a batch."""
        if len(self.left) == self.count:
            return self
        some = torch.tensor(self.left, dtype=torch.int64, device=self.logits.device)
        return Batch(self.sampler, self.logits[some], self.step, some if self.rows is None else self.rows[some])

    def one(self, place: int) -> tuple[Tensor, CompiledParams]:
        """One row [1, V] and its options."""
        return self.logits[place : place + 1], self.params.select_rows(torch.tensor([place], device=self.logits.device))


class Way(NamedTuple):
    """One way: whether it ``applies(plan, seeded)``, and ``draw(batch)``, which takes the tokens that it can prove."""

    name: str
    when: str
    applies: Callable[[Plan, bool], bool]
    draw: Callable[[Batch], None]


def _greedy(batch: Batch) -> None:
    if batch.sampler.validate:
        check_row_maxima(batch.logits.amax(1))
    batch.put(first_argmax(batch.logits))


def _small_batch(batch: Batch) -> None:
    """All rows or none."""
    few, logits = batch.sampler.few, batch.logits
    if few is None or not few.may_draw(batch.count, logits.shape[1], logits.dtype) or type(batch.step) is not int:
        return
    if batch.sampler.seeds is None:
        prefixes = few.prefixes(logits) if stream_is_known() else None
        if prefixes is None:
            return
        _race_prefixes(batch, prefixes)
    else:
        seeds = (
            batch.sampler.seed_numbers
            if batch.rows is None
            else [batch.sampler.seed_numbers[row] for row in batch.original]
        )
        tokens = few.seeded(logits, seeds, batch.step)
        if tokens is None:
            return
        batch.put(_as_tokens(logits, tokens))


def _as_tokens(logits: Tensor, tokens: list[int]) -> Tensor:
    if len(tokens) == 1:  # without torch.tensor, which takes as long as three other operations
        return logits.new_full((1,), tokens[0], dtype=torch.int64)
    return torch.tensor(tokens, device=logits.device)


def _race_prefixes(batch: Batch, prefixes: Sequence[Any]) -> None:
    """The winners in torch's stream; rows where rounding decides are left."""
    original, vocab_size = batch.original, batch.sampler.vocab_size
    places = [row * vocab_size + x for row, part in zip(original, prefixes, strict=True) for x in part.token_ids]
    noise = _stream_at(batch, np.array(places)).tolist()
    tokens, sure, first = [], [], 0
    for part in prefixes:
        last = first + len(part.token_ids)
        token = part.winner(noise[first:last], RACE_MARGIN + 4 * part.error)
        tokens.append(0 if token is None else token)
        sure.append(token is not None)
        first = last
    batch.put(_as_tokens(batch.logits, tokens), np.array(sure))


def _stream_at(batch: Batch, places: Any) -> Any:
    """The noise at places of the whole batch's stream, which moves on; the rows' states are kept."""
    states = dict.fromkeys(batch.original, torch.empty(0))
    noise = exponentials_at(
        places.ravel(), batch.sampler.batch_size, batch.sampler.vocab_size, batch.sampler.generator, states
    )
    batch.states = {place: states[row] for place, row in enumerate(batch.original)}
    return noise.reshape(places.shape)


def _proposals(batch: Batch) -> None:
    """Flat rows with seeds: the first accepted one of proposed tokens that the filters keep."""
    logits, known = batch.logits, batch.known()
    if batch.keys is None:
        return
    flat, top = flat_rows(logits, batch.params, known if isinstance(known, GroupMaxima) else batch.top())
    if not flat or top is None:
        return
    keys, params = on_host(batch.keys), batch.params
    if len(flat) < batch.count:
        rows = torch.tensor(flat, device=logits.device)
        logits, top, keys, params = logits[rows], top[flat], keys[flat], params.select_rows(rows)
    tokens, undecided = draw_flat(
        logits, top, params, keys, lambda row: filtered(*batch.one(flat[row]))[0] > -torch.inf
    )
    batch.sampler.fallbacks += undecided
    batch.put(torch.tensor(tokens, device=logits.device), among=flat)


def _largest_logits(batch: Batch) -> None:
    """Rows whose nucleus, top-k or min-p is settled by a list of their largest logits."""
    known, filters = batch.known(), batch.filters
    if known is None or filters is None:
        return
    vocab_size, divisor = batch.logits.shape[1], filters.divisor
    weighs = needs_mass(filters)
    large, loose = _listed(known, filters), False
    if weighs:
        loose = large.maxima is not None
        large = large.bounded(divisor) if loose else large.weighed(divisor, batch.logits)
    kept = keep(large, filters, vocab_size)
    settled = on_host(kept.settled)
    tight = np.flatnonzero(may_settle(large, filters) & ~settled) if loose else np.empty(0, dtype=np.int64)
    if not settled.any() and not len(tight):
        return
    noise = _noise_at(batch, large.token_ids)
    greedy, seeded = batch.params.arrays.get("greedy"), batch.keys is not None
    if settled.any():
        batch.put(*listed_winners(kept, noise, divisor, greedy, seeded))
    if loose and batch.left:
        some = np.array([row for row in batch.left if settled[row] or row in tight], dtype=np.int64)
        if len(some):
            asked = filters.rows(some)
            again = keep(large.rows(some).weighed(asked.divisor, batch.logits[some]), asked, vocab_size)
            greedy = None if greedy is None else greedy[some]
            batch.put(*listed_winners(again, noise[some], asked.divisor, greedy, seeded), some.tolist())


def _listed(known: GroupMaxima | LargeLogits, filters: RowFilters) -> LargeLogits:
    """As many of the largest logits as were asked for, or all that min-p may keep."""
    if isinstance(known, LargeLogits):
        return known
    alone = filters.top_k is None and filters.border is None
    if alone and filters.min_p is not None and bool(np.all(filters.min_p)):
        return known.listed(known.min_p_floor(filters.min_p, filters.divisor))
    return known.listed(known.count_reach())


def _noise_at(batch: Batch, token_ids: Array) -> Array:
    """The noise of tokens [N, M] of the batch's rows, float64."""
    if batch.keys is not None:
        return counter_exponential(on_host(batch.keys), token_ids)
    return _stream_at(batch, np.array(batch.original)[:, None] * batch.sampler.vocab_size + token_ids)


def _whole_rows(batch: Batch) -> None:
    """Rows of any other shape: the race of every token, the filters asked about the winner."""
    if batch.filters is None or not batch.on_host:
        return
    noise = _row_noise(batch)
    seeded = batch.keys is not None
    tokens, certain = whole_row_winners(batch.logits, batch.top(), batch.filters, noise, seeded)
    if isinstance(batch.params.greedy, Tensor):
        greedy = batch.params.greedy[:, 0].numpy()
        tokens, certain = np.where(greedy, first_argmax(batch.logits).numpy(), tokens), certain | greedy
    batch.put(tokens, certain)


def _row_noise(batch: Batch) -> CounterNoise | StreamNoise | RestoredNoise:
    """The whole noise of the rows that are left; afterwards ``batch.again`` gives it once more."""
    if batch.keys is not None:
        return CounterNoise(batch.keys.numpy(), batch.sampler.vocab_size, batch.left)
    noise: StreamNoise | RestoredNoise
    if batch.states:
        noise = RestoredNoise(batch.sampler.vocab_size, {row: batch.states[row] for row in batch.left})
    else:  # every row is left, for the stream has not moved on
        original = None if batch.rows is None else batch.original
        noise = StreamNoise(batch.sampler.batch_size, batch.sampler.vocab_size, batch.sampler.generator, original)
    batch.again = noise.again
    return noise


def _filtered_rows(batch: Batch) -> None:
    """Other filters, and steps that learn from the draw: transformers' filters, then the race of what they leave."""
    if batch.states or not batch.on_host or not batch.left:
        return
    rest, steps, seeded = batch.rest(), batch.sampler.draw_steps, batch.keys is not None
    if not np.isfinite(batch.top()).all():  # not validated: torch says what it says of such rows
        return
    kept = _filtered(rest)
    if batch.sampler.validate:
        check_drawable(kept, rest.params, rest.original)
    top, noise = kept.amax(1, keepdim=True).numpy(), _row_noise(rest)
    tokens, certain = whole_row_winners(kept, top, RowFilters(), noise, seeded)
    if isinstance(rest.params.greedy, Tensor):
        greedy = rest.params.greedy[:, 0].numpy()
        tokens, certain = np.where(greedy, first_argmax(rest.logits).numpy(), tokens), certain | greedy
    for place in np.flatnonzero(~certain).tolist():
        one = slice(place, place + 1)
        tokens[place] = int(_exact(kept[one], kept[one] if steps else None, rest, place))
    drawn = torch.from_numpy(tokens)
    if steps:
        steps.advance(drawn, rest.rows)
    batch.put(drawn, among=batch.left)


def _filtered(batch: Batch) -> Tensor:
    """The logits through every filter and step."""
    rows, params = batch.rows, batch.params
    chance = xtc_chance(
        params, batch.keys, rows, batch.sampler.batch_size, batch.sampler.device, batch.sampler.generator
    )
    kept = filtered(batch.logits, params, chance)
    return batch.sampler.draw_steps.apply(kept, rows) if batch.sampler.draw_steps else kept


def _exact(kept: Tensor, divided: Tensor | None, batch: Batch, place: int) -> Tensor:
    """The token of one row from its filtered logits [1, V]; divided: the logits where they are raced undivided."""
    if batch.sampler.validate:
        check_drawable(kept, batch.one(place)[1], [batch.original[place]])
    if batch.keys is None:
        noise = batch.again(place) if batch.again is not None else row_exponentials(batch.states[place], kept.shape[1])
        return winner(kept, noise)[0]
    logits, params = batch.one(place)
    wide = logits.to(kept.dtype) if divided is None else divided
    return full_winner(wide, kept, batch.keys[place : place + 1], divisor(params) if divided is None else None)[0]


def _exactly(batch: Batch) -> None:
    """The rows that no proof covers, by transformers' operations alone."""
    if batch.again is not None or batch.states or (batch.keys is not None and batch.on_host):
        tokens = []
        for place in batch.left:
            logits, params = batch.one(place)
            greedy = isinstance(params.greedy, Tensor) and bool(params.greedy)
            token = first_argmax(logits)[0] if greedy else _exact(filtered(logits, params), None, batch, place)
            tokens.append(token)
        batch.sampler.fallbacks += len(tokens)
        drawn = torch.stack(tokens)
    else:
        drawn = _exactly_together(batch.rest())
    batch.put(drawn, among=batch.left)


def _exactly_together(batch: Batch) -> Tensor:
    """The same of a batch whose stream has not moved on, or with counters, on any device."""
    batch.top()
    kept, params, steps = _filtered(batch), batch.params, batch.sampler.draw_steps
    if batch.sampler.validate:
        check_drawable(kept, params, batch.original)
    if batch.keys is None:
        drawn = multinomial(kept, batch.rows, batch.sampler.batch_size, batch.sampler.generator)
    else:
        wide = kept if steps else batch.logits.to(kept.dtype)
        drawn = full_winner(wide, kept, batch.keys, None if steps else divisor(params))
    if isinstance(params.greedy, Tensor):
        drawn = torch.where(params.greedy[:, 0], first_argmax(batch.logits), drawn)
    if steps:
        steps.advance(drawn, batch.rows)
    return drawn


def _four_filters(plan: Plan) -> bool:
    return plan.filters is not None and not plan.has_steps


def _raced(plan: Plan) -> bool:
    return _four_filters(plan) and plan.params.min_tokens_to_keep == 1


LADDER: tuple[Way, ...] = (
    Way("greedy", "every row takes its largest logit", lambda plan, _: plan.params.greedy is True, _greedy),
    Way(
        "small batch",
        "up to 8 rows of float32, one number an option",
        lambda plan, _: plan.few is not None,
        _small_batch,
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
        lambda plan, _: _four_filters(plan) and plan.filters is not None and plan.filters.listable,
        _largest_logits,
    ),
    Way("whole rows", "rows with these filters or none, on the CPU", lambda plan, _: _raced(plan), _whole_rows),
    Way("filtered rows", "other filters and steps, on the CPU", lambda plan, _: not _raced(plan), _filtered_rows),
    Way("transformers' operations", "what is left", lambda *_: True, _exactly),
)
"""The ways to draw, in the order in which they are tried."""


def ways_for(plan: Plan, seeded: bool) -> list[Callable[[Batch], None]]:
    """The ways that apply to these options, in order."""
    if seeded not in plan.ways:
        plan.ways[seeded] = [way.draw for way in LADDER if way.applies(plan, seeded)]
    return plan.ways[seeded]
