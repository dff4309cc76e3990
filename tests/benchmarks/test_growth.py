"""Growth: the fitted exponent, and what is faster than documented."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from afterlogits.benchmarks.growth import Growth, exponent, judge
from afterlogits.benchmarks.pairing import Budget
from tests.benchmarks.test_pairing import Stopwatch


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only sleeping moves: the ratios are exact whatever else the machine does."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def make_growth() -> Growth:
    return Growth(Stopwatch(), torch.device("cpu"), torch.float32, Budget(seconds=0.05, least=3, most=3))


def test_a_quadratic_implementation_behind_a_linear_promise_is_caught() -> None:
    """1, 4 and 16 ms over sizes 1, 2, 4: exponent 2."""

    def make(size: int) -> Callable[[], None]:
        return lambda: time.sleep(0.002 * size**2)

    result = make_growth()("sleep", axis="size", sizes=[1, 2, 4], make=make, time=1)
    assert result["exponent"] == pytest.approx(2)
    assert not result["met"]
    assert make_growth()("sleep", axis="size", sizes=[1, 2, 4], make=make, time=2)["met"]


def test_memory_is_fitted_too() -> None:
    """A copy of [size] floats: bytes grow linearly."""

    def make(size: int) -> Callable[[], torch.Tensor]:
        data = torch.zeros(size)

        def run() -> torch.Tensor:
            time.sleep(size / 1e9)
            return data.clone()

        return run

    result = make_growth()("copy", axis="size", sizes=[1 << 16, 1 << 18, 1 << 20], make=make, time=2, memory=1)
    assert result["peak_bytes"] == [4 << 16, 4 << 18, 4 << 20]
    assert result["memory_exponent"] == 1.0
    assert not judge([1, 2, 4], [1, 1, 1], [1, 4, 16], time=1, memory=1)["met"]


def test_exponent_is_the_slope_on_logarithmic_axes() -> None:
    """Constant: 0. Square root: 0.5."""
    assert exponent([1, 10, 100], [7, 7, 7]) == pytest.approx(0)
    assert exponent([1, 4, 16], [1, 2, 4]) == pytest.approx(0.5)


def test_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError) as refusal:
        make_growth()("two", axis="size", sizes=[1, 2], make=lambda size: lambda: None, time=1)
    assert str(refusal.value) == "sizes must hold at least 3 sizes to fit an exponent; got [1, 2]"
