"""What a pair makes of its times: ratios with their spread, and whether what was asked is met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Bound:
    """One figure that was asked for: a least speed-up over a rival, a most cost against a limit, or a most memory."""

    kind: Literal["at_least", "at_most", "memory_at_most"]
    factor: float
    side: str

    def met(self, measured: float) -> bool:
        return measured >= self.factor if self.kind == "at_least" else measured <= self.factor

    def __str__(self) -> str:
        sign = ">=" if self.kind == "at_least" else "<="
        whose = "the data" if self.side == "data" else f"{self.side}'s"
        unit = f"of {whose}, peak memory" if self.kind == "memory_at_most" else f"x {self.side}"
        return f"{sign} {self.factor:g} {unit}"


def at_least(factor: float, side: str) -> Bound:
    """Ask that ``side``, a rival, takes at least ``factor`` times as long as we do."""
    return Bound("at_least", factor, side)


def at_most(factor: float, side: str) -> Bound:
    """Ask that we take at most ``factor`` times as long as ``side``, usually a limit."""
    return Bound("at_most", factor, side)


def memory_at_most(share: float, side: str = "data") -> Bound:
    """Ask that the peak of extra memory of one call is at most ``share`` of the bytes of ``data``, or of a side's."""
    return Bound("memory_at_most", share, side)


@dataclass(frozen=True)
class Spread:
    """The per-pair ratios of one comparison: median, quartiles, extremes."""

    median: float
    q1: float
    q3: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Spread:
        q1, _, q3 = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [ratios[0]] * 3
        return cls(statistics.median(ratios), q1, q3, min(ratios), max(ratios))


def result_of(
    name: str,
    table: str,
    times: dict[str, list[float]],
    peaks: dict[str, int | None],
    rivals: Iterable[str],
    limits: Iterable[str],
    data_bytes: int | None,
    asked: Sequence[Bound],
    note: str,
) -> dict[str, Any]:
    """The record of an entry. times: seconds of every side by round, NaN where a slow side sat out."""
    ours = times["ours"]
    together = {side: [(t, o) for t, o in zip(times[side], ours, strict=True) if t == t] for side in times}  # not NaN
    speedups = {side: Spread.of([_ratio(t, o) for t, o in together[side]]) for side in rivals}
    costs = {side: Spread.of([_ratio(o, t) for t, o in together[side]]) for side in limits}
    result: dict[str, Any] = {
        "name": name,
        "table": table,
        "rounds": len(ours),
        "seconds": {side: statistics.median(t for t, _ in values) for side, values in together.items()},
        "fewer_rounds": {side: len(values) for side, values in together.items() if len(values) < len(ours)},
        "speedups": {side: asdict(spread) for side, spread in speedups.items()},
        "costs": {side: asdict(spread) for side, spread in costs.items()},
        "peak_bytes": peaks,
        "note": note,
    }
    if data_bytes is not None:
        result["data_bytes"] = data_bytes
        result["bytes_per_second"] = result["data_bytes"] / result["seconds"]["ours"]
    result["asked"] = [_judge(bound, speedups, costs, result) for bound in asked]
    return result


def _judge(
    bound: Bound, speedups: Mapping[str, Spread], costs: Mapping[str, Spread], result: Mapping[str, Any]
) -> dict[str, Any]:
    """What a bound asks for beside what was measured, and whether it is met."""
    if bound.kind == "memory_at_most":
        whole = result["data_bytes"] if bound.side == "data" else result["peak_bytes"][bound.side]
        measured = result["peak_bytes"]["ours"] / whole
    elif bound.kind == "at_least":
        measured = speedups[bound.side].median if bound.side in speedups else 1 / costs[bound.side].median
    else:
        measured = costs[bound.side].median if bound.side in costs else 1 / speedups[bound.side].median
    return asdict(bound) | {"text": str(bound), "measured": measured, "met": bound.met(measured)}


def _ratio(seconds: float, of: float) -> float:
    return seconds / max(of, 1e-9)
