"""The grid as a picture: a small map for each filter, vocabularies down, spreads across, a colour for each ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from afterlogits.benchmarks.grid import FLOOR
from afterlogits.benchmarks.page import figure
from afterlogits.benchmarks.pictures import STYLE

CELL_WIDTH, CELL_HEIGHT, LEFT, ACROSS = 23, 16, 58, 3
BLOCK_WIDTH, TOP = 290, 66

COLOURS = ((FLOOR, "#cf222e"), (1.5, "#d4a72c"), (3.0, "#8fce9d"), (10.0, "#2da44e"), (float("inf"), "#116329"))
"""Each up to, not including, its first number."""


def heat_map(title: str, cells: Sequence[Mapping[str, Any]], noise: str) -> str:
    """SVG text. cells: records of ``grid.measure``; of several at one place the least ratio is shown.

    noise: "stream" or "seeds".
    """
    filters = list(dict.fromkeys(cell["filter"] for cell in cells))
    vocabularies = sorted({cell["vocab_size"] for cell in cells})
    spreads = sorted({cell["spread"] for cell in cells}, key=lambda s: (isinstance(s, str), s))
    least: dict[tuple[Any, ...], float] = {}
    for cell in cells:
        place = (cell["filter"], cell["vocab_size"], cell["spread"])
        least[place] = min(cell[noise], least.get(place, cell[noise]))
    height = TOP + -(-len(filters) // ACROSS) * _block_height(vocabularies)
    parts = [f'<text class="title" x="8" y="20">{escape(title)}</text>', *_legend()]
    for index, name in enumerate(filters):
        left = 8 + index % ACROSS * BLOCK_WIDTH
        top = TOP + index // ACROSS * _block_height(vocabularies)
        parts.append(f'<text class="name" x="{left + LEFT}" y="{top - 4}">{escape(name)}</text>')
        for column, spread in enumerate(spreads):
            x = left + LEFT + column * CELL_WIDTH + CELL_WIDTH / 2
            y = top + len(vocabularies) * CELL_HEIGHT + 12
            parts.append(f'<text class="small" x="{x:g}" y="{y}" text-anchor="middle">{spread}</text>')
        for row, size in enumerate(vocabularies):
            y = top + row * CELL_HEIGHT
            parts.append(f'<text class="small" x="{left + LEFT - 5}" y="{y + 12}" text-anchor="end">{size:,}</text>')
            for column, spread in enumerate(spreads):
                if (ratio := least.get((name, size, spread))) is not None:
                    parts += _cell(left + LEFT + column * CELL_WIDTH, y, ratio)
    width = 16 + ACROSS * BLOCK_WIDTH
    style = STYLE + "\n.small { font-size: 9px } .ratio { font-size: 9px; fill: #ffffff }"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' role="img">\n<style>{style}</style>\n{body}\n</svg>\n'
    )


def colour(ratio: float) -> str:
    """
    >>> colour(0.9), colour(1.0), colour(40)
    ('#cf222e', '#d4a72c', '#116329')
    """
    return next(shade for limit, shade in COLOURS if ratio < limit)


def _block_height(vocabularies: Sequence[int]) -> int:
    return len(vocabularies) * CELL_HEIGHT + 40


def _cell(x: float, y: float, ratio: float) -> list[str]:
    shown = figure(ratio) if ratio < 100 else f"{ratio:.0f}"
    return [
        f'<rect x="{x}" y="{y}" width="{CELL_WIDTH - 1}" height="{CELL_HEIGHT - 1}" fill="{colour(ratio)}"/>',
        f'<text class="ratio" x="{x + CELL_WIDTH / 2 - 0.5:g}" y="{y + 11}" text-anchor="middle">{shown[:4]}</text>',
    ]


def _legend() -> list[str]:
    parts, low = [], 0.0
    for index, (limit, shade) in enumerate(COLOURS):
        x = 8 + index * 110
        said = f"under {limit:g}" if index == 0 else f"{low:g} up" if limit == float("inf") else f"{low:g} to {limit:g}"
        parts.append(f'<rect x="{x}" y="30" width="11" height="11" rx="2" fill="{shade}"/>')
        parts.append(f'<text x="{x + 16}" y="40">{said}</text>')
        low = limit
    return parts
