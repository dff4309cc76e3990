"""Turn runs into the stored summary, ``docs/benchmarks.md`` with its pictures, and the README's figures.

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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from afterlogits.benchmarks import summary as summaries
from afterlogits.benchmarks.page import GROWTH_COLUMNS, figure, growth_row, rows_of, verdicts
from afterlogits.benchmarks.pictures import growth_curves, ratio_bars

README_MARKS = ("<!-- benchmarks: written by `make bench-report` -->", "<!-- /benchmarks -->")

TABLES = {
    "kernels": "Decoding kernels",
    "history": "Penalties with a long history",
    "generation": "Generation",
    "modes": "Generation, the other modes",
    "text kernels": "Postprocessing kernels",
    "text tasks": "Text tasks, whole calls",
    "peers": "Other engines",
    "baselines": "The building blocks of torch",
}
"""Tables in the order of the page, with their titles."""

NOT_RUN = """
Not measured here, and why:

- **vLLM** and **FlashInfer**: their samplers are CUDA kernels and need a GPU; on a processor there is nothing to pair.
- **SGLang**: the same; its sampler calls FlashInfer.
- **mlx-lm**: runs on Apple silicon.
- **TGI**: a server in maintenance mode; its warpers are transformers' own, which are measured above.
"""


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
    sections = []
    for summary in stored:
        text, pictures = machine_section(summary)
        sections.append(text)
        files |= {root / "docs" / "benchmarks" / name: picture for name, picture in pictures.items()}
    files[root / "docs" / "benchmarks.md"] = INTRODUCTION + "\n".join(sections) + NOT_RUN
    readme = root / "README.md"
    if readme.exists() and README_MARKS[0] in readme.read_text(encoding="utf-8"):
        files[readme] = with_figures(readme.read_text(encoding="utf-8"), stored[0])
    return files


INTRODUCTION = """# Benchmarks

Made by `make bench-report`; nothing on this page is typed in by hand. Every entry is a pair: this engine and the other
side in one process, the same answer checked first, then timed by turns. A figure is the median of the per-pair ratios,
followed by their quartiles. "x transformers" is how many times longer the library takes; "x bare", "x read" is our time
over that of work nobody can avoid: a hand-written loop of forward calls, one `amax` over the logits. Memory is the peak
of extra memory of one call. How an entry is written: `benchmarks/pairing.py`. Run it: `make bench` (the whole suite),
`make bench-quick`, `afterlogits bench -k top_p`.

Every call of ours is timed right after one of the other side, when the caches hold little of what it needs, as after a
forward pass. Calls of less than two milliseconds depend on that, so their speed-up "in a row" stands beside it: several
calls of one side, then several of the other. What is asked is compared with the first figure. The entry "after a wait"
shows that the caches are lost to other work on the machine as well: the loop before each call touches no memory.

"""


def machine_section(summary: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The page's section on one machine kind, and its pictures by file name."""
    described, pictures = summary["machine"], {}
    name = described["cpu"] if described["device"] == "cpu" else described["device"]
    lines = [f"## {name}, {described['cores']} cores ({described['kind']})", ""]
    lines += [_run_line(run) for run in summary["runs"]]
    lines += ["", f"**{verdicts(summary['pairs'])}.**", ""]
    tables = [*TABLES, *dict.fromkeys(entry["table"] for entry in summary["pairs"])]
    for table in dict.fromkeys(tables):
        entries = [entry for entry in summary["pairs"] if entry["table"] == table]
        if not entries:
            continue
        lines += [f"### {TABLES.get(table, table.capitalize())}", ""]
        for kind, title in (("speedups", "times faster"), ("costs", "times the unavoidable work")):
            bars = list(_bars(entries, kind))
            if bars:
                file = f"{described['kind']}-{_slug(table)}-{kind}.svg"
                pictures[file] = ratio_bars(f"{TABLES.get(table, table)}: {title}", bars)
                lines += [f"![{title}](benchmarks/{file})", ""]
        lines += [*_markdown(("entry", "asked", "measured", "quartiles", "met"), _rows(entries)), ""]
        lines += [
            *_markdown(("entry", "rounds", "our time", "GB/s", "reads", "peak extra memory"), map(_cost_row, entries)),
            "",
        ]
        lines += [f"- {entry['name']}: {entry['note']}" for entry in entries if entry.get("note")]
        lines += [""] if any(entry.get("note") for entry in entries) else []
    if summary["growth"]:
        file = f"{described['kind']}-growth.svg"
        pictures[file] = growth_curves("Time against size; dashed: the documented cost", summary["growth"])
        lines += ["### Growth", "", f"![growth](benchmarks/{file})", ""]
        lines += [*_markdown(GROWTH_COLUMNS, map(growth_row, summary["growth"])), ""]
    return "\n".join(lines) + "\n", pictures


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
    where = f"{described['cpu']}, {described['cores']} cores, {summary['runs'][0]['date']}"
    table = "\n".join(_markdown(("", "against the library", "our time, of the unavoidable work"), rows))
    return (
        f"{table}\n\nMeasured on {where} by `make bench-report`; all of it: [docs/benchmarks.md](docs/benchmarks.md).\n"
    )


def stray_figures(readme: str) -> list[str]:
    """Speed figures written by hand outside the marks: ``12x``, ``3.5 x faster``, ``40 times faster``."""
    outside = re.sub(f"{re.escape(README_MARKS[0])}.*?{re.escape(README_MARKS[1])}", "", readme, flags=re.DOTALL)
    return re.findall(r"\b\d+(?:\.\d+)?(?:x\b| ?× ?|(?: x| times) (?:faster|slower|the))", outside)


def _bars(entries: Sequence[Mapping[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    sides = {side for entry in entries for side in entry[kind]}
    for entry in entries:
        for side, spread in entry[kind].items():
            bound = next(
                (b for b in entry["asked"] if b["side"] == side and (b["kind"] == "at_least") == (kind == "speedups")),
                None,
            )
            label = entry["name"] if len(sides) == 1 else f"{entry['name']} / {side}"
            yield {"name": label, **spread, "asked": bound and bound["factor"], "met": bound and bound["met"]}


def _rows(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        for index, (name, *rest) in enumerate(rows_of(entry)):
            yield name if index == 0 else "", *rest


def _cost_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    read = entry["costs"].get("read", {}).get("median")
    speed = f"{entry['bytes_per_second'] / 1e9:.3g}" if "bytes_per_second" in entry else ""
    peak = ", ".join(f"{side} {_bytes(peak)}" for side, peak in entry["peak_bytes"].items() if peak and side != "read")
    ours = entry["seconds"]["ours"]
    fewer = "".join(f", {side} {count}" for side, count in entry.get("fewer_rounds", {}).items())
    return entry["name"], f"{entry['rounds']}{fewer}", f"{ours * 1e3:.3g} ms", speed, figure(read) if read else "", peak


def _markdown(header: Sequence[str], rows: Any) -> list[str]:
    table = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in table]


def _run_line(run: Mapping[str, Any]) -> str:
    named = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
    return f"- `{run['command']}`, {run['date']}, {run['threads']} threads: {named}"


def _bytes(count: float) -> str:
    """
    >>> _bytes(512), _bytes(2_500_000)
    ('512 B', '2.5 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _read(path: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return raw


def _current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
