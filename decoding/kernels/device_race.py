"""Seeded draws on a device: the race of every token and the proposals of flat rows, as operations of fixed shapes.

The tokens are those that the CPU draws (``exponential_race``, ``rejection``): the noise is the same function of seed,
step and token id, and scores are formed in float64. Where the last place of two scores could swap them the CPU asks
Python and a device does not, which happens once in 10**10 draws. Nothing is read by the host. The noise of several
steps is formed at once where a step is small: launching its twenty operations would take longer than they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .counter_noise import GOLDEN, counter_keys, mixed
from .rejection import FIRST, LEAST, PART, PROPOSALS, SHARE

__all__ = ["FlatRows", "RowNoise", "StepNoise", "draw_seeded", "may_be_flat"]

_AT_ONCE = 2**22  # numbers of noise that are formed at once: 32 MiB of float64
_MOST_STEPS = 16
_KEYS_AT_ONCE = 64  # steps whose counters are formed at once


@dataclass(frozen=True)
class RowNoise:
    """A step's noise of N rows, as logarithms: race [N, V] float64 of each token's Exp(1), coins [N, P] float64 of what
    accepts the proposals token_ids [N, P] int64; P = 0 where nothing is proposed."""

    race: Tensor
    token_ids: Tensor
    coins: Tensor


class StepNoise:
    """The noise of rows with ``seeds`` [B] int64, step after step; ``proposals``: whether rows may be flat.

    ahead: the noise of further steps is formed with that of one, where it is little.
    """

    def __init__(self, seeds: Tensor, vocab_size: int, *, proposals: bool, ahead: bool = True):
        self.seeds, self.vocab_size = seeds, vocab_size
        self.proposals = PROPOSALS if proposals else 0
        self.most_steps = _MOST_STEPS if ahead else 1
        self._rows: Tensor | None = None
        self._first, self._ahead = 0, list[RowNoise]()
        self._held: tuple[Tensor | None, int, Tensor] | None = None  # rows, a step, the counters from it on

    def of(self, step: int | Tensor, rows: Tensor | None = None) -> RowNoise:
        """A step's noise of the rows ``rows`` [N], None for all of them. step: a number, or a tensor [] or [B]."""
        if isinstance(step, Tensor):
            return self._form(self.keys(step, rows)[None])[0]
        place = step - self._first
        if rows is not self._rows or not 0 <= place < len(self._ahead):
            self._rows, self._first, place = rows, step, 0
            count = len(self.seeds if rows is None else rows) * (self.vocab_size + 2 * self.proposals)
            count = max(1, min(self.most_steps, _AT_ONCE // max(count, 1)))
            first, keys = self._keys_at(step, rows)
            self._ahead = self._form(keys[step - first : step - first + count])
        return self._ahead[place]

    def keys(self, step: int | Tensor, rows: Tensor | None = None) -> Tensor:
        """The counters of the same rows at a step, [N, 1] int64; those of further steps are formed with them."""
        if isinstance(step, Tensor):
            steps = step.to(self.seeds.device, torch.int64)
            steps = steps if rows is None or not steps.dim() else steps[rows]
            found: Tensor = counter_keys(self._seeds_of(rows), steps.reshape(-1))
            return found
        first, keys = self._keys_at(step, rows)
        return keys[step - first]

    def _keys_at(self, step: int, rows: Tensor | None) -> tuple[int, Tensor]:
        """The counters of some steps, [S, N, 1], with the first of these; ``step`` is one of them."""
        if self._held is None or self._held[0] is not rows or not 0 <= step - self._held[1] < len(self._held[2]):
            seeds = self._seeds_of(rows)
            if self.most_steps == 1 or not 0 <= step < 2**62:
                keys: Tensor = counter_keys(seeds, step)[None]
            else:
                steps = torch.arange(step, step + _KEYS_AT_ONCE, device=seeds.device)
                keys = counter_keys(seeds[None], steps[:, None])
            self._held = rows, step, keys
        return self._held[1:]

    def _seeds_of(self, rows: Tensor | None) -> Tensor:
        return self.seeds if rows is None else self.seeds[rows]

    def _form(self, keys: Tensor) -> list[RowNoise]:
        """The noise of each step: keys [S, N, 1]."""
        # ``counter_uniform`` in fewer operations: 1/2 is added to whole numbers as what makes them float64.
        counters, half = _counters(self.vocab_size, self.proposals, keys.device)
        numbers = mixed(keys + counters) + half
        race = (numbers[..., : self.vocab_size] * -(2.0**-63)).log1p_().neg_().log_()
        chances = numbers[..., self.vocab_size :] * 2.0**-63
        token_ids = (chances[..., ::2] * self.vocab_size).to(torch.int64).clamp_(max=self.vocab_size - 1)
        coins = chances[..., 1::2].log()
        return [RowNoise(*each) for each in zip(race, token_ids, coins, strict=True)]


@lru_cache(maxsize=8)
def _counters(vocab_size: int, proposals: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """How far the places of a row of noise move its counter, int64: tokens from 0 up, then two for each proposal from
    ``FIRST`` down; and 1/2, [1] float64."""
    places = torch.arange(vocab_size, device=device)
    if proposals:
        places = torch.cat((places, torch.arange(FIRST, FIRST - 2 * proposals, -1, device=device)))
    return places * GOLDEN, torch.full((1,), 0.5, dtype=torch.float64, device=device)


def may_be_flat(vocab_size: int) -> bool:
    """Whether rows of so many logits may be drawn by proposals."""
    return vocab_size // PART >= LEAST


class FlatRows(NamedTuple):
    """Which rows are drawn by proposals if they are flat, True for all or [B, 1] bool; depths: 0, and how far below its
    largest a flat row's logits lie, [1, 2] or [B, 2] float64."""

    proposing: Literal[True] | Tensor
    depths: Tensor

    @classmethod
    def of(cls, proposing: Literal[True] | Tensor, within: Tensor) -> FlatRows:
        """within: [1, 1] or [B, 1] float64, the second of the depths."""
        return cls(proposing, torch.cat((torch.zeros_like(within), within), dim=1))

    def select_rows(self, rows: Tensor) -> FlatRows:
        """The same of the rows ``rows`` [N] of the batch."""
        proposing = self.proposing[rows] if isinstance(self.proposing, Tensor) else self.proposing
        return FlatRows(proposing, self.depths[rows] if len(self.depths) > 1 else self.depths)

    def among(self, logits: Tensor, floor: Tensor) -> Tensor:
        """Which rows are flat and drawn by proposals, [N] bool: the count of ``rejection.flat_rows``.

        floor: [N, 1] float64, where a flat row's logits lie at least.
        """
        part = logits.shape[1] // PART
        flat = (logits[:, :part] >= floor.to(torch.float32)).sum(1) >= max(LEAST, part // SHARE)
        return flat & self.proposing[:, 0] if isinstance(self.proposing, Tensor) else flat


def draw_seeded(
    logits: Tensor,
    top: Tensor,
    kept: Tensor | None,
    noise: RowNoise,
    temperature: float | Tensor | None,
    flat: FlatRows | None,
) -> Tensor:
    """The winners [N] of logits [N, V], the largest of which are ``top`` [N, 1].

    kept: [N, V], -inf for what the filters dropped; None where they drop nothing. temperature: a number or [N, 1]
    float64; None where ``kept`` is what races. flat: the rows that proposals may draw; None where they draw none.
    """
    if temperature is None and kept is not None:
        score = kept.to(torch.float64)
        return (score - score.amax(1, keepdim=True) - noise.race).argmax(1)
    if kept is None or (not isinstance(temperature, Tensor) and temperature == 1.0):
        left = logits if kept is None else kept  # filters alone change no value that they keep
    else:
        left = logits.masked_fill(kept == -torch.inf, -torch.inf)
    if flat is None or temperature is None or logits.dtype == torch.float64 or not noise.token_ids.shape[1]:
        return _scores(left, top.to(torch.float64), noise.race, temperature).argmax(1)
    levels = top - flat.depths  # the largest in float64, and the floor of flat rows
    tokens = _scores(left, levels[:, :1], noise.race, temperature).argmax(1)
    # Both are formed for every row: asking which rows are flat would be a wait.
    proposed, found = _proposed(left, top, noise, temperature)
    return torch.where(found & flat.among(logits, levels[:, 1:]), proposed, tokens)


def _scores(left: Tensor, top: Tensor, race: Tensor, temperature: float | Tensor | None) -> Tensor:
    """What the winner has most of, [N, V] float64: (logit - top) - T * log(noise), which orders tokens as the quotient.

    From the largest logit, or the noise is lost in the rounding of logits beyond 1e16.
    """
    score = left - top
    if isinstance(temperature, Tensor):
        return score.addcmul(temperature, race, value=-1)
    return score.sub(race, alpha=1.0 if temperature is None else temperature)


def _proposed(left: Tensor, top: Tensor, noise: RowNoise, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """The first accepted proposal of each row among what the filters left, [N], and whether there is one.

    A coin is at most exp((logit - top) / T) where its logarithm times T is at most logit - top.
    """
    least = noise.coins * temperature if isinstance(temperature, Tensor) else noise.coins
    alpha = 1.0 if isinstance(temperature, Tensor) else temperature
    accepted = left.gather(1, noise.token_ids) >= torch.add(top, least, alpha=alpha)
    found, place = accepted.max(1, keepdim=True)
    return noise.token_ids.gather(1, place)[:, 0], found[:, 0]
