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
- ``memory_at_most(0.25)`` bounds the peak of extra memory of one call, as a share of ``data`` (or of a side's peak).
- ``same(ours, theirs)`` compares the answers of us and each rival, and raises if they differ (`require_same` unless
  given); it must not return a verdict. Where the answers cannot be equal (other noise), pass a function that checks
  what must hold, such as the support of the draw. ``limit_answers`` names limits whose answers must be the same too.
- ``memory`` names the sides whose peak is measured, all unless given: the profiler is slow over thousands of calls.
- ``prepare`` makes fresh arguments for every run, untimed, where a side writes into its input.
- ``note`` prints under the table; ``readme`` is the entry's label in the README's short table, for the few shown there.
- A rival that takes seconds is timed in fewer rounds than the rest (`Budget.turns`), so that no entry takes minutes.
- Where our call is short, its first run after another side's is the figure: the caches hold little of it, as after a
  forward pass. The speed-ups of calls in a row, several of one side, then several of the other, are stored beside it.
- An entry that is too long for ``--quick`` carries the mark ``@pytest.mark.full``.
- What needs another version of transformers takes its rival from ``oracle.py``.

Run some with ``afterlogits bench -k top_p`` or, from a checkout, ``make bench ARGS='-k top_p'``. Every figure is a
ratio within one process; absolute times are stored for context only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from afterlogits.benchmarks.answers import UnequalAnswers, require_same
from afterlogits.benchmarks.figures import Bound, Spread, at_least, at_most, memory_at_most, result_of
from afterlogits.benchmarks.stage import FULL, QUICK, Budget, Run, Stage, Timed

__all__ = [
    "FULL",
    "QUICK",
    "Bound",
    "Budget",
    "Pair",
    "Spread",
    "Stage",
    "Timed",
    "UnequalAnswers",
    "at_least",
    "at_most",
    "device_name",
    "memory_at_most",
    "require_same",
]

RUNS_IN_A_ROW, TURNS_IN_A_ROW = 3, 10


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
        answer, peak, cost = stage.measure(ours, "ours" in profiled)
        peaks, seconds = {"ours": peak}, {"ours": cost}
        for side, run in {**rivals, **limits}.items():
            theirs, peaks[side], seconds[side] = stage.measure(run, side in profiled)
            if side in rivals or side in limit_answers:
                _require_answers(same, answer, theirs, name, side)
            del theirs
        del answer
        if self.benchmark.disabled:
            return {}

        others = {**rivals, **limits}
        for side, run in {"ours": ours, **others}.items():
            if seconds[side] < 2.0:  # a second, unrecorded run: the first paid for lazy set-up, and was profiled
                seconds[side] = stage.clock(run)
        slow = {side for side in rivals if self.budget.slow(seconds[side])}
        count = self.budget.rounds(sum(seconds[side] for side in seconds if side not in slow), rounds)
        turns = {side: min(count, self.budget.turns(seconds[side])) if side in slow else count for side in others}
        times = self._alternate(stage, ours, others, turns, count)
        result = result_of(name, table, times, peaks, rivals, limits, _bytes(data), asked, note)
        result |= {"readme": readme} if readme else {}
        repeatable = {
            side: run
            for side, run in rivals.items()
            if not isinstance(run, Timed) and self.budget.repeats(seconds["ours"], seconds[side])
        }
        result |= {"in_a_row": self._in_a_row(stage, ours, repeatable)} if repeatable else {}
        result |= {
            "device": device_name(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }
        self.benchmark.extra_info["pair"] = result
        self.results.append(result)
        return result

    def _alternate(
        self, stage: Stage, ours: Run, others: dict[str, Run | Timed], turns: Mapping[str, int], rounds: int
    ) -> dict[str, list[float]]:
        """Time each side once per round, slow ones in the last rounds only.

        pytest-benchmark times ours; its untimed setup times the others first. Times of a side that sat out the first
        rounds are NaN there.
        """
        times: dict[str, list[float]] = {side: [] for side in others}
        order = list(others)

        def time_the_others() -> tuple[tuple[Any, ...], dict[str, Any]]:
            done = len(times[order[0]]) if order else 0
            for side in order:
                sits_out = rounds - done > turns[side]
                times[side].append(math.nan if sits_out else stage.clock(others[side]))
            order.append(order.pop(0)) if order else None  # no side always runs right before ours
            return stage.arguments(), {}

        self.benchmark.pedantic(stage.finished(ours), setup=time_the_others, rounds=rounds)
        times["ours"] = list(self.benchmark.stats.stats.data)
        return times

    def _in_a_row(self, stage: Stage, ours: Run, rivals: Mapping[str, Run]) -> dict[str, dict[str, float]]:
        """Speed-ups of the runs that follow a run of the same side, by turns of both sides."""
        found = {}
        for side, rival in rivals.items():
            ratios = []
            for _ in range(TURNS_IN_A_ROW):
                theirs, own = (statistics.median(stage.in_a_row(run, RUNS_IN_A_ROW)) for run in (rival, ours))
                ratios.append(theirs / max(own, 1e-9))
            found[side] = asdict(Spread.of(ratios))
        return found


def _require_known_sides(
    asked: Sequence[Bound], rivals: Mapping[str, Run], limits: Mapping[str, Run], data: torch.Tensor | None
) -> None:
    """Raise ValueError where a bound names no side of the pair, or two sides have one name."""
    for bound in asked:
        if bound.kind == "memory_at_most" and bound.side == "data":
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


def _bytes(data: torch.Tensor | None) -> int | None:
    return None if data is None else data.numel() * data.element_size()


def device_name(device: torch.device) -> str:
    """What a summary files its figures under: the accelerator's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
