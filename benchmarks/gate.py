"""The regression gate: a quick run against the stored summary, by ratios only.

A ratio has worsened when it is worse than the stored one by more than the noise: the larger of the two quartile
spreads (third over first), times ``SHARED_MACHINE``, because a machine that other work shares moves ratios too. What
looks worse is measured a second time, it alone, and only what is worse both times fails. Peak memory has no noise: a
quarter more fails. Absolute times are never compared. Without a summary of this machine's kind the first stored one
stands in, with its bounds doubled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afterlogits.benchmarks import summary as summaries
from afterlogits.benchmarks.grid import below
from afterlogits.benchmarks.page import figure

SHARED_MACHINE = 1.5
"""How far a ratio may move beyond its measured spread: wide, for a machine that is shared."""

OTHER_KIND = 2.0
"""The further factor where the stored summary is of another kind of machine."""

MEMORY = 1.25
MEMORY_FLOOR = 1 << 20
"""Peaks may rise by a quarter, and by a megabyte in any case."""


@dataclass(frozen=True)
class Regression:
    """One figure that is worse than stored by more than the bound."""

    entry: str
    what: str
    stored: float
    measured: float
    allowed: float

    def __str__(self) -> str:
        stored, measured, allowed = map(figure, (self.stored, self.measured, self.allowed))
        return f"{self.entry}: {self.what} was {stored}, is {measured}; the bound is {allowed}"


def compare(
    stored: Mapping[str, Any], measured: Mapping[str, Any], *, width: float = SHARED_MACHINE
) -> list[Regression]:
    """The regressions of ``measured`` against ``stored``, two summaries; entries in only one of them are left out."""
    known = {(entry["table"], entry["name"]): entry for entry in stored["pairs"]}
    found: list[Regression] = []
    for entry in measured["pairs"]:
        before = known.get((entry["table"], entry["name"]))
        if before is not None:
            found += _ratios(before, entry, width)
            found += _memory(before, entry)
    return found


def _ratios(before: Mapping[str, Any], now: Mapping[str, Any], width: float) -> Iterator[Regression]:
    """Ratios that are worse than before by more than ``width`` times the wider of both spreads."""
    for kind, sign in (("speedups", 1), ("costs", -1)):
        for side, spread in now[kind].items():
            old = before[kind].get(side)
            if old is None:
                continue
            noise = width * max(spread["q3"] / spread["q1"], old["q3"] / old["q1"])
            bound = old["median"] * noise ** (-sign)
            if (spread["median"] < bound) if sign > 0 else (spread["median"] > bound):
                what = f"speed-up over {side}" if sign > 0 else f"time over {side}"
                yield Regression(now["name"], what, old["median"], spread["median"], bound)


def _memory(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Regression]:
    old, new = before["peak_bytes"]["ours"], now["peak_bytes"]["ours"]
    if old is not None and new is not None and new > max(MEMORY * old, old + MEMORY_FLOOR):
        yield Regression(now["name"], "peak bytes", old, new, max(MEMORY * old, old + MEMORY_FLOOR))


def growth_failures(measured: Mapping[str, Any]) -> list[str]:
    """Entries that grow faster than documented."""
    return [
        f"{entry['name']}: grows with {entry['axis']} as {entry['exponent']:.2f} in time and"
        f" {entry['memory_exponent']:.2f} in memory; documented {entry['documented']['time']:g} and"
        f" {entry['documented']['memory']}"
        for entry in measured["growth"]
        if not entry["met"]
    ]


@dataclass(frozen=True)
class Run:
    """A run's summary, and the test behind each of its entries: ``{name of the entry: name of the test}``."""

    summary: Mapping[str, Any]
    tests: Mapping[str, str]


def measure(arguments: Sequence[str]) -> Run:
    """One quick run of the suite in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "run.json"
        command = [sys.executable, "-m", "afterlogits.benchmarks", "--quick", f"--benchmark-json={raw}", *arguments]
        status = subprocess.run(command, env=dict(os.environ), check=False).returncode
        if status or not raw.exists():
            raise SystemExit(f"the quick run failed with status {status}: see above")
        found = json.loads(raw.read_text(encoding="utf-8"))
    return Run(summaries.summarise(found, command="make bench-check"), tests_of(found))


def tests_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """The test behind each entry of a run's raw JSON; growth is named with what it is against, of which an entry has
    several; the cells of the grid are named by their test."""
    found: dict[str, str] = {}
    for benchmark in raw["benchmarks"]:
        info = benchmark["extra_info"]
        entries = [info["pair"]["name"]] if "pair" in info else []
        if "growth" in info:
            entries.append(f"{info['growth']['name']}: grows with {info['growth']['axis']}")
        entries += below(info.get("grid", []))
        found |= dict.fromkeys(entries, benchmark["name"])
    return found


def once_more(suspects: Mapping[str, str], tests: Mapping[str, str]) -> list[str]:
    """The options that measure the suspects' tests alone: those whose entry a suspect's text begins with."""
    texts = suspects.values()
    wanted = {
        test
        for name, test in tests.items()
        if any(text == name or text.startswith((f"{name}: ", f"{name} as ")) for text in texts)
    }
    return [f"--only={test}" for test in sorted(wanted)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, compare, run what looks worse again, and return 1 if it is worse both times."""
    parser = argparse.ArgumentParser(prog="afterlogits.benchmarks.gate", description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=summaries.RESULTS, help="folder of the stored summaries")
    parser.add_argument("--width", type=float, help="how far a ratio may move beyond its measured spread")
    options, rest = parser.parse_known_args(argv)
    stored, width = _baseline(options.results)
    width = options.width or width
    print(f"bench-check: ratios only; bounds are {width:g} times the measured spread, wide enough for a shared machine")
    run = measure(rest)
    suspects = _failures(stored, run.summary, width)
    if suspects:
        print("worse than stored, measuring once more:", *suspects.values(), sep="\n  ")
        again = _failures(stored, measure([*rest, *once_more(suspects, run.tests)]).summary, width)
        suspects = {what: text for what, text in again.items() if what in suspects}
    for text in suspects.values():
        print(f"REGRESSION {text}", file=sys.stderr)
    print("bench-check:", f"{len(suspects)} regressions" if suspects else "no regression")
    return int(bool(suspects))


def _failures(stored: Mapping[str, Any], measured: Mapping[str, Any], width: float) -> dict[str, str]:
    found = {f"{item.entry}: {item.what}": str(item) for item in compare(stored, measured, width=width)}
    found |= {text.partition(" as ")[0]: text for text in growth_failures(measured)}
    return found | {text.split(":")[0]: text for text in below(measured.get("grid", []))}


def _baseline(folder: Path) -> tuple[dict[str, Any], float]:
    available = summaries.stored(folder)
    if not available:
        raise SystemExit(f"no summary is stored in {folder}: run `make bench-report`")
    kind = summaries.machine()["kind"]
    for summary in available:
        if summary["machine"]["kind"] == kind:
            return summary, SHARED_MACHINE
    print(f"no summary of a {kind} is stored; comparing with {available[0]['machine']['kind']}, bounds doubled")
    return available[0], SHARED_MACHINE * OTHER_KIND


if __name__ == "__main__":
    sys.exit(main())
