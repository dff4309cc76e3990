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

from .counter_noise import counter_keys, counter_uniform
from .rejection import FIRST, LEAST, PART, PROPOSALS, SHARE

__all__ = ["FlatRows", "RowNoise", "StepNoise", "draw_seeded", "may_be_flat"]

_AT_ONCE = 2**22  # numbers of noise that are formed at once: 32 MiB of float64
_MOST_STEPS = 16


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

    def of(self, step: int | Tensor, rows: Tensor | None = None) -> RowNoise:
        """A step's noise of the rows ``rows`` [N], None for all of them. step: a number, or a tensor [] or [B]."""
        if isinstance(step, Tensor):
            steps = step.to(self.seeds.device, torch.int64)
            steps = steps if rows is None or not steps.dim() else steps[rows]
            return self._form(counter_keys(self._seeds_of(rows), steps.reshape(-1))[None])[0]
        place = step - self._first
        if rows is not self._rows or not 0 <= place < len(self._ahead):
            self._rows, self._first, place = rows, step, 0
            seeds = self._seeds_of(rows)
            self._ahead = self._form(self._keys(seeds, step))
        return self._ahead[place]

    def _keys(self, seeds: Tensor, first: int) -> Tensor:
        """The counters of rows at as many steps as are formed at once, [S, N, 1]."""
        rows = len(seeds)
        count = max(1, min(self.most_steps, _AT_ONCE // max(rows * (self.vocab_size + 2 * self.proposals), 1)))
        if count == 1 or not 0 <= first < 2**62:
            key: Tensor = counter_keys(seeds, first)
            return key[None]
        steps = torch.arange(first, first + count, device=seeds.device)[:, None].expand(count, rows).reshape(-1)
        keys: Tensor = counter_keys(seeds.repeat(count), steps)
        return keys.view(count, rows, 1)

    def _seeds_of(self, rows: Tensor | None) -> Tensor:
        return self.seeds if rows is None else self.seeds[rows]

    def _form(self, keys: Tensor) -> list[RowNoise]:
        """The noise of each step: keys [S, N, 1]."""
        uniform = counter_uniform(keys, _counters(self.vocab_size, self.proposals, keys.device))
        chances, race = uniform[..., self.vocab_size :], uniform[..., : self.vocab_size]
        token_ids = (chances[..., ::2] * self.vocab_size).to(torch.int64).clamp_(max=self.vocab_size - 1)
        race, coins = race.neg().log1p_().neg_().log_(), chances[..., 1::2].log()
        return [RowNoise(*each) for each in zip(race, token_ids, coins, strict=True)]


@lru_cache(maxsize=8)
def _counters(vocab_size: int, proposals: int, device: torch.device) -> Tensor:
    """The places in a row of noise: tokens from 0 up, then two for each proposal from ``FIRST`` down."""
    tokens = torch.arange(vocab_size, device=device)
    return torch.cat((tokens, torch.arange(FIRST, FIRST - 2 * proposals, -1, device=device))) if proposals else tokens


def may_be_flat(vocab_size: int) -> bool:
    """Whether rows of so many logits may be drawn by proposals."""
    return vocab_size // PART >= LEAST


class FlatRows(NamedTuple):
    """Which rows are drawn by proposals if they are flat, True for all or [B, 1] bool, and how far below its largest a
    flat row's logits lie, [1, 1] or [B, 1] float64."""

    proposing: Literal[True] | Tensor
    within: Tensor

    def select_rows(self, rows: Tensor) -> FlatRows:
        """The same of the rows ``rows`` [N] of the batch."""
        proposing = self.proposing[rows] if isinstance(self.proposing, Tensor) else self.proposing
        return FlatRows(proposing, self.within[rows] if len(self.within) > 1 else self.within)

    def among(self, logits: Tensor, top: Tensor) -> Tensor:
        """Which rows are flat and drawn by proposals, [N] bool: the count of ``rejection.flat_rows``."""
        part = logits.shape[1] // PART
        floor = (top - self.within).to(torch.float32)
        flat = (logits[:, :part] >= floor).sum(1) >= max(LEAST, part // SHARE)
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
    left = logits if kept is None else logits.masked_fill(kept == -torch.inf, -torch.inf)
    # From the largest logit, or the noise is lost in the rounding of logits beyond 1e16.
    score = left.to(torch.float64) - top
    if isinstance(temperature, Tensor) or temperature not in (None, 1.0):
        score = score / temperature
    tokens = (score - noise.race).argmax(1)
    if flat is None or temperature is None or logits.dtype == torch.float64 or not noise.token_ids.shape[1]:
        return tokens
    # Both are formed for every row: asking which rows are flat would be a wait.
    proposed, found = _proposed(left, top, noise, temperature)
    return torch.where(found & flat.among(logits, top), proposed, tokens)


def _proposed(left: Tensor, top: Tensor, noise: RowNoise, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """The first accepted proposal of each row among what the filters left, [N], and whether there is one.

    A coin is at most exp((logit - top) / T) where its logarithm times T is at most logit - top.
    """
    least = noise.coins * temperature if isinstance(temperature, Tensor) else noise.coins
    alpha = 1.0 if isinstance(temperature, Tensor) else temperature
    accepted = left.gather(1, noise.token_ids) >= torch.add(top, least, alpha=alpha)
    found, place = accepted.max(1, keepdim=True)
    return noise.token_ids.gather(1, place)[:, 0], found[:, 0]
