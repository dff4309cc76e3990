"""A small run as pytest-benchmark would store it, for the tests of the report and the gate."""

from __future__ import annotations

from typing import Any


def pair(
    name: str = "step", *, speedup: float = 40.0, cost: float = 2.0, peak: int = 1000, **more: Any
) -> dict[str, Any]:
    """One entry's result: a rival, one read of the data, a bound on each, quartiles ten per cent around the median."""
    asked = [
        {"kind": "at_least", "factor": 30.0, "side": "transformers", "measured": speedup, "met": speedup >= 30},
        {"kind": "at_most", "factor": 4.0, "side": "read", "measured": cost, "met": cost <= 4},
    ]
    return {
        "name": name,
        "table": "kernels",
        "rounds": 20,
        "seconds": {"ours": 0.001, "transformers": 0.001 * speedup, "read": 0.001 / cost},
        "speedups": {"transformers": spread(speedup)},
        "costs": {"read": spread(cost)},
        "peak_bytes": {"ours": peak, "transformers": 10 * peak, "read": 64},
        "note": "",
        "data_bytes": 4_000_000,
        "bytes_per_second": 4e9,
        "asked": [
            bound | {"text": text} for bound, text in zip(asked, (">= 30 x transformers", "<= 4 x read"), strict=True)
        ],
        "device": "cpu",
        "dtype": "float32",
        "threads": 2,
    } | more


def growth(name: str = "step over vocabulary", *, axis: str = "vocabulary", exponent: float = 1.0) -> dict[str, Any]:
    sizes = [1000, 2000, 4000]
    return {
        "name": name,
        "table": "growth",
        "axis": axis,
        "sizes": sizes,
        "seconds": [0.001 * (size / 1000) ** exponent for size in sizes],
        "peak_bytes": [4000, 8000, 16000],
        "documented": {"time": 1, "memory": 1},
        "exponent": exponent,
        "memory_exponent": 1.0,
        "met": exponent <= 1.2,
    }


def spread(median: float, width: float = 1.1) -> dict[str, float]:
    return {"median": median, "q1": median / width, "q3": median * width, "low": median / 2, "high": median * 2}


def raw(pairs: list[dict[str, Any]], growths: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    benchmarks = [{"name": f"bench[{entry['name']}]", "extra_info": {"pair": entry}} for entry in pairs]
    benchmarks += [{"name": f"bench[{entry['name']}]", "extra_info": {"growth": entry}} for entry in growths or []]
    machine = {"device": "cpu", "arch": "x86_64", "cpu": "Some CPU", "cores": 2, "instructions": "AVX2", "kind": "kind"}
    return {
        "datetime": "2026-11-20T10:00:00",
        "benchmarks": benchmarks,
        "afterlogits": {"machine": machine, "versions": {"torch": "2.13.0", "transformers": "5.23.0"}},
    }
