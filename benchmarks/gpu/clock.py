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


def inputs(make: Callable[[int], Tensor]) -> list[Tensor]:
    """Inputs to rotate over, so that together they pass the cache: ``make(i)``, from two to eight."""
    first = make(0)
    size = first.numel() * first.element_size()
    return [first, *(make(i) for i in range(1, min(8, max(2, 2 * CACHE // size))))]


def microseconds(check: Check, run: Callable[[Tensor], Any], given: Sequence[Tensor], rounds: int = 60) -> float:
    """The median time of a call, in microseconds: between two events of the stream, with the host's part in it.

    Warm-up first. On the CPU, where nothing is measured, one call by the clock.
    """
    if check.device.type != "cuda":
        start = time.perf_counter()
        run(given[0])
        return 1e6 * (time.perf_counter() - start)
    for i in range(3):
        run(given[i % len(given)])
    torch.cuda.synchronize()
    start = time.perf_counter()
    run(given[0])
    torch.cuda.synchronize()
    rounds = max(5, min(rounds, int(1.5 / max(time.perf_counter() - start, 1e-6))))
    event: Any = torch.cuda.Event
    marks = [(event(enable_timing=True), event(enable_timing=True)) for _ in range(rounds)]
    for i, (before, after) in enumerate(marks):
        before.record()
        run(given[i % len(given)])
        after.record()
    torch.cuda.synchronize()
    return float(statistics.median(1e3 * before.elapsed_time(after) for before, after in marks))


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
