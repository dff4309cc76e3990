"""One page of text: every entry, what was asked, what was measured, met or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def page(results: Sequence[Result]) -> str:
    """The entries by table, one line per figure; figures that nobody asked for are shown without a verdict."""
    lines = []
    for table in dict.fromkeys(result["table"] for result in results):
        rows = [row for result in results if result["table"] == table for row in rows_of(result)]
        lines += [table, *_aligned([("entry", "asked", "measured", "quartiles", "met"), *rows]), ""]
    lines.append(verdicts(results))
    return "\n".join(lines)


def growth_page(results: Sequence[Result]) -> str:
    """Fitted exponents beside the documented ones, one line per entry."""
    return "\n".join(_aligned([GROWTH_COLUMNS, *map(growth_row, results)]))


GROWTH_COLUMNS = ("entry", "against", "time: documented", "fitted", "memory: documented", "fitted", "within")


def growth_row(result: Result) -> tuple[str, ...]:
    documented = result["documented"]
    memory = (
        ("", "") if documented["memory"] is None else (f"{documented['memory']:g}", f"{result['memory_exponent']:.2f}")
    )
    sizes = f"{result['axis']} {result['sizes'][0]:,} - {result['sizes'][-1]:,}"
    within = "yes" if result["met"] else "NO"
    return result["name"], sizes, f"{documented['time']:g}", f"{result['exponent']:.2f}", *memory, within


def rows_of(result: Result) -> Iterator[tuple[str, str, str, str, str]]:
    """Entry, asked, measured, quartiles, met: one row per asked figure, then one per comparison left over.

    "In a row" is the speed-up of runs that follow a run of the same side.
    """
    shown = set()
    for bound in result["asked"]:
        shown.add(bound["side"])
        spread = {**result["speedups"], **result["costs"]}.get(bound["side"])
        swapped = (bound["kind"] == "at_least") != (bound["side"] in result["speedups"])
        if spread and swapped:
            spread = {"q1": 1 / spread["q3"], "q3": 1 / spread["q1"]}
        met = "yes" if bound["met"] else "NO"
        yield result["name"], bound["text"], figure(bound["measured"]), quartiles(spread), met
    for kind, sign in (("speedups", "x faster than"), ("costs", "x the time of")):
        for side, spread in result[kind].items():
            if side not in shown:
                yield result["name"], "", f"{figure(spread['median'])} {sign} {side}", quartiles(spread), ""
    for side, spread in result.get("in_a_row", {}).items():
        yield result["name"], "", f"{figure(spread['median'])} x faster than {side}, in a row", quartiles(spread), ""


def verdicts(results: Iterable[Result]) -> str:
    """How many of the asked figures are met.

    >>> verdicts([{"asked": [{"met": True}, {"met": False}]}])
    '1 of 2 asked figures met'
    """
    met = [bound["met"] for result in results for bound in result["asked"]]
    return f"{sum(met)} of {len(met)} asked figures met"


def figure(value: float) -> str:
    """Three digits, as people read them.

    >>> figure(123.4), figure(12.34), figure(1.234), figure(0.0123)
    ('123', '12.3', '1.23', '0.0123')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def quartiles(spread: Mapping[str, float] | None) -> str:
    """The quartiles of a comparison; nothing where a slow side was timed once."""
    return f"{figure(spread['q1'])} - {figure(spread['q3'])}" if spread and spread["q1"] != spread["q3"] else ""


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
