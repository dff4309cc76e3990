"""Seeded draws on a device: the race of every token and the proposals of flat rows, as operations of fixed shapes.

The tokens are those that the CPU draws (``exponential_race``, ``rejection``): the noise is the same function of seed,
step and token id, and scores are formed in float64. Where the last place of two scores could swap them the CPU asks
Python and a device does not, which happens once in 10**10 draws. Nothing is read by the host. The noise of several
steps is formed at once where a step is small: launching its twenty operations would take longer than they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..options.numpy_or_torch import formed_once
from ..options.validation import Step, steps_of
from .counter_noise import GOLDEN, counter_keys, mixed
from .rejection import BELOW_ONE, FIRST, LEAST, PART, PROPOSALS, SHARE

__all__ = ["AT_ONCE", "FlatRows", "RowNoise", "StepNoise", "draw_seeded", "may_be_flat"]

AT_ONCE = 2**22  # numbers of noise that are formed at once: 32 MiB of float64
_MOST_STEPS = 16
_KEYS_AT_ONCE = 64  # steps whose counters are formed at once
_TRACE = 1e-300  # of filtered logits: what is left of -inf is -inf, of float32 nothing that rounding would not lose


@dataclass(frozen=True)
class RowNoise:
    """A step's noise of N rows: uniforms [N, V] float64 of the tokens, negative, which are -Exp(1) behind ``log1p``.

    token_ids: [N, P] int64, the proposals. coins: [N, 1 + P] float64, what accepts them; the first accepts nothing, for
    in its place stands the race's winner. None where nothing is proposed.
    """

    uniforms: Tensor
    token_ids: Tensor | None = None
    coins: Tensor | None = None

    def race(self) -> Tensor:
        """The logarithms [N, V] of each token's Exp(1)."""
        return self.uniforms.log1p().neg_().log_()


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

    def of(self, step: Step, rows: Tensor | None = None) -> RowNoise:
        """A step's noise of the rows ``rows`` [N], None for all of them. step: a number, or a tensor [] or [B]."""
        if not isinstance(step, int):
            return self._form(self.keys(step, rows)[None])[0]
        place = step - self._first
        if rows is not self._rows or not 0 <= place < len(self._ahead):
            self._rows, self._first, place = rows, step, 0
            count = len(self.seeds if rows is None else rows) * (self.vocab_size + 2 * self.proposals)
            count = max(1, min(self.most_steps, AT_ONCE // max(count, 1)))
            first, keys = self._keys_at(step, rows)
            self._ahead = self._form(keys[step - first : step - first + count])
        return self._ahead[place]

    def keys(self, step: Step, rows: Tensor | None = None) -> Tensor:
        """The counters of the same rows at a step, [N, 1] int64; those of further steps are formed with them."""
        if not isinstance(step, int):
            steps = steps_of(step, rows).to(self.seeds.device, torch.int64)
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
        # ``counter_uniform`` in one operation: products with powers of 2 round nothing.
        counters, scale, least = _counters(self.vocab_size, self.proposals, keys.device)
        numbers = torch.addcmul(least, mixed(keys + counters), scale)
        uniforms = numbers[..., : self.vocab_size].unbind()
        if not self.proposals:
            return [RowNoise(each) for each in uniforms]
        token_ids = numbers[..., self.vocab_size + 2 :: 2].to(torch.int64).unbind()
        coins = numbers[..., self.vocab_size + 1 :: 2].unbind()
        return [RowNoise(*each) for each in zip(uniforms, token_ids, coins, strict=True)]


@formed_once
def _minus_one(device: torch.device) -> Tensor:
    """[1] float64, so that what it is multiplied with is float64, too."""
    return torch.full((1,), -1.0, dtype=torch.float64, device=device)


@formed_once
def _counters(vocab_size: int, proposals: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """How far the places of a row of noise move its counter, int64, and what of its 63 bits each is: least + scale *
    bits, float64.

    Tokens from 0 up, whose uniforms are negative; a place that nobody reads and a coin that accepts nothing; then two
    places for each proposal from ``FIRST`` down, the token id and its coin.
    """
    places, unit = torch.arange(vocab_size, device=device), 2.0**-63
    scale = torch.full((vocab_size,), -unit, dtype=torch.float64, device=device)
    least = scale / 2
    if proposals:
        places = torch.cat((places, torch.arange(FIRST + 2, FIRST - 2 * proposals, -1, device=device)))
        # The 1/2 of a token id's uniform is left out: it is lost in the rounding of all but one in a thousand.
        pairs = torch.empty((2, 1 + proposals, 2), dtype=torch.float64, device=device)
        for of_pairs, (token_id, coin), (no_token, no_coin) in (
            (pairs[0], (vocab_size * BELOW_ONE * unit, unit), (0.0, 0.0)),
            (pairs[1], (0.0, unit / 2), (0.0, torch.inf)),
        ):
            of_pairs[:, 0], of_pairs[:, 1] = token_id, coin
            of_pairs[:1, 0], of_pairs[:1, 1] = no_token, no_coin
        scale, least = (torch.cat(each) for each in ((scale, pairs[0].flatten()), (least, pairs[1].flatten())))
    return places * GOLDEN, scale, least


def may_be_flat(vocab_size: int) -> bool:
    """Whether rows of so many logits may be drawn by proposals."""
    return vocab_size // PART >= LEAST


class FlatRows(NamedTuple):
    """Which rows are drawn by proposals if they are flat, True for all or [B, 1] bool; within: how far below its
    largest a flat row's logits lie, [1, 1] or [B, 1] float64."""

    proposing: Literal[True] | Tensor
    within: Tensor

    def select_rows(self, rows: Tensor) -> FlatRows:
        """The same of the rows ``rows`` [N] of the batch."""
        proposing = self.proposing[rows] if isinstance(self.proposing, Tensor) else self.proposing
        return FlatRows(proposing, self.within[rows] if len(self.within) > 1 else self.within)

    def among(self, logits: Tensor, top: Tensor) -> Tensor:
        """Which rows are flat and drawn by proposals, [N, 1] bool: the count of ``rejection.flat_rows``.

        top: [N, 1], the largest logit of each.
        """
        floor = torch.empty(top.shape, dtype=torch.float32, device=top.device)
        torch.sub(top, self.within, out=floor)  # in float64, and rounded
        part = logits.shape[1] // PART
        flat = (logits[:, :part] >= floor).sum(1, keepdim=True) >= max(LEAST, part // SHARE)
        return flat & self.proposing if isinstance(self.proposing, Tensor) else flat


def draw_seeded(
    logits: Tensor,
    top: Tensor,
    kept: Tensor | None,
    noise: RowNoise,
    temperature: float | Tensor | None,
    flat: FlatRows | None,
    *,
    keeps_top: bool = True,
) -> Tensor:
    """The winners [N] of logits [N, V], the largest of which are ``top`` [N, 1].

    kept: [N, V], -inf for what the filters dropped; None where they drop nothing. temperature: a number or [N, 1]
    float64; None where ``kept`` is what races. flat: the rows that proposals may draw; None where they draw none.
    keeps_top: whether no filter drops a largest logit, unless the temperature is None.

    A token wins whose Exp(1) / probability is the least, the negative of which is formed: exp((top - logit) / T) times
    log1p(-u). It is -inf for tokens so unlikely that they cannot win, for noise is above 2**-64.
    """
    weights = _inverse_weights(logits, top, kept, temperature, keeps_top)
    tokens: Tensor = torch.special.xlog1py(weights, noise.uniforms).argmax(1)
    if flat is None or temperature is None or noise.coins is None or noise.token_ids is None:
        return tokens
    if logits.dtype == torch.float64:  # as ``rejection.flat_rows``, which counts in float32
        return tokens
    # Both are formed for every row: asking which rows are flat would be a wait.
    token_ids = torch.cat((tokens[:, None], noise.token_ids), dim=1)
    accepted = weights.gather(1, token_ids) * noise.coins <= flat.among(logits, top)
    first = accepted.max(1, keepdim=True).indices  # 0, the race's winner, where none is accepted
    return token_ids.gather(1, first)[:, 0]


def _inverse_weights(
    logits: Tensor, top: Tensor, kept: Tensor | None, temperature: float | Tensor | None, keeps_top: bool
) -> Tensor:
    """exp((top - logit) / T) of each token, [N, V] float64: 1 for the largest that may be drawn, inf for the dropped.

    From the largest logit, or the noise is lost in the rounding of logits beyond 1e16.
    """
    one = isinstance(temperature, float) and temperature == 1.0
    # Filters alone change no value that they keep.
    left, dropped = (kept, None) if kept is not None and (one or temperature is None) else (logits, kept)
    if temperature is None and kept is not None:
        top = kept.amax(1, keepdim=True)
    depth = torch.addcmul(top, left, _minus_one(left.device))  # top - left in float64, whatever their types
    if dropped is not None:
        depth.sub_(dropped, alpha=_TRACE)
    if not keeps_top and temperature is not None:
        depth.sub_(depth.amin(1, keepdim=True))
    if not one and temperature is not None:
        depth.div_(temperature)
    return depth.exp_()
