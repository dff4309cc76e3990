"""The quick suite in the running environment, and a row of docs/versions.md that says with which versions.

``python -m tests.programs.version_table --end oldest --write docs/versions.md`` runs everything and replaces what the
page says of that end, and what docs/clients.md beside it says of the pairs; folders or files run those alone, as a row
of their own. Further arguments are pytest's. Prints the seconds of the longest files. Exits as pytest does. ``make
test-versions`` builds the environments from the constraint files and runs this in each.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

HEAD = """# Versions that were run

The quick suite (`pytest -m "not slow"`) at the ends of the ranges that are promised, each in an environment built from
its constraint file. Written by `make test-versions` (folders in `ARGS` run those alone); the pinned versions of
`constraints.txt` are what CI runs.
Tests of what one version of transformers lacks, or does otherwise than 5.23, are skipped there and name the reason;
every reason is listed below with the number of tests.
A part beside a whole run is what failed in it, run again after it was mended.
torch 2.4.0 of the index draws its exponentials by MKL, from another stream: the check at the first draw tells, and
torch's own operations draw, with transformers' tokens and without the faster ways of draws that have no seed.
With torch below 2.6 transformers opens no pickled checkpoint (safetensors are read); llguidance 1.3 takes one end token
for a grammar, newer releases several. transformers 5.24 calls the cache of a forward `cache` and ranks the candidates
that beam sampling has drawn; both are followed.

"""
PACKAGES = (
    *("torch", "transformers", "tokenizers", "numpy", "scipy", "pandas", "pyarrow", "pillow", "av", "soundfile"),
    *("starlette", "llguidance", "gradio"),
)
COLUMNS = ("end", "run on", "what ran", "Python", *PACKAGES, "passed", "skipped", "failed", "seconds")
PAIRS = ("end", "run on", "Python", "torch", "transformers", "numpy", "tokenizers", "passed", "skipped", "failed")
PAIRS_TITLE = "## The versions that met"  # sorts behind the sections "transformers ..." of the clients
STUCK = 900  # seconds after which a test that has not ended shows where each of its threads is
LONGEST = 15  # files whose seconds are printed


class Counting:
    """A plugin that counts outcomes as pytest's closing line does, the reasons of skips, and seconds by file."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid.split("::")[0]] += report.duration
        if report.when == "call" or (report.outcome != "passed" and report.when in ("setup", "teardown")):
            self._count(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome != "passed":
            self._count(report)

    def _count(self, report: Any) -> None:
        self.counts[report.outcome] += 1
        if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")
            self.reasons[reason.replace(f"{Path.cwd()}/", "")] += 1  # places in the checkout


def installed(package: str) -> str:
    """The version of a package, or a dash where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def folders(given: list[str]) -> str:
    """The folders, files and tests among pytest's arguments: neither its options nor their values."""
    return " ".join(each for each in given if Path(each.split("::")[0]).exists())


def row(end: str, ran: str, counts: Counter[str], seconds: float) -> list[str]:
    """The cells of ``COLUMNS``. ran: the folders, or nothing for the whole suite."""
    numbers = [str(counts[name]) for name in ("passed", "skipped", "failed")]
    versions = [installed(name) for name in PACKAGES]
    return [
        f"{end}, a part" if ran else end,
        time.strftime("%Y-%m-%d"),
        ran or "all, in one run",
        platform.python_version(),
        *versions,
        *numbers,
        f"{seconds:.0f}",
    ]


def write(page: Path, cells: list[str], reasons: Counter[str]) -> None:
    """The page with this end's row in place of its earlier ones, the other end as it was.

    A whole run also takes the place of the end's parts, and lists why tests were skipped.
    """
    table, *sections = page.read_text().split("\n## ") if page.exists() else [""]
    end = cells[0]
    gone = ("| end |", f"| {end} |", f"| {end}, ")
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(gone)]
    rows = sorted([*rows, f"| {' | '.join(cells)} |"], reverse=True)
    listed = {each.splitlines()[0]: each.rstrip() for each in sections}
    if not end.endswith(", a part"):
        title = f"Skipped at the {end} end"
        listed[title] = "\n".join([title, "", *(f"- {number}: {why}" for why, number in reasons.most_common())])
    head = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    page.write_text(HEAD + "\n".join([*head, *rows, *(f"\n## {listed[title]}" for title in sorted(listed))]) + "\n")


def pairs(page: Path) -> str:
    """The last section of docs/clients.md: which versions met, when, and how the tests went, from a page's rows."""
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    kept = [cells[0].index(name) for name in PAIRS]
    head, *rows = [f"| {' | '.join(each[place] for place in kept)} |" for each in cells]
    told = "Which versions the tests of this package itself were run with; in full on [versions.md](versions.md)."
    return "\n".join([PAIRS_TITLE, "", told, "", head, "|" + "---|" * len(PAIRS), *rows]) + "\n"


def write_pairs(page: Path, clients: Path) -> None:
    """The section in place of the one there, at the end of the page of clients."""
    first, *sections = clients.read_text().split("\n## ")
    others = [each.rstrip() for each in sections if not f"## {each}".startswith(f"{PAIRS_TITLE}\n")]
    clients.write_text("\n\n## ".join([first.rstrip(), *others]) + f"\n\n{pairs(page)}")


def main(argv: list[str]) -> int:
    """Run, print the row, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--end", required=True, help="oldest or newest: the name of the row")
    parser.add_argument("--write", type=Path, help="the page that holds the rows")
    parser.add_argument("--workers", default="0", help="processes, a file in one piece; 0: this one")
    options, rest = parser.parse_known_args(argv)
    counting, start = Counting(), time.monotonic()
    given = ["-q", "-m", "not slow", "-n", options.workers, "--dist", "loadfile", "-o", f"faulthandler_timeout={STUCK}"]
    status = int(pytest.main([*given, *rest], plugins=[counting]))
    ran = folders(rest)
    cells = row(options.end, ran, counting.counts, time.monotonic() - start)
    for file, seconds in counting.seconds.most_common(LONGEST):
        print(f"{seconds:7.1f} s  {file}")
    print(", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, cells, strict=True)))
    if options.write is not None and status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        write(options.write, cells, counting.reasons)
        if (clients := options.write.with_name("clients.md")).exists():
            write_pairs(options.write, clients)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
