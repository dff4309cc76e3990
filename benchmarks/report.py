"""Turn runs into the stored summary, the two pages in docs/ with their pictures, and the README's figures.

    python -m afterlogits.benchmarks.report bench-run.json [...]   # new measurements, then the documents
    python -m afterlogits.benchmarks.report                        # the documents alone
    python -m afterlogits.benchmarks.report --check                # fail if the documents have drifted

Everything in the documents comes from ``results/*.json``; nothing is typed in by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from afterlogits.benchmarks import summary as summaries
from afterlogits.benchmarks.page import figure
from afterlogits.benchmarks.sections import maintainers_page, markdown, users_page

README_MARKS = ("<!-- benchmarks: written by `make bench-report` -->", "<!-- /benchmarks -->")


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the documents; returns 1 if ``--check`` finds a difference."""
    options = _parser().parse_args(argv)
    root, folder = Path(options.root), Path(options.results)
    if options.raw:
        new = [summaries.summarise(_read(path), command=options.command) for path in options.raw]
        for summary in new:
            path = folder / f"{summary['machine']['kind']}.json"
            known = summaries.merge(summaries.load(path), summary) if path.exists() and not options.replace else summary
            options.replace = False  # several files of one call add up
            summaries.save(known, folder)
    stored = summaries.stored(folder)
    if not stored:
        print("no summary is stored yet: run `make bench-report`", file=sys.stderr)
        return 1
    return _write(root, stored, check=options.check)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="afterlogits.benchmarks.report", description=__doc__.split("\n")[0])
    parser.add_argument("raw", nargs="*", type=Path, help="raw JSON of runs (--benchmark-json) to add to the summary")
    parser.add_argument("--command", default="make bench", help="the command that made the raw JSON, for the page")
    parser.add_argument("--replace", action="store_true", help="forget the stored entries that the raw JSON lacks")
    parser.add_argument("--root", default=".", help="the checkout whose docs/ and README.md are written")
    parser.add_argument("--results", default=summaries.RESULTS, help="folder of the stored summaries")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document differs")
    return parser


def _write(root: Path, stored: Sequence[Mapping[str, Any]], *, check: bool) -> int:
    drifted = [path for path, text in documents(root, stored).items() if _current(path) != text]
    if check:
        for path in drifted:
            print(f"{path} differs from the stored summary: run `make bench-docs`", file=sys.stderr)
        return int(bool(drifted))
    for path, text in documents(root, stored).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def documents(root: Path, stored: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """Every file that is made from the stored summaries, with its text."""
    files: dict[Path, str] = {}
    for name, make in (("benchmarks.md", users_page), ("benchmarks-asked.md", maintainers_page)):
        files[root / "docs" / name], pictures = make(stored)
        files |= {root / "docs" / "benchmarks" / name: picture for name, picture in pictures.items()}
    readme = root / "README.md"
    if readme.exists() and README_MARKS[0] in readme.read_text(encoding="utf-8"):
        files[readme] = with_figures(readme.read_text(encoding="utf-8"), stored[0])
    return files


def with_figures(readme: str, summary: Mapping[str, Any]) -> str:
    """The README with the table between its marks replaced by the figures of this summary."""
    before, rest = readme.split(README_MARKS[0], 1)
    _, after = rest.split(README_MARKS[1], 1)
    return before + README_MARKS[0] + "\n" + readme_figures(summary) + README_MARKS[1] + after


def readme_figures(summary: Mapping[str, Any]) -> str:
    """The best-known entries, one line each: those that carry ``readme`` in their summary."""
    rows = []
    for entry in summary["pairs"]:
        if entry.get("readme"):
            fast = "; ".join(f"{figure(s['median'])}x faster than {side}" for side, s in entry["speedups"].items())
            cost = "; ".join(f"{figure(s['median'])}x {side}" for side, s in entry["costs"].items())
            rows.append((entry["readme"], fast, cost))
    described = summary["machine"]
    where = f"{described['cpu']}, {described['cores']} cores, {max(run['date'] for run in summary['runs'])}"
    table = "\n".join(markdown(("", "against transformers", "our time, of the unavoidable work"), rows))
    return (
        f"{table}\n\nMeasured on {where} by `make bench-report`; all of it: [docs/benchmarks.md](docs/benchmarks.md).\n"
    )


def stray_figures(readme: str) -> list[str]:
    """Speed figures written by hand outside the marks: ``12x``, ``3.5 x faster``, ``40 times faster``."""
    outside = re.sub(f"{re.escape(README_MARKS[0])}.*?{re.escape(README_MARKS[1])}", "", readme, flags=re.DOTALL)
    return re.findall(r"\b\d+(?:\.\d+)?(?:x\b| ?× ?|(?: x| times) (?:faster|slower|the))", outside)


def _read(path: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return raw


def _current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
