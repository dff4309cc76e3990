"""From logits to tokens: one draw per row, with torch's own stream or with a seed per row."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, overload

import torch
from torch import Tensor

from .candidates import largest, row_mass
from .chain import apply_chain
from .draw_steps import DrawSteps
from .history_steps import HistorySteps
from .noise import counter_exponential, counter_keys, counter_uniform
from .params import PARAM_NAMES, CompiledParams, SamplingParams
from .race import seeded_winner, stream_winner
from .rows import RowOption, check_count, check_finite, check_logits
from .shortlist import Shortlist, covers, shortlists
from .stream import exponentials_at, row_exponentials, stream_is_known
from .token_sets import check_token_ids

_XTC_COIN = -1  # the token id whose noise decides XTC in seeded mode


@dataclass(frozen=True)
class Sampled:
    """Drawn tokens with their log-probabilities under the given logits (before temperature and filters).

    token_ids: [N] int64. logprobs: [N] float32. top_token_ids, top_logprobs: [N, n], best first.
    """

    token_ids: Tensor
    logprobs: Tensor
    top_token_ids: Tensor
    top_logprobs: Tensor


@overload
def sample(
    logits: Tensor, params: SamplingParams | None = None, *, logprobs: None = None, **options: Any
) -> Tensor: ...
@overload
def sample(logits: Tensor, params: SamplingParams | None = None, *, logprobs: int, **options: Any) -> Sampled: ...
def sample(
    logits: Tensor,
    params: SamplingParams | None = None,
    *,
    token_ids: Tensor | None = None,
    prompt_length: RowOption = 0,
    ignore_length: RowOption = 0,
    seeds: Sequence[int] | Tensor | None = None,
    step: int | Tensor = 0,
    generator: torch.Generator | None = None,
    logprobs: int | None = None,
    **options: Any,
) -> Tensor | Sampled:
    """Draw one token per row.

    logits: [B, V] float; float16 and bfloat16 are computed in float32, as transformers does. params or options: what
    ``SamplingParams`` takes, the one or the other.
    token_ids: [B, T], the tokens so far, for options that need them (penalties, n-gram bans, DRY, lengths); a loop
    keeps ``HistorySteps`` instead, whose cost does not grow with the history, and a ``Sampler`` where mirostat or
    adaptive-p is to learn. prompt_length, ignore_length: how many of the tokens are prompt, and padding, for the
    options that count generated tokens only; see ``HistorySteps``.
    seeds: one int per row. A row's token then depends on its seed, ``step`` and logits alone: the same in any batch, in
    any order, on any device. step: an int, or one per row.
    Without seeds the draw consumes ``generator`` (torch's global one by default) as transformers' ``softmax`` and
    ``multinomial`` do: the same tokens for the same seed, and the same generator state afterwards.
    logprobs: also return the log-probability of the drawn token and of the n best, under the logits as given.
    Returns token ids [B] int64, or ``Sampled`` if logprobs is given.
    Raises ValueError or TypeError naming the argument and the row before anything is drawn. Rows with NaN, with +inf or
    without a finite value are refused on the CPU, and elsewhere with ``validate=True``.
    >>> sample(torch.tensor([[0.0, 3.0, 1.0]]), temperature=0.0)
    tensor([1])
    """
    check_logits(logits)
    if params is not None and options:
        raise TypeError(f"sample takes params or options, not both; got params and {sorted(options)}")
    if params is None:
        unknown = options.keys() - PARAM_NAMES
        if unknown:
            raise TypeError(f"sample got an unknown option {min(unknown)!r}")
        plain = all(value is None or type(value) in _PLAIN for value in options.values())
        params = _cached_params(**options) if plain else SamplingParams(**options)
    batch_size, vocab_size = logits.shape
    given = logits
    if params.before_filters:
        if token_ids is None and params.needs_history:
            raise ValueError(f"token_ids must be given for {params.needs_history[0]}; got None")
        if token_ids is None:
            token_ids = torch.empty((batch_size, 0), dtype=torch.int64, device=logits.device)
        check_token_ids(token_ids, batch_size)
        steps = HistorySteps(
            params, token_ids, vocab_size=vocab_size, prompt_length=prompt_length, ignore_length=ignore_length
        )
        logits = steps.apply(logits.to(torch.float32, copy=True))
    sampler = Sampler(
        params, batch_size=batch_size, vocab_size=vocab_size, device=logits.device, seeds=seeds, generator=generator
    )
    if logprobs is not None:
        check_count("logprobs", logprobs, 0)
    drawn = sampler.select(logits, step=step)
    return drawn if logprobs is None else with_logprobs(given, drawn, logprobs)


_PLAIN = (int, float, bool)


@lru_cache(maxsize=128, typed=True)
def _cached_params(**options: Any) -> SamplingParams:
    return SamplingParams(**options)


class Sampler:
    """A sampling call compiled for a batch, to be used at every step of a loop.

    batch_size: rows of the batch at the start; per-row options and seeds have this length and are indexed by ``rows``.
    seeds, generator: as in ``sample``. A step per row, like seeds, is indexed by ``rows``.
    drawn, fallbacks: how many rows the fast paths were asked for, and how many of them they could not prove.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        batch_size: int,
        vocab_size: int,
        device: torch.device | str,
        seeds: Sequence[int] | Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.batch_size, self.vocab_size, self.device = batch_size, vocab_size, torch.device(device)
        self.seeds = None if seeds is None else _read_seeds(seeds, batch_size, self.device)
        self.generator = generator
        self.validate = params.validate or self.device.type == "cpu"
        self.drawn = 0  # rows that the fast paths were asked for
        self.fallbacks = 0  # of them, rows that went through the library's own arithmetic
        self.params: CompiledParams = params.compiled(batch_size, self.device)
        self.draw_steps = DrawSteps(params, batch_size=batch_size, device=self.device)

    @overload
    def select(
        self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None, logprobs: None = None
    ) -> Tensor: ...
    @overload
    def select(
        self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None, logprobs: int
    ) -> Sampled: ...
    def select(
        self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None, logprobs: int | None = None
    ) -> Tensor | Sampled:
        """Draw one token for each of the N rows still alive: logits [N, V] -> token ids [N].

        rows: [N] int64, which rows of the original batch these are; None means all of them. Without seeds the stream
        is consumed for the whole original batch, so that rows which left do not change the draws of the others.
        """
        check_logits(logits)
        if rows is None and logits.shape[0] != self.batch_size:
            raise ValueError(f"logits must have {self.batch_size} rows; got {logits.shape[0]}")
        if rows is not None and rows.shape != logits.shape[:1]:
            raise ValueError(f"rows must be of shape [{logits.shape[0]}], one per row; got {list(rows.shape)}")
        if logits.shape[1] != self.vocab_size:
            raise ValueError(f"logits must have {self.vocab_size} columns; got {logits.shape[1]}")
        if logprobs is not None:
            check_count("logprobs", logprobs, 0)
        params = self.params if rows is None else self.params.select_rows(rows)
        token_ids = self._draw(logits, params, step, rows)
        if logprobs is None:
            return token_ids
        return with_logprobs(logits, token_ids, logprobs)

    def process(self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None) -> Tensor:
        """The filtered logits [N, V], as transformers returns them in ``scores``; before mirostat and adaptive-p."""
        params = self.params if rows is None else self.params.select_rows(rows)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return apply_chain(wide, params, chance=self._chance(params, self.keys(step, rows), rows))

    def _chance(self, params: CompiledParams, keys: Tensor | None, rows: Tensor | None) -> Tensor | None:
        """What decides whether XTC acts on a row, [N]: from the row's counter, or one draw per row of the batch."""
        if "xtc" not in params.active:
            return None
        if keys is not None:
            return counter_uniform(keys, torch.tensor([_XTC_COIN], device=self.device))[:, 0]
        chance = torch.rand(self.batch_size, generator=self.generator, device=self.device)
        return chance if rows is None else chance[rows]

    def keys(self, step: int | Tensor, rows: Tensor | None = None) -> Tensor | None:
        """The rows' counters at a step, [N, 1], or None without seeds."""
        if self.seeds is None:
            return None
        if rows is None:
            return counter_keys(self.seeds, step)
        return counter_keys(self.seeds[rows], step[rows] if isinstance(step, Tensor) and step.dim() else step)

    def _draw(self, logits: Tensor, params: CompiledParams, step: int | Tensor, rows: Tensor | None) -> Tensor:
        if params.greedy is True or not logits.shape[0]:
            if self.validate:
                check_finite(logits)
            return logits.argmax(-1)
        keys = self.keys(step, rows)
        known = keys is not None or (logits.device.type == "cpu" and stream_is_known())
        if known and not self.draw_steps and covers(params, logits.dtype):
            return self._draw_from_shortlists(logits, params, keys, rows)
        if self.validate:
            check_finite(logits)
        return self._draw_in_full(logits, params, keys, rows)

    def _draw_in_full(self, logits: Tensor, params: CompiledParams, keys: Tensor | None, rows: Tensor | None) -> Tensor:
        """The library's own operations over the whole vocabulary."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        kept = apply_chain(wide, params, chance=self._chance(params, keys, rows))
        if self.draw_steps:
            wide = kept = self.draw_steps.apply(kept, rows)
        if keys is not None:
            drawn = _seeded_winner(wide, kept, params, keys, scaled=bool(self.draw_steps))
        elif rows is None:
            drawn = torch.multinomial(kept.softmax(-1), 1, generator=self.generator)[:, 0]
        else:
            noise = torch.empty(self.batch_size, self.vocab_size, dtype=kept.dtype, device=self.device)
            drawn = (kept.softmax(-1) / noise.exponential_(generator=self.generator)[rows]).argmax(-1)
        if isinstance(params.greedy, Tensor):
            drawn = torch.where(params.greedy[:, 0], logits.argmax(-1), drawn)
        if self.draw_steps:
            self.draw_steps.advance(drawn, rows)
        return drawn

    def _draw_from_shortlists(
        self, logits: Tensor, params: CompiledParams, keys: Tensor | None, rows: Tensor | None
    ) -> Tensor:
        """The same tokens from each row's largest logits; in full for the rows whose shortlist cannot prove it."""
        parts, unsettled = shortlists(logits, params, validate=self.validate)
        self.drawn += logits.shape[0]
        if keys is not None and params.uniform and len(parts) == 1 and not unsettled:
            part = parts[0][1]
            noise = counter_exponential(keys, part.token_ids)
            winner, certain = seeded_winner(part, noise, params.on.get("temperature", 1.0), None)
            if bool(certain.all()):
                return part.token_ids.gather(1, winner)[:, 0]
        tokens = torch.empty(logits.shape[0], dtype=torch.int64, device=logits.device)
        doubtful = list(unsettled)
        noises: list[Tensor]
        snapshots: dict[int, Tensor] = {}
        if keys is not None:
            noises = [counter_exponential(keys if some is None else keys[some], part.token_ids) for some, part in parts]
        else:
            noises = self._stream_noise(parts, logits.shape[0], rows, snapshots)
        for (some, part), noise in zip(parts, noises, strict=True):
            where = slice(None) if some is None else some
            if keys is None:
                winner, certain = stream_winner(part, noise)
            else:
                winner, certain = seeded_winner(part, noise, params.on.get("temperature", 1.0), some)
            tokens[where] = part.token_ids.gather(1, winner)[:, 0]
            if part.settled is not None:
                certain = certain & part.settled
            if isinstance(params.greedy, Tensor):
                greedy = params.greedy[where, 0]
                tokens[where] = torch.where(greedy, part.token_ids[:, 0], tokens[where])
                certain = torch.where(greedy, part.values[:, 0] > part.values[:, 1:2].amax(-1), certain)
            if not bool(certain.all()):
                failed = (~certain).nonzero()[:, 0] if some is None else some[~certain]
                doubtful += [row for row in failed.tolist() if row not in unsettled]
        self.fallbacks += len(doubtful)
        for row in doubtful:
            tokens[row] = self._draw_row_in_full(logits, params, keys, row, rows, snapshots)
        return tokens

    def _stream_noise(
        self,
        parts: list[tuple[Tensor | None, Shortlist]],
        count: int,
        rows: Tensor | None,
        snapshots: dict[int, Tensor],
    ) -> list[Tensor]:
        original = torch.arange(count) if rows is None else rows
        snapshots.update(dict.fromkeys(original.tolist(), torch.empty(0)))
        listed = [
            ((original if some is None else original[some])[:, None] * self.vocab_size + part.token_ids)
            for some, part in parts
        ]
        flat = torch.cat([positions.flatten() for positions in listed])
        noise = exponentials_at(flat, self.batch_size, self.vocab_size, self.generator, snapshots)
        pieces = torch.split_with_sizes(noise, [positions.numel() for positions in listed])
        return [piece.view(positions.shape) for piece, positions in zip(pieces, listed, strict=True)]

    def _draw_row_in_full(
        self,
        logits: Tensor,
        params: CompiledParams,
        keys: Tensor | None,
        row: int,
        rows: Tensor | None,
        snapshots: dict[int, Tensor],
    ) -> Tensor:
        one = params.select_rows(torch.tensor([row], device=logits.device))
        wide = logits[row : row + 1].to(torch.float32)
        if isinstance(one.greedy, Tensor) and bool(one.greedy):
            return wide.argmax()
        kept = apply_chain(wide, one)
        if keys is not None:
            return _seeded_winner(wide, kept, one, keys[row : row + 1])[0]
        noise = row_exponentials(snapshots[row if rows is None else int(rows[row])], self.vocab_size)
        return (kept.softmax(-1) / noise).argmax()


def _seeded_winner(wide: Tensor, kept: Tensor, params: CompiledParams, keys: Tensor, *, scaled: bool = False) -> Tensor:
    """Race over the whole vocabulary: wide, kept [N, V] logits before and after the filters. Returns [N].

    scaled: ``kept`` holds the logits to draw from, more than ``wide`` divided by the temperature.
    """
    winners = []
    token_ids = torch.arange(wide.shape[1], device=wide.device)
    temperature = params.on.get("temperature", 1.0)
    for row in range(wide.shape[0]):
        some = slice(row, row + 1)
        if scaled or "dynamic_temperature" in params.on:
            score = kept[some].to(torch.float64)
        else:
            divisor = temperature[some] if isinstance(temperature, Tensor) else temperature
            score = (wide[some].to(torch.float64) / divisor).masked_fill_(kept[some] == -torch.inf, -torch.inf)
        winners.append((score - counter_exponential(keys[some], token_ids).log_()).argmax(-1))
    return torch.cat(winners)


def _read_seeds(seeds: Sequence[int] | Tensor, batch_size: int, device: torch.device) -> Tensor:
    if not isinstance(seeds, Tensor):
        if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
            raise TypeError("seeds must be ints, one per row")
        wrapped = [(seed + 2**63) % 2**64 - 2**63 for seed in seeds]
        seeds = torch.tensor(wrapped, dtype=torch.int64)
    if seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool:
        raise TypeError(f"seeds must be integers; got {seeds.dtype}")
    if seeds.shape != (batch_size,):
        raise ValueError(f"seeds must be of shape [{batch_size}], one per row; got {list(seeds.shape)}")
    return seeds.to(device=device, dtype=torch.int64)


def with_logprobs(logits: Tensor, token_ids: Tensor, n: int) -> Sampled:
    """Log-probabilities of the given tokens and of the n best under ``logits``, without a [B, V] result."""
    if not logits.shape[0]:
        return Sampled(token_ids, logits[:, 0].float(), token_ids[:, None][:, :0], logits[:, :0].float())
    top, top_ids = largest(logits, max(n, 1))
    best = top[:, :1].to(torch.float32)
    total = best + row_mass(logits, 1.0, best).log().to(torch.float32)
    chosen = logits.gather(1, token_ids[:, None]).to(torch.float32) - total
    return Sampled(token_ids, chosen[:, 0], top_ids[:, :n], top[:, :n].to(torch.float32) - total)
