"""What the check has found so far: rows written to a file as they come, and the table that is printed last."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from afterlogits.benchmarks.gpu.supervisor import whole_lines

LOST = 86
"""How a process ends whose device is lost to it."""


@dataclass(frozen=True)
class Finding:
    """One row: what was looked at, what was found, what was asked, and whether that is met (None: nothing asked)."""

    step: str
    name: str
    found: str
    asked: str = ""
    met: bool | None = None


@dataclass
class Check:
    """The run: its device, sizes and time, and the findings.

    dry: on the CPU with small sizes and once through, to see that every line runs; verdicts then mean nothing.
    """

    device: torch.device
    dry: bool = False
    seconds: float = 560.0
    path: Path | None = None
    findings: list[Finding] = field(default_factory=list)
    step: str = ""
    start: float = field(default_factory=time.perf_counter)

    def add(self, name: str, found: object, asked: str = "", met: bool | None = None) -> None:
        """Keep a row, print it, and write it to the file."""
        finding = Finding(self.step, name, str(found), asked, met)
        self.findings.append(finding)
        print(line_of(finding), flush=True)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(finding)) + "\n")

    def begin(self, index: int) -> None:
        """Say in the file that a step begins."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"begin": index}) + "\n")

    def equal(self, name: str, same: bool, detail: str = "") -> None:
        """A row for something that must be equal."""
        self.add(name, ("equal" if same else "NOT EQUAL") + (f": {detail}" if detail else ""), "equal", same)

    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.perf_counter() - self.start)

    def run(self, name: str, step: Callable[[Check], None], needs: float = 5.0) -> None:
        """Run a step; one that raises is a row that says so. needs: the seconds that it is not begun without."""
        self.step = name
        if self.left() < needs:
            self.add("left out", f"{self.left():.0f} s left, {needs:.0f} needed", "run", False)
            return
        before = time.perf_counter()
        try:
            step(self)
        except Exception as error:  # whatever it is, the other steps must run
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = (str(error).splitlines() or [""])[0]
            self.add(
                "failed", f"{type(error).__name__}: {said} ({Path(place.filename).name}:{place.lineno})", "run", False
            )
            self._leave_a_lost_device()
        self.add("took", f"{time.perf_counter() - before:.1f} s")

    def _leave_a_lost_device(self) -> None:
        """End this process where nothing runs on the device any more, as after a kernel's fault: the supervisor starts
        another, and only this step is lost."""
        if self.device.type != "cuda":
            return
        try:
            torch.ones(1, device=self.device).sum().item()
        except Exception:  # whatever it says, it will say it of every step
            sys.stdout.flush()
            os._exit(LOST)

    def table(self) -> str:
        """All rows, those that are not met last: what is cut off of a long output is its beginning."""
        rows = sorted(self.findings, key=lambda finding: finding.met is False)
        head = ["| step | what | found | asked | met |", "| --- | --- | --- | --- | --- |"]
        met = sum(finding.met is True for finding in rows)
        asked = sum(finding.met is not None for finding in rows)
        return "\n".join([*head, *map(line_of, rows), "", f"{met} of {asked} met"])


def findings_of(path: Path) -> list[Finding]:
    """The rows of a file."""
    return [Finding(**line) for line in whole_lines(path) if "begin" not in line]


def line_of(finding: Finding) -> str:
    """A row of the table.

    >>> line_of(Finding("times", "B=1", "14 us", "15 us", True))
    '| times | B=1 | 14 us | 15 us | yes |'
    """
    verdict = {True: "yes", False: "NO", None: ""}[finding.met]
    return f"| {finding.step} | {finding.name} | {finding.found} | {finding.asked} | {verdict} |"
