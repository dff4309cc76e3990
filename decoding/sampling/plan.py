"""A sampling call's options read for a batch: what is the same at every step and in every call with these options."""

from collections.abc import Callable
from typing import Any

import torch

from ..kernels.decision import RowFilters
from ..options.batch_options import CompiledParams, without_proposals
from .draw_steps import DrawSteps
from .params import SamplingParams
from .small_batch import FewRows, few_rows

__all__ = ["Plan"]


class Plan:
    """Options for a batch of ``batch_size`` rows of ``vocab_size`` logits on a device.

    params: the compiled options. filters: temperature, top-k, top-p and min-p, if nothing else is on. few: the draw of
    few rows. has_steps: whether steps learn from the draw. ways: those of ``ladder.LADDER`` that apply, by whether the
    rows have seeds, once the ladder has chosen them.
    """

    def __init__(self, options: SamplingParams, batch_size: int, vocab_size: int, device: torch.device):
        self.options, self.batch_size, self.vocab_size, self.device = options, batch_size, vocab_size, device
        self.on_cpu = device.type == "cpu"
        self.validate: bool = options.validate or self.on_cpu
        self.before_filters, self.needs_history = options.before_filters, options.needs_history
        steps = DrawSteps(options, batch_size=batch_size, device=device)
        self.has_steps = bool(steps)
        params = options.compiled(batch_size, device)
        self.params: CompiledParams = params if steps.rows_on is None else without_proposals(params, steps.rows_on)
        self.filters: RowFilters | None = RowFilters.of(self.params)
        self.few: FewRows | None = None if steps else few_rows(self.params, device)
        self.has_fast_ways = self.filters is not None and not steps and self.params.greedy is not True
        self.ways: dict[bool, list[Callable[[Any], None]]] = {}
