"""Draws by transformers' operations over whole vocabularies: what no short way covers or can prove."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels.counter_noise import counter_uniform
from ..options.batch_options import CompiledParams
from .chain import apply_chain

__all__ = ["check_drawable", "divisor", "filtered", "multinomial", "noise_like", "winner", "xtc_chance"]

_XTC_COIN = -1  # the token id whose noise decides XTC in seeded mode


def xtc_chance(
    params: CompiledParams,
    keys: Tensor | None,
    rows: Tensor | None,
    batch_size: int,
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor | None:
    """What decides whether XTC acts on a row, [N]: from the row's counter, or one draw per row of the batch."""
    if "xtc" not in params.active:
        return None
    if keys is not None:
        coin: Tensor = counter_uniform(keys, torch.full((1,), _XTC_COIN, device=device))[:, 0]
        return coin
    chance = torch.rand(batch_size, generator=generator, device=device, dtype=torch.float32)
    return chance if rows is None else chance[rows]


def filtered(logits: Tensor, params: CompiledParams, chance: Tensor | None = None) -> Tensor:
    """The logits [N, V] through every filter, in float32 at least."""
    return apply_chain(logits.to(torch.promote_types(logits.dtype, torch.float32)), params, chance=chance)


def check_drawable(kept: Tensor, params: CompiledParams, rows: Sequence[int]) -> None:
    """Raise ValueError unless the filters left every row of ``kept`` [N, V] a finite largest logit.

    rows: what these rows are called. A quotient by a tiny temperature overflows, here as in transformers, which raises
    too. Greedy rows need none.
    """
    top = kept.amax(1)
    bad = ~top.isfinite()
    if isinstance(params.greedy, Tensor):
        bad &= ~params.greedy[:, 0].to(bad.device)
    if bool(bad.any()):
        place = int(bad.nonzero()[0, 0])
        names = ", ".join(params.active) or "logits"
        raise ValueError(f"{names} must leave a finite logit to draw; got {float(top[place])} in row {rows[place]}")


def divisor(params: CompiledParams) -> float | Tensor | None:
    """The temperature of ``full_winner``; None where it differs from token to token."""
    return None if "dynamic_temperature" in params.on else params.on.get("temperature", 1.0)


def winner(kept: Tensor, noise: Tensor) -> Tensor:
    """What ``torch.multinomial`` draws of filtered logits [N, V] with this noise, Exp(1) of the same shape: [N]."""
    return (kept.softmax(-1) / noise).argmax(-1)


def multinomial(kept: Tensor, rows: Tensor | None, batch_size: int, generator: torch.Generator | None) -> Tensor:
    """One token for each of the rows [N, V], torch's stream moved on by the whole batch: [N].

    rows: [N] int64, which rows of the batch these are; None means all of them.
    """
    if rows is None:
        return torch.multinomial(kept.softmax(-1), 1, generator=generator)[:, 0]
    return winner(kept, noise_like(kept, rows, batch_size, generator))


def noise_like(kept: Tensor, rows: Tensor | None, batch_size: int, generator: torch.Generator | None) -> Tensor:
    """The noise that ``torch.multinomial`` draws for a batch, Exp(1), of the rows [N, V] alone."""
    noise = torch.empty(batch_size, kept.shape[1], dtype=kept.dtype, device=kept.device)
    noise.exponential_(generator=generator)
    return noise if rows is None else noise[rows]
