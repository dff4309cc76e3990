"""Growth: how time and memory of one call rise with one size, and whether faster than documented.

An entry calls the fixture ``growth`` once:

    def bench_top_p_over_vocabulary(growth):
        def make(vocab_size):
            logits = workloads.peaked(8, vocab_size)
            return lambda: apply_top_p(logits, 0.9)
        growth("top_p 0.9, B=8", axis="vocabulary", sizes=[16_384, 65_536, 262_144], make=make, time=1, memory=1)

``time`` and ``memory`` are the documented exponents: 1 is linear, 0 does not grow. All sizes are timed by turns; the
exponent is the slope of the least-squares line through the medians on logarithmic axes. Fixed costs flatten such a
line, so the smallest size must be large enough for the work to show.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from afterlogits.benchmarks.pairing import FULL, Budget, Stage

SLACK = 0.2
"""How far a fitted exponent of time may lie above the documented one: caches and a shared machine bend the line."""

MEMORY_SLACK = 0.1
"""The same for memory, which has no noise but blocks and fixed tables."""


@dataclass
class Growth:
    """The fixture ``growth``: see the module's docstring."""

    benchmark: Any  # pytest-benchmark's fixture
    device: torch.device
    dtype: torch.dtype
    budget: Budget = FULL
    results: list[dict[str, Any]] = field(default_factory=list)

    def __call__(
        self,
        name: str,
        *,
        axis: str,
        sizes: Sequence[int],
        make: Callable[[int], Callable[[], Any]],
        time: float,
        memory: float | None = None,
        table: str = "growth",
        rounds: int = 5,
    ) -> dict[str, Any]:
        """Time ``make(size)`` for every size by turns; store medians, peaks and the fitted exponents."""
        if len(sizes) < 3:
            raise ValueError(f"sizes must hold at least 3 sizes to fit an exponent; got {list(sizes)}")
        stage = Stage(self.device)
        runs = {size: make(size) for size in sizes}
        measured = {size: stage.measure(run)[1:] for size, run in runs.items()}
        if self.benchmark.disabled:
            return {}

        seconds = sum(stage.clock(run) for run in runs.values())
        times: dict[int, list[float]] = {size: [] for size in sizes}
        *others, last = sizes

        def time_the_others() -> tuple[tuple[Any, ...], dict[str, Any]]:
            for size in others:
                times[size].append(stage.clock(runs[size]))
            return stage.arguments(), {}

        count = self.budget.rounds(seconds, rounds)
        self.benchmark.pedantic(stage.finished(runs[last]), setup=time_the_others, rounds=count)
        times[last] = list(self.benchmark.stats.stats.data)
        medians = [statistics.median(times[size]) for size in sizes]
        peaks = [measured[size][0] or 0 for size in sizes]
        result = {
            "name": name,
            "table": table,
            "axis": axis,
            "sizes": list(sizes),
            "seconds": medians,
            "peak_bytes": peaks,
            "documented": {"time": time, "memory": memory},
        } | judge(sizes, medians, peaks, time, memory)
        self.benchmark.extra_info["growth"] = result
        self.results.append(result)
        return result


def judge(
    sizes: Sequence[int], seconds: Sequence[float], peaks: Sequence[int], time: float, memory: float | None
) -> dict[str, Any]:
    """The fitted exponents, and whether they stay within the documented ones."""
    fitted_time = exponent(sizes, seconds)
    fitted_memory = exponent(sizes, [max(1, peak) for peak in peaks])
    met = fitted_time <= time + SLACK and (memory is None or fitted_memory <= memory + MEMORY_SLACK)
    return {"exponent": fitted_time, "memory_exponent": fitted_memory, "met": met}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the least-squares line through (log size, log value).

    >>> exponent([1, 2, 4], [3, 12, 48])
    2.0
    """
    x, y = [math.log2(size) for size in sizes], [math.log2(value) for value in values]
    return statistics.linear_regression(x, y).slope
