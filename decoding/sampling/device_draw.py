"""A draw on a device: every row at once by operations of fixed shapes, so that the host waits for nothing.

Without seeds they are transformers' own filters, its softmax and what ``torch.multinomial`` does of it, without the two
checks that wait. With seeds the race is that of the CPU's draws, and so are the tokens. What no row may hold is not
looked for before the draw: the largest logit of every row is kept beside the tokens, for whoever reads it later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..kernels.device_race import FlatRows, StepNoise, draw_seeded, may_be_flat
from ..kernels.rejection import LEAST_TOP_P, WITHIN
from ..options.batch_options import CompiledParams
from ..options.numpy_or_torch import Array
from ..options.validation import Step, check_row_maxima, divided, on_device_of
from ..triton_kernels.stream_state import here, put_back
from .draw_steps import DrawSteps
from .kernel_draw import DoubtCount, LateDraw, kernel_draw
from .reference_draw import divisor, filtered, noise_like, xtc_chance

if TYPE_CHECKING:
    from ..triton_kernels.draw import Drawn
    from .plan import Plan

__all__ = ["DevicePlan", "check_drawn", "draw_on_device", "drawn_again", "marked", "step_noise"]


_KEEPS_TOP = frozenset(("temperature", "top_k", "top_p", "min_p"))


class DevicePlan:
    """What draws on a device need of the options, read once: params for draws without seeds, seeded with them.

    drops: whether a filter or a step changes what races, so that there is more to it than the logits. flat: the rows
    that are drawn by proposals if they are flat; None where there are none. keeps_top: whether no filter drops a row's
    largest logit. temperature: the divisor. divisors, greedy: the same, and which rows are greedy, on the host, [B] or
    [1] each.
    """

    def __init__(self, params: CompiledParams, vocab_size: int, device: torch.device, *, has_steps: bool):
        self.params, self.seeded = params, replace(params, exact_division=True)
        dynamic = "dynamic_temperature" in params.on
        self.drops = has_steps or dynamic or any(name != "temperature" for name in params.active)
        plain = params.greedy is not True and not dynamic
        self.temperature = temperature = params.on.get("temperature", 1.0) if plain else 1.0
        self.keeps_top = _KEEPS_TOP.issuperset(params.active)
        self.flat: FlatRows | None = None
        proposing = _proposing(params) if may_be_flat(vocab_size) and not has_steps else False
        if proposing is not False:
            self.flat = FlatRows(proposing, on_device_of(device, temperature) * WITHIN)
        on_host = temperature.cpu() if isinstance(temperature, Tensor) else temperature
        self.divisors: Array = np.asarray(on_host, dtype=np.float32).reshape(-1)
        greedy = params.greedy
        self.greedy: Array = np.asarray(greedy.cpu() if isinstance(greedy, Tensor) else greedy).reshape(-1)


def _proposing(params: CompiledParams) -> bool | Tensor:
    """Which rows proposals may draw: those whose options allow it and whose nucleus is not too narrow for them."""
    top_p = params.on.get("top_p", 1.0)
    if params.proposing is False or (isinstance(top_p, float) and top_p < LEAST_TOP_P):
        return False
    return (top_p >= LEAST_TOP_P) & params.proposing if isinstance(top_p, Tensor) else params.proposing


def step_noise(plan: Plan, seeds: Tensor, *, ahead: bool = True) -> StepNoise:
    """The noise of the plan's rows for seeded draws, step after step; ``ahead``: that of further steps with it."""
    proposals = plan.device_plan is not None and plan.device_plan.flat is not None
    return StepNoise(seeds, plan.vocab_size, proposals=proposals, ahead=ahead)


def draw_on_device(
    plan: Plan,
    logits: Tensor,
    noise: StepNoise | None,
    generator: torch.Generator | None,
    step: Step,
    rows: Tensor | None = None,
    steps: DrawSteps | None = None,
    doubts: DoubtCount | None = None,
    late: LateDraw | None = None,
) -> tuple[Tensor, Tensor]:
    """One token for each row of ``logits`` [N, V], and the largest logit of each, which ``check_drawn`` looks at: [N].

    noise: of the seeds; None draws from ``generator``, torch's own for the device if None. rows: [N] int64, which rows
    of the plan's batch these are. doubts, late: what becomes of draws in doubt, see ``kernel_draw``. Cost: with
    seeds the filters and a dozen passes of float64, without them that of transformers' draw without its checks. Reads
    no device value, unless the options say ``validate``.
    """
    logits = logits.detach() if logits.requires_grad else logits
    asked = plan.device_plan
    if asked is None:
        raise ValueError("plan must be one for another device than the CPU; got one for the CPU")
    drawn = _by_kernels(plan, logits, noise, generator, step, rows, doubts, late)
    if drawn is not None:
        return _checked(plan, drawn.tokens, drawn.largest, rows)
    if asked.params.greedy is True:
        top, tokens = logits.max(1)
        return _checked(plan, tokens, top, rows)
    top = logits.amax(1)
    if plan.validate:
        check_drawn(plan, top.cpu(), rows)
    if noise is None:
        tokens = _from_stream(plan, logits, asked, generator, rows, steps)
    else:
        tokens = _from_seeds(plan, logits, top[:, None], asked, noise, step, rows, steps)
    tokens = _with_greedy(asked, logits, tokens, rows)
    if steps:
        steps.advance(tokens, rows)
    return tokens, top


def _with_greedy(asked: DevicePlan, logits: Tensor, tokens: Tensor, rows: Tensor | None) -> Tensor:
    """The tokens [N], the largest logit in rows whose temperature is 0."""
    greedy = asked.params.greedy
    if not isinstance(greedy, Tensor):
        return tokens
    return torch.where((greedy if rows is None else greedy[rows])[:, 0], logits.argmax(1), tokens)


def drawn_again(plan: Plan, late: LateDraw, generator: torch.Generator | None) -> Tensor | None:
    """The tokens [N] of transformers' operations for the draw kept in ``late``, where they are others than its own.

    The generator is where that draw has left it, or where others have since moved it, as dropout in the forward does:
    there it stays if the tokens are the same, for then nothing is done again. Waits for the device where the draw is in
    doubt, seldom.
    """
    found = late.doubted()
    if found is None or plan.device_plan is None:
        return None
    logits, rows, stream, before = found
    since = here(generator, plan.device)
    put_back(generator, plan.device, stream)
    tokens = _from_stream(plan, logits, plan.device_plan, generator, rows, None)
    tokens = _with_greedy(plan.device_plan, logits, tokens, rows)
    if not torch.equal(tokens, before):
        return tokens
    put_back(generator, plan.device, since)
    return None


def _by_kernels(
    plan: Plan,
    logits: Tensor,
    noise: StepNoise | None,
    generator: torch.Generator | None,
    step: Step,
    rows: Tensor | None,
    doubts: DoubtCount | None,
    late: LateDraw | None,
) -> Drawn | None:
    """What triton's kernels draw; None where they do not take these options, logits or stream."""
    if plan.kernel_options is None:
        return None
    keys = None if noise is None else noise.keys(step, rows)
    return kernel_draw(plan, logits, keys, generator, rows, doubts, late)


def _checked(plan: Plan, tokens: Tensor, top: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both, once they are looked at where the caller asked for it."""
    if plan.validate:
        check_drawn(plan, top.cpu(), rows)
    return tokens, top


def _from_stream(
    plan: Plan,
    logits: Tensor,
    asked: DevicePlan,
    generator: torch.Generator | None,
    rows: Tensor | None,
    steps: DrawSteps | None,
) -> Tensor:
    """What ``torch.multinomial`` draws of the filtered logits, and the generator's state afterwards."""
    params = asked.params if rows is None else asked.params.select_rows(rows)
    chance = xtc_chance(params, None, rows, plan.batch_size, plan.device, generator)
    kept = filtered(logits, params, chance)
    kept = steps.apply(kept, rows) if steps else kept
    return (kept.softmax(-1) / noise_like(kept, rows, plan.batch_size, generator)).argmax(-1)


def _from_seeds(
    plan: Plan,
    logits: Tensor,
    top: Tensor,
    asked: DevicePlan,
    noise: StepNoise,
    step: Step,
    rows: Tensor | None,
    steps: DrawSteps | None,
) -> Tensor:
    """The race of every token, or the first accepted proposal of a flat row: the tokens that the CPU draws.

    top: [N, 1], the rows' largest logits.
    """
    params, flat = asked.seeded, asked.flat
    if rows is not None:
        params, flat = params.select_rows(rows), None if flat is None else flat.select_rows(rows)
    kept: Tensor | None = None
    if asked.drops:
        keys = noise.keys(step, rows) if "xtc" in params.active else None
        kept = filtered(logits, params, xtc_chance(params, keys, rows, plan.batch_size, plan.device, None))
        kept = steps.apply(kept, rows) if steps else kept
    return draw_seeded(
        logits,
        top,
        kept,
        noise.of(step, rows),
        None if steps else divisor(params),
        flat,
        keeps_top=asked.keeps_top,
    )


def marked(plan: Plan, token_ids: Tensor, top: Tensor) -> Tensor:
    """The tokens [N] of a draw, -1 where it meant nothing: where the largest logit or its quotient is no number."""
    asked = plan.device_plan
    if asked is None:
        return token_ids
    if isinstance(asked.temperature, Tensor) or asked.temperature != 1.0:
        top = divided(top[:, None], asked.temperature)[:, 0]
    return torch.where(top - top == 0, token_ids, -1)


def check_drawn(plan: Plan, top: Tensor | None, rows: Tensor | None) -> None:
    """Raise ValueError naming the row if a draw of these rows meant nothing.

    So it is with NaN, +inf or only -inf among the logits, and with no finite quotient by a temperature near 0.
    top: the rows' largest logits on the host, [N]. rows: on the device, [N] int64, which rows of the batch they were.
    """
    asked = plan.device_plan
    if asked is None or top is None or not top.numel():
        return
    found: Array = top.float().numpy()
    with np.errstate(all="ignore"):
        if np.isfinite(found / asked.divisors.min()).all():
            return
        original = np.arange(len(found)) if rows is None else rows.cpu().numpy()
        divisors, greedy = (np.broadcast_to(x, plan.batch_size)[original] for x in (asked.divisors, asked.greedy))
        quotients = np.where(greedy, found, found / divisors)
    bad = ~np.isfinite(quotients)
    if not bad.any():
        return
    place = int(bad.argmax())
    row = int(original[place])
    every = torch.zeros(row + 1, device="cpu")
    every[row] = float(found[place])
    check_row_maxima(every)
    names = ", ".join(asked.params.active)
    raise ValueError(f"{names} must leave a finite logit to draw; got {float(quotients[place])} in row {row}")
