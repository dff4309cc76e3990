"""How long a call takes on a device: by events, the median of many, over inputs that the cache does not hold."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from afterlogits.benchmarks.gpu.findings import Check

CACHE = 64 << 20
"""Bytes that the second-level cache of an H100 or H200 may hold."""
CYCLES, LONGEST_SLEEP = 2e9, 0.05
"""Cycles of a second, and the seconds that a call is held up for at most."""


def inputs(make: Callable[[int], Tensor]) -> list[Tensor]:
    """Inputs to rotate over, so that together they pass the cache: ``make(i)``, from two to eight."""
    first = make(0)
    size = first.numel() * first.element_size()
    return [first, *(make(i) for i in range(1, min(8, max(2, 2 * CACHE // size))))]


def microseconds(check: Check, run: Callable[[Tensor], Any], given: Sequence[Tensor], rounds: int = 40) -> float:
    """The median time of a call on the device, in microseconds, as in a loop whose forward takes longer than launching.

    A kernel that only sleeps stands for the forward: while it does, the host launches the call and hears what the one
    before has sent late. A call that waits itself has the host's part in it. Warm-up first. On the CPU, where nothing
    is measured, one call by the clock.
    """
    return _median(check, run, given, rounds, asleep=True)


def alone(check: Check, run: Callable[[Tensor], Any], given: Sequence[Tensor], rounds: int = 20) -> float:
    """The median time of a call that the device has nothing else to do beside, with the host's part in it."""
    return _median(check, run, given, rounds, asleep=False)


def _median(check: Check, run: Callable[[Tensor], Any], given: Sequence[Tensor], rounds: int, *, asleep: bool) -> float:
    if check.device.type != "cuda":
        return _by_the_clock(run, given)
    sleep: Any = torch.cuda._sleep
    host = _launching(run, given)
    found = []
    for i in range(max(5, min(rounds, int(1.5 / host)))):
        if asleep and host < LONGEST_SLEEP:
            sleep(int(1.5 * host * CYCLES))
        before, after = _event(), _event()
        before.record()
        run(given[i % len(given)])
        after.record()
        if not asleep:
            torch.cuda.synchronize()
        found.append((before, after))
    torch.cuda.synchronize()
    return float(statistics.median(1e3 * before.elapsed_time(after) for before, after in found))


def _by_the_clock(run: Callable[[Tensor], Any], given: Sequence[Tensor]) -> float:
    start = time.perf_counter()
    run(given[0])
    return 1e6 * (time.perf_counter() - start)


def _launching(run: Callable[[Tensor], Any], given: Sequence[Tensor]) -> float:
    """Seconds that the host takes for a call, the longest of a few, once what is compiled and allocated once is."""
    longest = 0.0
    for i in range(6):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run(given[i % len(given)])
        longest = max(longest, time.perf_counter() - start) if i > 2 else 0.0
    torch.cuda.synchronize()
    return longest


def _event() -> Any:
    event: Any = torch.cuda.Event
    return event(enable_timing=True)


def in_a_graph(check: Check, run: Callable[[Tensor], Any], given: Sequence[Tensor]) -> float | None:
    """The same of a call captured in a CUDA graph for each input; None on the CPU."""
    if check.device.type != "cuda":
        return None
    stream: Any = torch.cuda.Stream
    side = stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for x in given:
            run(x)
    torch.cuda.current_stream().wait_stream(side)
    graphs = {}
    for x in given:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run(x)
        graphs[x.data_ptr()] = graph
    return microseconds(check, lambda x: graphs[x.data_ptr()].replay(), given)


def shown(value: float | None) -> str:
    """Microseconds as the table shows them.

    >>> shown(12.34), shown(None)
    ('12.3 us', '-')
    """
    return "-" if value is None else f"{value:.1f} us"
