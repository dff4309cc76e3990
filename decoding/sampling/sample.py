"""From logits to tokens: one draw per row, with torch's own stream or with a seed per row."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from ..options.token_ids import check_token_ids
from ..options.validation import (
    RowOption,
    Steps,
    check_count,
    check_finite,
    check_generator,
    check_logits,
    check_seeds,
    check_step,
)
from .batch import Batch
from .device_draw import draw_on_device, marked, step_noise
from .draw_steps import DrawSteps
from .history_steps import HistorySteps
from .ladder import draw
from .logprobs import Sampled, with_logprobs
from .params import PARAM_NAMES, SamplingParams
from .plan import Plan
from .sampler import Sampler

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .sample_options import SampleOptions

__all__ = ["Sampled", "Sampler", "sample"]


@overload
def sample(
    logits: Tensor,
    params: SamplingParams | None = None,
    *,
    token_ids: Tensor | None = None,
    prompt_length: RowOption = 0,
    ignore_length: RowOption = 0,
    seeds: Sequence[int] | Tensor | None = None,
    step: Steps = 0,
    generator: torch.Generator | None = None,
    logprobs: None = None,
    **options: "Unpack[SampleOptions]",
) -> Tensor: ...
@overload
def sample(
    logits: Tensor,
    params: SamplingParams | None = None,
    *,
    token_ids: Tensor | None = None,
    prompt_length: RowOption = 0,
    ignore_length: RowOption = 0,
    seeds: Sequence[int] | Tensor | None = None,
    step: Steps = 0,
    generator: torch.Generator | None = None,
    logprobs: int,
    **options: "Unpack[SampleOptions]",
) -> Sampled: ...
def sample(
    logits: Tensor,
    params: SamplingParams | None = None,
    *,
    token_ids: Tensor | None = None,
    prompt_length: RowOption = 0,
    ignore_length: RowOption = 0,
    seeds: Sequence[int] | Tensor | None = None,
    step: Steps = 0,
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
    With seeds it is not touched.
    logprobs: also return the log-probability of the drawn token and of the n best, under the logits as given.
    Returns token ids [B] int64, or ``Sampled`` if logprobs is given.
    Raises ValueError or TypeError naming the argument and the row before anything is drawn. Rows with NaN, with +inf or
    without a finite value are refused on the CPU, and elsewhere with ``validate=True``; without it their token is -1
    there, and the host waits for nothing.
    >>> sample(torch.tensor([[0.0, 3.0, 1.0]]), temperature=0.0)
    tensor([1])
    """
    check_logits(logits)
    if logprobs is not None:
        check_count("logprobs", logprobs, 0)
    plan = _plan_of(logits, params, options)
    if generator is not None:
        check_generator(generator, plan.device)
    given = logits
    if plan.before_filters:
        logits = _after_history(plan, logits, token_ids, prompt_length, ignore_length)
    if type(step) is not int:
        step = check_step(step, plan.batch_size)
    known_seeds = None if seeds is None else check_seeds(seeds, plan.batch_size, plan.device)
    steps = DrawSteps(plan.options, batch_size=plan.batch_size, device=plan.device) if plan.has_steps else None
    if plan.on_cpu:
        drawn = draw(Batch(plan, logits, known_seeds, generator, step, None, steps))
    else:
        noise = None if known_seeds is None else step_noise(plan, known_seeds, ahead=False)
        drawn = marked(plan, *draw_on_device(plan, logits, noise, generator, step, None, steps))
    return drawn if logprobs is None else with_logprobs(given, drawn, logprobs)


def _plan_of(logits: Tensor, params: SamplingParams | None, options: dict[str, Any]) -> Plan:
    """The options read for these logits; kept for later calls where they are plain numbers."""
    batch_size, vocab_size = logits.shape
    if params is None:
        for name, value in options.items():
            if type(value) is list and all(type(number) in _PLAIN for number in value):
                options[name] = tuple(value)
            elif value is not None and type(value) not in _PLAIN:
                return Plan(_params_of(options), batch_size, vocab_size, logits.device)
        return _cached_plan(batch_size, vocab_size, logits.device, **options)
    if options:
        raise TypeError(f"sample takes params or options, not both; got params and {sorted(options)}")
    if not isinstance(params, SamplingParams):
        raise TypeError(f"params must be SamplingParams; got {type(params).__name__}")
    return Plan(params, batch_size, vocab_size, logits.device)


@lru_cache(maxsize=128, typed=True)
def _cached_plan(batch_size: int, vocab_size: int, device: torch.device, **options: Any) -> Plan:
    return Plan(_params_of(options), batch_size, vocab_size, device)


def _params_of(options: dict[str, Any]) -> SamplingParams:
    for name in sorted(options.keys() - PARAM_NAMES):
        near = get_close_matches(name, PARAM_NAMES, 1)
        raise TypeError(f"sample got an unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return SamplingParams(**options)


def _after_history(
    plan: Plan, logits: Tensor, token_ids: Tensor | None, prompt_length: RowOption, ignore_length: RowOption
) -> Tensor:
    """The logits as the steps on the history leave them, in float32."""
    if token_ids is None and plan.needs_history:
        raise ValueError(f"token_ids must be given for {plan.needs_history[0]}; got None")
    if token_ids is None:
        token_ids = torch.empty((plan.batch_size, 0), dtype=torch.int64, device=logits.device)
    check_token_ids(token_ids, plan.batch_size)
    steps = HistorySteps(
        plan.options, token_ids, vocab_size=plan.vocab_size, prompt_length=prompt_length, ignore_length=ignore_length
    )
    left = steps.apply(logits.to(torch.float32, copy=True))
    if plan.validate and not bool(left.amax(-1).isfinite().all()):
        check_finite(logits)
        check_finite(left, f"logits after {', '.join(plan.before_filters)}")
    return left


_PLAIN = (int, float, bool)
