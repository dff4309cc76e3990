"""How one side of a pair is run: what surrounds a run, what it costs, and how often it may run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from afterlogits.benchmarks.memory import peak_memory

Run = Callable[..., Any]


@dataclass(frozen=True)
class Budget:
    """How long one entry may be timed, and how often at least and at most."""

    seconds: float
    least: int
    most: int

    def rounds(self, seconds_per_round: float, wanted: int) -> int:
        """As many rounds as fit; up to four times the budget for those ``wanted``; never fewer than ``least``."""
        fit = int(self.seconds / max(seconds_per_round, 1e-9))
        floor = max(self.least, min(wanted, int(4 * self.seconds / max(seconds_per_round, 1e-9))))
        return max(floor, min(self.most, fit))

    def slow(self, seconds: float) -> bool:
        """Whether one run of a rival is so long that it cannot take part in every round."""
        return seconds * self.least > self.seconds

    def repeats(self, ours: float, rival: float) -> bool:
        """Whether both sides are also timed several runs in a row: ours is short, and the rival not long."""
        return ours < SHORT and rival < self.seconds / 50

    def turns(self, seconds: float) -> int:
        """In how many rounds such a rival takes part: as many as fit twice the budget, never fewer than one."""
        return max(1, int(2 * self.seconds / seconds))


SHORT = 0.002
"""Seconds: what the caches hold when a call begins is a large part of calls as short as this."""

FULL = Budget(seconds=5.0, least=3, most=60)
QUICK = Budget(seconds=0.6, least=3, most=20)


class Timed:
    """A side that times itself, in another process for instance: called, it gives (seconds, answer)."""

    def __init__(self, run: Callable[[], tuple[float, Any]]):
        self.run = run

    def __call__(self) -> tuple[float, Any]:
        return self.run()


@dataclass
class Stage:
    """What surrounds every run of every side: the reset, fresh arguments, and the end of a device's work."""

    device: torch.device
    reset: Callable[[], object] | None = None
    prepare: Callable[[], tuple[Any, ...]] | None = None

    def arguments(self) -> tuple[Any, ...]:
        if self.reset is not None:
            self.reset()
        arguments = self.prepare() if self.prepare is not None else ()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return arguments

    def finished(self, run: Run) -> Run:
        if self.device.type != "cuda":
            return run

        def run_and_wait(*arguments: Any) -> Any:
            result = run(*arguments)
            torch.cuda.synchronize(self.device)
            return result

        return run_and_wait

    def clock(self, run: Run | Timed) -> float:
        arguments, run_and_wait = self.arguments(), self.finished(run)
        start = time.perf_counter()
        result = run_and_wait(*arguments)
        elapsed = time.perf_counter() - start
        return float(result[0]) if isinstance(run, Timed) else elapsed

    def in_a_row(self, run: Run, count: int) -> list[float]:
        """Seconds of ``count`` runs that each follow a run of the same side."""
        self.clock(run)
        return [self.clock(run) for _ in range(count)]

    def measure(self, run: Run | Timed, profiled: bool = True) -> tuple[Any, int | None, float]:
        """Answer, peak of extra bytes (None in another process or unprofiled) and seconds of one first run."""
        start = time.perf_counter()
        arguments = self.arguments()
        if isinstance(run, Timed):
            return run()[1], None, time.perf_counter() - start
        if not profiled:
            return run(*arguments), None, time.perf_counter() - start
        answer, peak = peak_memory(lambda: run(*arguments), self.device)
        return answer, peak, time.perf_counter() - start
