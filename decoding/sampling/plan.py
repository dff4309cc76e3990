"""A sampling call's options read for a batch: what is the same at every step and in every call with these options."""

import torch

from ..kernels.decision import RowFilters
from ..options.batch_options import CompiledParams, without_proposals
from ..triton_kernels.row_options import RowOptions
from .draw_steps import DrawSteps
from .kernel_draw import kernel_options
from .ladder import LADDER
from .params import SamplingParams
from .small_batch import FewRows, few_rows

__all__ = ["Plan"]


class Plan:
    """Options for a batch of ``batch_size`` rows of ``vocab_size`` logits on a device.

    params: the compiled options. filters: temperature, top-k, top-p and min-p, or typical-p, if nothing else is on.
    few: the draw of few rows. kernel_options: the options as a device's kernels take them, where they draw. has_steps:
    whether steps learn from the draw. ways: those of ``ladder.LADDER`` that apply, without and with seeds.
    """

    def __init__(self, options: SamplingParams, batch_size: int, vocab_size: int, device: torch.device):
        self.options, self.device = options, device
        self.batch_size: int = batch_size
        self.vocab_size: int = vocab_size
        self.on_cpu = device.type == "cpu"
        self.validate: bool = options.validate or self.on_cpu
        self.before_filters, self.needs_history = options.before_filters, options.needs_history
        steps = DrawSteps(options, batch_size=batch_size, device=device)
        self.has_steps = bool(steps)
        params = options.compiled(batch_size, device)
        self.params: CompiledParams = params if steps.rows_on is None else without_proposals(params, steps.rows_on)
        self.filters: RowFilters | None = None if steps else RowFilters.of(self.params)
        self.kernel_options: RowOptions | None = kernel_options(self)
        self.few: FewRows | None = None if steps else few_rows(self.params, device)
        self.ways = tuple([way for way in LADDER if way.applies(self, seeded)] for seeded in (False, True))
