"""The quick suite in the running environment, and a row of docs/versions.md that says with which versions.

``python -m tests.programs.version_table --end oldest --write docs/versions.md`` replaces the row of that end; further
arguments are pytest's. Exits as pytest does. ``make test-versions`` builds the environments from the constraint files
and runs this in each.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

HEAD = """# Versions that were run

The quick suite (`pytest -m "not slow"`) at the ends of the ranges that are promised, each in an environment built from
its constraint file. Written by `make test-versions` (folders in `ARGS` run those alone); the pinned versions of
`constraints.txt` are what CI runs.
Tests of what one version of transformers lacks, or does otherwise than 5.23, are skipped there and name the reason.
torch 2.4.0 of the index draws its exponentials by MKL, from another stream: the check at the first draw tells, and
torch's own operations draw, with transformers' tokens and without the faster ways of draws that have no seed.
With torch below 2.6 transformers opens no pickled checkpoint (safetensors are read); llguidance 1.3 takes one end token
for a grammar, newer releases several. transformers 5.24 calls the cache of a forward `cache` and ranks the candidates
that beam sampling has drawn; both are followed.

"""
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "pandas", "pyarrow", "pillow", "av", "soundfile")
COLUMNS = ("end", "run on", "what ran", "Python", *PACKAGES, "passed", "skipped", "failed", "seconds")


class Counting:
    """A plugin that counts outcomes as pytest's closing line does."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or (report.outcome != "passed" and report.when in ("setup", "teardown")):
            self.counts[report.outcome] += 1

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome != "passed":
            self.counts[report.outcome] += 1


def row(end: str, ran: str, counts: Counter[str], seconds: float) -> list[str]:
    """The cells of ``COLUMNS``. ran: the folders, or nothing for the whole suite."""
    numbers = [str(counts[name]) for name in ("passed", "skipped", "failed")]
    versions = [version(name) for name in PACKAGES]
    return [
        end,
        time.strftime("%Y-%m-%d"),
        ran or "all",
        platform.python_version(),
        *versions,
        *numbers,
        f"{seconds:.0f}",
    ]


def write(page: Path, cells: list[str]) -> None:
    """The page with this end's row in place of its earlier one, the others as they were."""
    lines = page.read_text().splitlines() if page.exists() else []
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| end |", f"| {cells[0]} |"))]
    rows = sorted([*rows, f"| {' | '.join(cells)} |"], reverse=True)
    table = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), *rows]
    page.write_text(HEAD + "\n".join(table) + "\n")


def main(argv: list[str]) -> int:
    """Run, print the row, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--end", required=True, help="oldest or newest: the name of the row")
    parser.add_argument("--write", type=Path, help="the page that holds the rows")
    options, rest = parser.parse_known_args(argv)
    counting, start = Counting(), time.monotonic()
    status = int(pytest.main(["-q", "-m", "not slow", *rest], plugins=[counting]))
    cells = row(
        options.end,
        " ".join(each for each in rest if not each.startswith("-")),
        counting.counts,
        time.monotonic() - start,
    )
    print(", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, cells, strict=True)))
    if options.write is not None:
        write(options.write, cells)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
