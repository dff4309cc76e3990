"""A sampling call's options read for a batch: what is the same at every step and in every call with these options."""

import torch

from ..kernels.decision import RowFilters
from ..options.batch_options import CompiledParams, without_proposals
from ..triton_kernels.row_options import RowOptions
from .device_draw import DevicePlan
from .draw_steps import DrawSteps
from .kernel_draw import kernel_options
from .ladder import LADDER
from .params import SamplingParams
from .small_batch import FewRows, few_rows

__all__ = ["Plan", "plan_of"]

_MOST = 64
_PLANS: dict[tuple[int, int, int], "Plan"] = {}  # by the identity of their options, which they hold


class Plan:
    """Options for a batch of ``batch_size`` rows of ``vocab_size`` logits on a device.

    params: the compiled options. has_steps: whether steps learn from the draw. On the CPU: filters: temperature, top-k,
    top-p and min-p, or typical-p, if nothing else is on; few: the draw of few rows; ways: those of ``ladder.LADDER``
    that apply, without and with seeds. On another device: device_plan, what ``draw_on_device`` needs. kernel_options:
    the options as triton's kernels take them, where they draw.
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
        if steps.rows_on is not None:
            params = without_proposals(params, steps.rows_on.to(device))
        self.params: CompiledParams = params
        self.filters: RowFilters | None = None
        self.few: FewRows | None = None
        self.device_plan: DevicePlan | None = None
        self.kernel_options: RowOptions | None = kernel_options(self)
        if not self.on_cpu:
            self.device_plan = DevicePlan(params, vocab_size, device, has_steps=self.has_steps)
            return
        if not steps:
            self.filters, self.few = RowFilters.of(params), few_rows(params, device)
        self.ways = tuple(
            [(way.draw, way.most_rows) for way in LADDER if way.applies(self, seeded)] for seeded in (False, True)
        )


def plan_of(options: SamplingParams, batch_size: int, vocab_size: int, device: torch.device) -> Plan:
    """The plan, kept for later calls with the same object of plain numbers, on the CPU."""
    key = (id(options), batch_size, vocab_size)
    kept = _PLANS.get(key)
    if kept is not None and kept.options is options and kept.device == device:
        return kept
    plan = Plan(options, batch_size, vocab_size, device)
    if plan.on_cpu and not plan.has_steps and options.is_plain:
        if len(_PLANS) >= _MOST:
            _PLANS.clear()
        _PLANS[key] = plan
    return plan
