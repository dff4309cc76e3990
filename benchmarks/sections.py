"""The two pages of the suite: what users gain; for maintainers, what was asked, met and missed. One run makes both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from afterlogits.benchmarks.grid import lines as grid_lines
from afterlogits.benchmarks.heat_map import heat_map
from afterlogits.benchmarks.page import GROWTH_COLUMNS, figure, growth_row, quartiles, rows_of, verdicts
from afterlogits.benchmarks.pictures import growth_curves, ratio_bars

Summary = Mapping[str, Any]
Entry = Mapping[str, Any]

TABLES = {
    "kernels": "Decoding kernels",
    "history": "Penalties with a long history",
    "generation": "Generation",
    "modes": "Generation, the other modes",
    "grammars": "Grammars",
    "text kernels": "Postprocessing kernels",
    "audio kernels": "Audio and multimodal kernels",
    "text tasks": "Text tasks, whole calls",
    "vision kernels": "Vision postprocessing kernels",
    "vision tasks": "Vision tasks, whole calls",
    "audio tasks": "Audio tasks, whole calls",
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

USERS_INTRODUCTION = """# Benchmarks

What a call gains, measured. Made by `make bench-report`; nothing on this page is typed in by hand. Every entry is a
pair: this engine and the other side in one process, the same answer checked first, then timed by turns. "Times
faster" is the median of the per-pair ratios, its quartiles behind it. "Of the unavoidable work" is our time over that
of work nobody can avoid: a hand-written loop of forward calls (bare), one `amax` over the logits (read). Memory is
the peak of extra memory of one call.

Every call of ours is timed right after one of the other side, when the caches hold little of what it needs, as after
a forward pass. Calls of less than two milliseconds depend on that, so their speed-up "in a row" stands beside it:
several calls of one side, then several of the other.

On your machine: `make bench` (the whole suite), `make bench-quick`, `afterlogits bench -k top_p`. What was asked of
each entry, what is missed, and how costs grow: [benchmarks-asked.md](benchmarks-asked.md).

"""

MAINTAINERS_INTRODUCTION = """# Benchmarks: asked, met, missed

The same run as [benchmarks.md](benchmarks.md), for maintainers. A bound is compared with the median of the per-pair
ratios, calls of the two sides by turns; "in a row" is shown and not judged. The entry "after a wait" shows that the
caches are lost to other work on the machine as well: the loop before each call touches no memory. How an entry is
written: `benchmarks/pairing.py`; the gate that fails on a regression: `make bench-check`.

"""


def users_page(stored: Sequence[Summary]) -> tuple[str, dict[str, str]]:
    """The page of gains, and its pictures by file name."""
    pictures: dict[str, str] = {}
    return USERS_INTRODUCTION + "\n".join(_gains(summary, pictures) for summary in stored) + NOT_RUN, pictures


def maintainers_page(stored: Sequence[Summary]) -> tuple[str, dict[str, str]]:
    """The page of verdicts, costs and growth, and its pictures by file name."""
    pictures: dict[str, str] = {}
    return MAINTAINERS_INTRODUCTION + "\n".join(_verdicts(summary, pictures) for summary in stored), pictures


def markdown(header: Sequence[str], rows: Any) -> list[str]:
    """The lines of a table."""
    table = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in table]


def _gains(summary: Summary, pictures: dict[str, str]) -> str:
    """The users' page: what is gained, table by table, with its pictures."""
    lines = _opening(summary)
    for table, entries in _tables(summary):
        title = TABLES.get(table, table.capitalize())
        lines += [f"### {title}", ""]
        for kind, said in (("speedups", "times faster"), ("costs", "times the unavoidable work")):
            if bars := list(_bars(entries, kind)):
                file = f"{summary['machine']['kind']}-{_slug(table)}-{kind}.svg"
                pictures[file] = ratio_bars(f"{title}: {said}", bars)
                lines += [f"![{said}](benchmarks/{file})", ""]
        header = ("entry", "times faster", "in a row", "of the unavoidable work", "peak extra memory")
        lines += [*markdown(header, map(_gain_row, entries)), ""]
    return "\n".join(lines) + "\n"


def _verdicts(summary: Summary, pictures: dict[str, str]) -> str:
    """The maintainers' page: what was asked, what was measured, and whether it is met."""
    lines = [*_opening(summary), f"**{verdicts(summary['pairs'])}.**", ""]
    for table, entries in _tables(summary):
        lines += [f"### {TABLES.get(table, table.capitalize())}", ""]
        lines += [*markdown(("entry", "asked", "measured", "quartiles", "met"), _rows(entries)), ""]
        header = ("entry", "rounds", "our time", "GB/s", "reads", "peak extra memory")
        lines += [*markdown(header, map(_cost_row, entries)), ""]
        notes = [f"- {entry['name']}: {entry['note']}" for entry in entries if entry.get("note")]
        lines += [*notes, ""] if notes else []
    if cells := summary.get("grid"):
        lines += ["### The grid of sampling calls", ""]
        for noise, said in (("stream", "torch's stream, transformers' tokens"), ("seeds", "a seed for each row")):
            file = f"{summary['machine']['kind']}-grid-{noise}.svg"
            pictures[file] = heat_map(f"Times faster than transformers: {said}", cells, noise)
            lines += [f"![{noise}](benchmarks/{file})", ""]
        lines += [*(f"- {line}" for line in grid_lines(cells)), ""]
    if summary["growth"]:
        file = f"{summary['machine']['kind']}-growth.svg"
        pictures[file] = growth_curves("Time against size; dashed: the documented cost", summary["growth"])
        lines += ["### Growth", "", f"![growth](benchmarks/{file})", ""]
        lines += [*markdown(GROWTH_COLUMNS, map(growth_row, summary["growth"])), ""]
    return "\n".join(lines) + "\n"


def _opening(summary: Summary) -> list[str]:
    described = summary["machine"]
    name = described["cpu"] if described["device"] == "cpu" else described["device"]
    title = f"## {name}, {described['cores']} cores ({described['kind']})"
    return [title, "", *(_run_line(run) for run in summary["runs"]), ""]


def _tables(summary: Summary) -> Iterator[tuple[str, list[Entry]]]:
    """The tables of a machine in the order of the page, each with its entries."""
    pairs = summary["pairs"]
    for table in dict.fromkeys([*TABLES, *(entry["table"] for entry in pairs)]):
        if entries := [entry for entry in pairs if entry["table"] == table]:
            yield table, entries


def _gain_row(entry: Entry) -> tuple[str, ...]:
    return (
        entry["name"],
        _each(entry["speedups"].items(), "{} x {}"),
        _each(entry.get("in_a_row", {}).items(), "{} x {}"),
        _each(entry["costs"].items(), "{} {}"),
        _peaks(entry),
    )


def _each(spreads: Iterable[tuple[str, Any]], form: str) -> str:
    found = []
    for side, spread in spreads:
        between = quartiles(spread)
        found.append(form.format(figure(spread["median"]), side) + (f" ({between})" if between else ""))
    return ", ".join(found)


def _peaks(entry: Entry) -> str:
    return ", ".join(f"{side} {_bytes(peak)}" for side, peak in entry["peak_bytes"].items() if peak and side != "read")


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
    """An entry's rounds, time, bytes per second and memory."""
    read = entry["costs"].get("read", {}).get("median")
    speed = f"{entry['bytes_per_second'] / 1e9:.3g}" if "bytes_per_second" in entry else ""
    ours = entry["seconds"]["ours"]
    fewer = "".join(f", {side} {count}" for side, count in entry.get("fewer_rounds", {}).items())
    return (
        entry["name"],
        f"{entry['rounds']}{fewer}",
        f"{ours * 1e3:.3g} ms",
        speed,
        figure(read) if read else "",
        _peaks(entry),
    )


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
