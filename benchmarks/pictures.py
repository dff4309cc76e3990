"""The report's pictures, as SVG text: ratio bars with their spread, and growth curves against the limit line.

Both follow the reader's colour scheme through a media query, have no background of their own, and read in either scheme
where the query is ignored (middle grey text, saturated marks).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from afterlogits.benchmarks.page import figure

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #6e7781 }
.name { fill: #57606a } .value { font-weight: 600 } .title { font-size: 13px; font-weight: 600 }
.grid { stroke: #8c959f; stroke-opacity: .25 } .axis { stroke: #8c959f }
.met { fill: #2da44e } .missed { fill: #d1742f } .plain { fill: #4184e4 }
.asked { stroke: #8250df; stroke-width: 2.5 } .spread { stroke: #24292f; stroke-width: 1.2; stroke-opacity: .75 }
.limit { stroke: #8250df; stroke-dasharray: 5 4; fill: none; stroke-width: 1.5 }
.line { stroke: #4184e4; fill: none; stroke-width: 2 } .late { stroke: #d1742f }
.dot { fill: #4184e4 } .latedot { fill: #d1742f }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .name { fill: #c9d1d9 } .value, .title { fill: #e6edf3 }
  .spread { stroke: #f0f6fc } .asked, .limit { stroke: #b18bf5 }
}
@media (prefers-color-scheme: light) { .value, .title { fill: #24292f } }
""".strip()

WIDTH, LEFT, RIGHT, ROW, TOP = 860, 330, 90, 24, 46


def ratio_bars(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Horizontal bars on a logarithmic axis that starts at 1.

    rows: name, median, q1, q3, and where a figure was asked for, asked and met. The purple tick is what was asked, the
    thin line the quartiles of the per-pair ratios.
    """
    values = [row[key] for row in rows for key in ("median", "q1", "q3", "asked") if row.get(key)]
    low, high = _decades(min([1.0, *values]), max([2.0, *values]))
    height = TOP + ROW * len(rows) + 30
    scale = _log_scale(low, high, LEFT, WIDTH - RIGHT)
    one = scale(1.0)
    parts = [f'<text class="title" x="8" y="20">{escape(title)}</text>', *_legend(rows)]
    for tick in _ticks(low, high):
        x = scale(tick)
        parts.append(_line("axis" if tick == 1 else "grid", x, TOP - 6, x, height - 26))
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{tick:g}x</text>')
    for index, row in enumerate(rows):
        y = TOP + ROW * index
        x = scale(row["median"])
        verdict = {True: "met", False: "missed", None: "plain"}[row.get("met")]
        middle = y + 8
        parts += [
            f'<text class="name" x="{LEFT - 10}" y="{y + 12}" text-anchor="end">{escape(_clip(row["name"]))}</text>',
            f'<rect class="{verdict}" x="{min(one, x):.1f}" y="{y}" width="{max(1.0, abs(x - one)):.1f}" height="16"/>',
            _line("spread", scale(row["q1"]), middle, scale(row["q3"]), middle),
            *(_line("spread", scale(row[q]), middle - 4, scale(row[q]), middle + 4) for q in ("q1", "q3")),
            f'<text class="value" x="{WIDTH - 12}" y="{y + 12}" text-anchor="end">{figure(row["median"])}x</text>',
        ]
        if row.get("asked"):
            parts.append(_line("asked", scale(row["asked"]), y - 3, scale(row["asked"]), y + 19))
    return _svg(WIDTH, height, parts)


def growth_curves(title: str, curves: Sequence[Mapping[str, Any]]) -> str:
    """Small multiples on logarithmic axes: the medians, and the documented exponent as a line from the first one."""
    columns, cell_width, cell_height = 3, 280, 200
    rows = math.ceil(len(curves) / columns)
    parts = [f'<text class="title" x="8" y="20">{escape(title)}</text>']
    for index, curve in enumerate(curves):
        left, top = 10 + (index % columns) * cell_width, 40 + (index // columns) * cell_height
        parts += _curve(curve, left, top, cell_width - 24, cell_height - 30)
    return _svg(20 + columns * cell_width, 50 + rows * cell_height, parts)


def _curve(curve: Mapping[str, Any], left: float, top: float, width: float, height: float) -> list[str]:
    """A curve of times over sizes beside its documented limit, both axes logarithmic, as SVG."""
    sizes, seconds = curve["sizes"], curve["seconds"]
    documented = curve["documented"]["time"]
    limit = [seconds[0] * (size / sizes[0]) ** documented for size in sizes]
    low, high = min([*seconds, *limit]) / 1.3, max([*seconds, *limit]) * 1.3
    if high / low < 8:  # a flat line must look flat
        middle = math.sqrt(low * high)
        low, high = middle / 2.9, middle * 2.9
    across = _log_scale(sizes[0], sizes[-1], left + 46, left + width - 8)
    up = _log_scale(low, high, top + height - 24, top + 36)
    late = "" if curve["met"] else " late"
    parts = [
        f'<text class="name" x="{left + 4}" y="{top + 10}">{escape(_clip(curve["name"], 38))}</text>',
        f'<text x="{left + 4}" y="{top + 26}">documented {documented:g}, fitted '
        f'<tspan class="value">{curve["exponent"]:.2f}</tspan></text>',
        _line("axis", left + 46, top + height - 24, left + width - 8, top + height - 24),
        _line("axis", left + 46, top + 36, left + 46, top + height - 24),
        f'<text x="{left + 46}" y="{top + height - 8}">{_size(sizes[0])}</text>',
        f'<text x="{left + width - 8}" y="{top + height - 8}" text-anchor="end">'
        f"{curve['axis']} {_size(sizes[-1])}</text>",
    ]
    for value in (seconds[0], seconds[-1]):
        parts.append(f'<text x="{left + 42}" y="{up(value) + 4:.1f}" text-anchor="end">{_duration(value)}</text>')
        if abs(up(seconds[0]) - up(seconds[-1])) < 14:
            break
    parts.append(_path("limit", [(across(s), up(v)) for s, v in zip(sizes, limit, strict=True)]))
    parts.append(_path("line" + late, [(across(s), up(v)) for s, v in zip(sizes, seconds, strict=True)]))
    dot = "latedot" if late else "dot"
    parts += [
        f'<circle class="{dot}" cx="{across(s):.1f}" cy="{up(v):.1f}" r="3"/>'
        for s, v in zip(sizes, seconds, strict=True)
    ]
    return parts


def _legend(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the colours of the bars mean, in the upper right corner."""
    asked = any(row.get("asked") for row in rows)
    shown = [("met", "met"), ("missed", "missed")] if asked else [("plain", "measured")]
    parts, x = [], WIDTH - RIGHT - (230 if asked else 90)
    for cls, label in shown:
        parts.append(f'<rect class="{cls}" x="{x}" y="10" width="11" height="11" rx="2"/>')
        parts.append(f'<text x="{x + 16}" y="20">{label}</text>')
        x += 70
    if asked:
        parts += [_line("asked", x + 4, 8, x + 4, 23), f'<text x="{x + 12}" y="20">asked</text>']
    return parts


def _svg(width: float, height: float, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
        f' viewBox="0 0 {width:g} {height:g}" role="img">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _log_scale(low: float, high: float, start: float, end: float) -> Any:
    span = math.log(high / low)
    return lambda value: start + (end - start) * math.log(max(value, low) / low) / span


def _decades(low: float, high: float) -> tuple[float, float]:
    """Round outwards to 1, 2 or 5 times a power of ten.

    >>> _decades(1, 37)
    (1.0, 50.0)
    """
    steps = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5)]
    return max(step for step in steps if step <= low), min(step for step in steps if step >= high)


def _ticks(low: float, high: float) -> list[float]:
    wide = high / low > 300
    return [
        m * 10.0**e for e in range(-3, 6) for m in ((1,) if wide else (1, 2, 5)) if low <= m * 10.0**e <= high * 1.0001
    ]


def _line(cls: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{cls}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _path(cls: str, points: Sequence[tuple[float, float]]) -> str:
    steps = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
    return f'<path class="{cls}" d="{steps}"/>'


def _clip(text: str, length: int = 48) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _size(value: float) -> str:
    return f"{value:,.0f}"


def _duration(seconds: float) -> str:
    """
    >>> _duration(0.0123), _duration(2.5e-6), _duration(1.5)
    ('12 ms', '2.5 µs', '1.5 s')
    """
    unit, factor = next(
        ((unit, factor) for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if seconds * factor >= 1), ("ns", 1e9)
    )
    value = seconds * factor
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"
