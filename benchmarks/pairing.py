"""Pairs: two or more ways to the same answer, checked, then timed by turns in one process.

An entry of the suite is a function ``bench_*`` in a file ``benchmarks/bench_<module>.py`` that calls the fixture once:

    def bench_top_k_top_p(pair):
        logits = workloads.peaked(8, 151_936, device=pair.device, dtype=pair.dtype)
        pair(
            "top_k 50 + top_p 0.95, torch's stream, B=8",
            table="kernels",                                   # the part of the page it prints in
            ours=lambda: sample(logits, temperature=0.8, top_k=50, top_p=0.95),
            rivals={"transformers": lambda: library(logits)},  # must give the same answer
            data=logits,                                       # adds the limit "read": data.amax(-1)
            asked=[at_least(5, "transformers"), at_most(4, "read")],
            reset=lambda: torch.manual_seed(0),                # untimed, before every run of every side
        )

- ``rivals`` do the whole job; a speed-up is rival time / our time, and ``at_least(5, "transformers")`` asks for it.
- ``limits`` do part of it (a bare forward loop, one read of the data): a cost is our time / limit time, and
  ``at_most(1.25, "bare")`` asks for it. ``data=`` gives the limit "read" and the effective bytes per second.
- ``memory_at_most(0.25)`` bounds the peak of extra memory of one call, as a share of ``data``.
- ``same(ours, theirs)`` compares the answers of us and each rival, and raises if they differ (`require_same` unless
  given); it must not return a verdict. Where the answers cannot be equal (other noise), pass a function that checks
  what must hold, such as the support of the draw. ``limit_answers`` names limits whose answers must be the same too.
- ``memory`` names the sides whose peak is measured, all unless given: the profiler is slow over thousands of calls.
- ``prepare`` makes fresh arguments for every run, untimed, where a side writes into its input.
- ``note`` prints under the table; ``readme`` is the entry's label in the README's short table, for the few shown there.
- An entry that is too long for ``--quick`` carries the mark ``@pytest.mark.full``.
- What needs another version of transformers takes its rival from ``oracle.py``.

Run some with ``afterlogits bench -k top_p`` or, from a checkout, ``make bench ARGS='-k top_p'``. Every figure is a
ratio within one process; absolute times are stored for context only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from afterlogits.benchmarks.answers import UnequalAnswers, require_same
from afterlogits.benchmarks.memory import peak_memory

__all__ = [
    "Bound",
    "Budget",
    "Pair",
    "Spread",
    "Stage",
    "Timed",
    "UnequalAnswers",
    "at_least",
    "at_most",
    "memory_at_most",
    "require_same",
]

Run = Callable[..., Any]


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
        unit = "of the data, peak memory" if self.kind == "memory_at_most" else f"x {self.side}"
        return f"{sign} {self.factor:g} {unit}"


def at_least(factor: float, side: str) -> Bound:
    """Ask that ``side``, a rival, takes at least ``factor`` times as long as we do."""
    return Bound("at_least", factor, side)


def at_most(factor: float, side: str) -> Bound:
    """Ask that we take at most ``factor`` times as long as ``side``, usually a limit."""
    return Bound("at_most", factor, side)


def memory_at_most(share: float) -> Bound:
    """Ask that the peak of extra memory of one call is at most ``share`` of the bytes of ``data``."""
    return Bound("memory_at_most", share, "data")


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


FULL = Budget(seconds=5.0, least=3, most=60)
QUICK = Budget(seconds=0.6, least=3, most=20)


class Timed:
    """A side that times itself, in another process for instance: called, it gives (seconds, answer)."""

    def __init__(self, run: Callable[[], tuple[float, Any]]):
        self.run = run

    def __call__(self) -> tuple[float, Any]:
        return self.run()


@dataclass
class Pair:
    """The fixture ``pair``: see the module's docstring. One call per entry."""

    benchmark: Any  # pytest-benchmark's fixture
    device: torch.device
    dtype: torch.dtype
    budget: Budget = FULL
    results: list[dict[str, Any]] = field(default_factory=list)

    def __call__(
        self,
        name: str,
        *,
        table: str,
        ours: Run,
        rivals: Mapping[str, Run | Timed] | None = None,
        limits: Mapping[str, Run] | None = None,
        data: torch.Tensor | None = None,
        asked: Sequence[Bound] = (),
        same: Callable[[Any, Any], object] = require_same,
        limit_answers: Sequence[str] = (),
        reset: Callable[[], object] | None = None,
        prepare: Callable[[], tuple[Any, ...]] | None = None,
        memory: Sequence[str] | None = None,
        rounds: int = 5,
        note: str = "",
        readme: str = "",
    ) -> dict[str, Any]:
        """Check the answers, warm up, time every side by turns, and store the ratios beside what was asked."""
        rivals, limits = dict(rivals or {}), dict(limits or {})
        if data is not None:
            limits["read"] = _reader(data)
        _require_known_sides(asked, rivals, limits, data)
        stage = Stage(self.device, reset, prepare)

        profiled = {"ours", *rivals, *limits} if memory is None else set(memory)
        answer, peak, seconds = stage.measure(ours, "ours" in profiled)
        peaks = {"ours": peak}
        for side, run in {**rivals, **limits}.items():
            theirs, peaks[side], cost = stage.measure(run, side in profiled)
            seconds += cost
            if side in rivals or side in limit_answers:
                _require_answers(same, answer, theirs, name, side)
            del theirs
        del answer
        if self.benchmark.disabled:
            return {}

        others = {**rivals, **limits}
        if seconds < 2.0:  # a second, unrecorded run: the first one paid for caches and lazy set-up, and was profiled
            seconds = stage.clock(ours) + sum(stage.clock(run) for run in others.values())
        times = self._alternate(stage, ours, others, self.budget.rounds(seconds, rounds))
        result = _result(name, table, times, peaks, rivals, limits, data, asked, note)
        result |= {"readme": readme} if readme else {}
        result |= {
            "device": _device_name(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }
        self.benchmark.extra_info["pair"] = result
        self.results.append(result)
        return result

    def _alternate(
        self, stage: Stage, ours: Run, others: dict[str, Run | Timed], rounds: int
    ) -> dict[str, list[float]]:
        """Time each side once per round. pytest-benchmark times ours; its untimed setup times the others first."""
        times: dict[str, list[float]] = {side: [] for side in others}
        order = list(others)

        def time_the_others() -> tuple[tuple[Any, ...], dict[str, Any]]:
            for side in order:
                times[side].append(stage.clock(others[side]))
            order.append(order.pop(0)) if order else None  # no side always runs right before ours
            return stage.arguments(), {}

        self.benchmark.pedantic(stage.finished(ours), setup=time_the_others, rounds=rounds)
        times["ours"] = list(self.benchmark.stats.stats.data)
        return times


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


def _require_known_sides(
    asked: Sequence[Bound], rivals: Mapping[str, Run], limits: Mapping[str, Run], data: torch.Tensor | None
) -> None:
    for bound in asked:
        if bound.kind == "memory_at_most":
            if data is None:
                raise ValueError("data must be given to ask for memory_at_most; got None")
        elif bound.side not in {**rivals, **limits}:
            raise ValueError(f"asked must name a rival or a limit of the pair; got {str(bound)!r}")
    both = set(rivals) & set(limits)
    if both or "ours" in {**rivals, **limits}:
        raise ValueError(f"sides must have one name each, and none of them 'ours'; got {sorted(both) or ['ours']}")


def _require_answers(same: Callable[[Any, Any], object], ours: Any, theirs: Any, name: str, side: str) -> None:
    try:
        verdict = same(ours, theirs)
    except AssertionError as difference:
        raise UnequalAnswers(f"{name}: not timed, because ours and {side} disagree: {difference}") from difference
    if verdict is not None:
        raise TypeError(f"same must raise on a difference and return nothing; got {verdict!r}")


def _reader(data: torch.Tensor) -> Run:
    return lambda *_: data.amax(-1)


def _result(
    name: str,
    table: str,
    times: dict[str, list[float]],
    peaks: dict[str, int | None],
    rivals: Mapping[str, Run],
    limits: Mapping[str, Run],
    data: torch.Tensor | None,
    asked: Sequence[Bound],
    note: str,
) -> dict[str, Any]:
    ours = times["ours"]
    speedups = {side: Spread.of([_ratio(t, o) for t, o in zip(times[side], ours, strict=True)]) for side in rivals}
    costs = {side: Spread.of([_ratio(o, t) for t, o in zip(times[side], ours, strict=True)]) for side in limits}
    result: dict[str, Any] = {
        "name": name,
        "table": table,
        "rounds": len(ours),
        "seconds": {side: statistics.median(values) for side, values in times.items()},
        "speedups": {side: asdict(spread) for side, spread in speedups.items()},
        "costs": {side: asdict(spread) for side, spread in costs.items()},
        "peak_bytes": peaks,
        "note": note,
    }
    if data is not None:
        result["data_bytes"] = data.numel() * data.element_size()
        result["bytes_per_second"] = result["data_bytes"] / result["seconds"]["ours"]
    result["asked"] = [_judge(bound, speedups, costs, result) for bound in asked]
    return result


def _judge(
    bound: Bound, speedups: Mapping[str, Spread], costs: Mapping[str, Spread], result: Mapping[str, Any]
) -> dict[str, Any]:
    if bound.kind == "memory_at_most":
        measured = result["peak_bytes"]["ours"] / result["data_bytes"]
    elif bound.kind == "at_least":
        measured = speedups[bound.side].median if bound.side in speedups else 1 / costs[bound.side].median
    else:
        measured = costs[bound.side].median if bound.side in costs else 1 / speedups[bound.side].median
    return asdict(bound) | {"text": str(bound), "measured": measured, "met": bound.met(measured)}


def _ratio(seconds: float, of: float) -> float:
    return seconds / max(of, 1e-9)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
