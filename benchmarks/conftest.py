"""Options and the fixture of the suite, on top of pytest-benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from afterlogits.benchmarks.page import page
from afterlogits.benchmarks.pairing import FULL, QUICK, Pair

_results: list[dict[str, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("afterlogits", "afterlogits bench")
    group.addoption("--quick", action="store_true", help="fewer rounds, and only the entries not marked `full`")
    group.addoption("--device", default="cpu", help="device the workloads live on (default: cpu)")
    group.addoption("--dtype", default="float32", help="dtype of the logits (default: float32)")
    group.addoption("--threads", type=int, default=None, help="threads torch may use (default: torch's own choice)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: too long for --quick")
    threads = config.getoption("--threads", default=None)
    if threads is not None:
        torch.set_num_threads(threads)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick", default=False):
        return
    dropped = [item for item in items if item.get_closest_marker("full")]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture
def pair(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Pair]:
    """Check that the sides give the same answer, time them by turns, keep the ratios: see ``pairing.py``."""
    option = request.config.getoption
    dtype = getattr(torch, option("--dtype"), None)
    if not isinstance(dtype, torch.dtype):
        raise pytest.UsageError(f"--dtype must be the name of a torch dtype; got {option('--dtype')!r}")
    entry = Pair(benchmark, torch.device(option("--device")), dtype, QUICK if option("--quick") else FULL)
    yield entry
    _results.extend(entry.results)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _results:
        terminalreporter.section("asked and measured")
        terminalreporter.write_line(page(_results))
