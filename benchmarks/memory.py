"""Peak memory of one call, beyond what was allocated before it.

On the CPU the allocations and frees that torch's own allocator reports to its profiler are summed in time order:
scratch space inside a kernel counts, memory that numpy or Python allocate does not. On CUDA it is the allocator's own
peak.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch


def peak_memory(run: Callable[[], Any], device: torch.device | str = "cpu") -> tuple[Any, int]:
    """Run once; return what it returned and the peak of extra bytes during the call (its result included).

    >>> result, peak = peak_memory(lambda: torch.zeros(1024) + torch.zeros(1024))
    >>> peak // 1024  # both operands and the sum: three times four bytes
    12
    """
    if torch.device(device).type == "cuda":
        return _cuda_peak(run, torch.device(device))
    return _cpu_peak(run)


def _cpu_peak(run: Callable[[], Any]) -> tuple[Any, int]:
    """The result of a run and the most bytes that it held at once, from the profiler's memory events."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    kineto = profiler.profiler.kineto_results if profiler.profiler is not None else None
    if kineto is None:
        raise RuntimeError("the profiler of this build of torch reports no memory events")
    events = [(e.start_ns(), e.nbytes()) for e in kineto.events() if e.name() == "[memory]"]
    # Sorting by time alone keeps the profiler's own order for equal timestamps.
    in_time = [nbytes for _, nbytes in sorted(events, key=lambda event: event[0])]
    return result, max(0, *itertools.accumulate(in_time, initial=0), 0)


def _cuda_peak(run: Callable[[], Any], device: torch.device) -> tuple[Any, int]:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = run()
    torch.cuda.synchronize(device)
    return result, torch.cuda.max_memory_allocated(device) - before
