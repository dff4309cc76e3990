"""Options and fixtures of the suite, on top of pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from afterlogits.benchmarks import grid as grids
from afterlogits.benchmarks.growth import Growth
from afterlogits.benchmarks.page import growth_page, page
from afterlogits.benchmarks.pairing import FULL, QUICK, Pair, device_name
from afterlogits.benchmarks.suite import OPTIONS
from afterlogits.benchmarks.summary import machine, versions

_pairs: list[dict[str, Any]] = []
_growths: list[dict[str, Any]] = []
_cells: list[dict[str, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("afterlogits", "afterlogits bench")
    for name, options in OPTIONS:
        group.addoption(name, **options)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: too long for --quick")
    config.addinivalue_line("markers", "peers: needs other engines installed (make bench-peers)")
    config.addinivalue_line("markers", "cpu_only: the rival is a process of the CPU's, or the work is the host's own")
    threads = config.getoption("--threads", default=None)
    if threads is not None:
        torch.set_num_threads(threads)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    quick, peers = config.getoption("--quick", default=False), config.getoption("--peers", default=False)
    on_cpu = config.getoption("--device", default="cpu") == "cpu"
    only = config.getoption("--only", default=None)

    def wanted(item: pytest.Item) -> bool:
        marks = {mark.name for mark in item.iter_markers()}
        runs_here = peers == ("peers" in marks) and (on_cpu or "cpu_only" not in marks)
        return runs_here and not (quick and "full" in marks) and (only is None or item.name in only)

    dropped = [item for item in items if not wanted(item)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture
def pair(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Pair]:
    """Check that the sides give the same answer, time them by turns, keep the ratios: see ``pairing.py``."""
    entry = Pair(benchmark, *_options(request.config))
    yield entry
    _pairs.extend(entry.results)


@pytest.fixture
def growth(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Growth]:
    """Time one call over several sizes, fit the exponent, compare with the documented cost: see ``growth.py``."""
    device, dtype, budget = _options(request.config)
    # A slope over sizes needs less repetition than a ratio.
    entry = Growth(benchmark, device, dtype, replace(budget, seconds=budget.seconds / 2))
    yield entry
    _growths.extend(entry.results)


@pytest.fixture
def grid(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Callable[[], None]]:
    """Measure the cells of the grid, thin ones in ``--quick``; with timing off only the answers are checked."""
    thin = request.config.getoption("--quick") or benchmark.disabled
    cells = list(grids.thin_cells() if thin else grids.bounded_cells())

    def run() -> None:
        records = [grids.check(cell) for cell in cells] if benchmark.disabled else grids.measure_all(cells)
        benchmark.pedantic(lambda: None)
        if not benchmark.disabled:
            benchmark.extra_info["grid"] = records
            _cells.extend(records)

    yield run


def _options(config: pytest.Config) -> tuple[Any, ...]:
    dtype = getattr(torch, config.getoption("--dtype"), None)
    if not isinstance(dtype, torch.dtype):
        raise pytest.UsageError(f"--dtype must be the name of a torch dtype; got {config.getoption('--dtype')!r}")
    return torch.device(config.getoption("--device")), dtype, QUICK if config.getoption("--quick") else FULL


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Say in the raw JSON what ran, so that a report made later does not describe the machine it is made on."""
    device = device_name(_options(config)[0])
    output_json["afterlogits"] = {"machine": machine(device), "versions": versions()}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _pairs:
        terminalreporter.section("asked and measured")
        terminalreporter.write_line(page(_pairs))
    if _growths:
        terminalreporter.section("growth")
        terminalreporter.write_line(growth_page(_growths))
    if _cells:
        terminalreporter.section("the grid of sampling calls")
        terminalreporter.write_line("\n".join(grids.lines(_cells)))
