"""A sound drawn as SVG, with the words or segments of its recognition under it at their times."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, TEXT = 900, 90, 22  # of a line of the picture, and of the row of words under it
SECONDS = 12.0  # of a line
COLUMNS = 450  # strokes of a line
_INK, _SOFT, _MARK = "#1d4ed8", "#e5e7eb", "#dbeafe"


def draw_waveform(
    samples: NDArray[Any],
    rate: int,
    chunks: Sequence[Mapping[str, Any]] = (),
    *,
    seconds_per_line: float = SECONDS,
    longest: float = 600.0,
) -> str:
    """SVG of a sound in lines of some seconds. chunks: ``{"text", "timestamp": (start, end)}`` are written under their
    part of the sound, with their ``confidence`` as the depth of their colour where they have one.

    samples: [n]. A sound longer than ``longest`` seconds is drawn up to there.
    """
    mono = np.nan_to_num(np.asarray(samples, dtype=np.float32)).reshape(-1)
    shown = min(len(mono) / rate, longest)
    lines = max(1, int(np.ceil(shown / seconds_per_line)))
    largest = float(np.abs(mono).max(initial=0.0)) or 1.0
    parts = [
        _line(mono, rate, line, seconds_per_line, largest, [c for c in chunks if _touches(c, line, seconds_per_line)])
        for line in range(lines)
    ]
    height = lines * (HEIGHT + TEXT)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _touches(chunk: Mapping[str, Any], line: int, seconds: float) -> bool:
    start, end = chunk["timestamp"]
    if start is None:
        return False
    end = start if end is None else end
    return bool(start < (line + 1) * seconds and max(end, start + 0.01) > line * seconds)


def _line(
    samples: NDArray[Any], rate: int, line: int, seconds: float, largest: float, chunks: Sequence[Mapping[str, Any]]
) -> str:
    top, begin = line * (HEIGHT + TEXT), line * seconds
    middle = top + HEIGHT / 2
    marks = "".join(_chunk(chunk, begin, seconds, top) for chunk in chunks)
    base = f'<line x1="0" y1="{middle}" x2="{WIDTH}" y2="{middle}" stroke="{_SOFT}"/>'
    own = samples[int(begin * rate) : int((begin + seconds) * rate)]
    clock = f'<text x="2" y="{top + 11}" fill="#6b7280" font-size="9">{begin:g} s</text>'
    return marks + base + _strokes(own, rate, seconds, largest, middle) + clock


def _strokes(samples: NDArray[Any], rate: int, seconds: float, largest: float, middle: float) -> str:
    """One upright stroke a column, from the lowest to the highest sample there."""
    width = max(1, int(np.ceil(seconds * rate / COLUMNS)))
    count = int(np.ceil(len(samples) / width))
    padded = np.zeros(count * width, dtype=np.float32)
    padded[: len(samples)] = samples
    columns = padded.reshape(count, width) / largest * (HEIGHT / 2 - 6)
    step = WIDTH / COLUMNS
    bounds = zip(columns.min(axis=1).tolist(), columns.max(axis=1).tolist(), strict=True)
    path = "".join(f"M{i * step:.1f} {middle - high:.1f}V{middle - low:.1f}" for i, (low, high) in enumerate(bounds))
    return f'<path d="{path}" stroke="{_INK}" stroke-width="{step * 0.8:.1f}" fill="none"/>'


def _chunk(chunk: Mapping[str, Any], begin: float, seconds: float, top: float) -> str:
    """A chunk's box with its text as SVG; one too narrow to be read has its text as title."""
    start, end = chunk["timestamp"]
    end = start if end is None else end
    left = max(0.0, (start - begin) / seconds * WIDTH)
    right = min(float(WIDTH), (end - begin) / seconds * WIDTH)
    wide = max(right - left, 1.0)
    sure = f' fill-opacity="{float(chunk["confidence"]):.2f}"' if "confidence" in chunk else ""
    text = escape(str(chunk["text"]).strip())
    room = f' textLength="{wide - 2:.1f}" lengthAdjust="spacingAndGlyphs"' if 7 * len(text) > wide > 12 else ""
    box = f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{HEIGHT + TEXT - 4}" fill="{_MARK}"{sure}/>'
    title = f"<title>{text} {start:g}-{end:g} s</title>"
    if wide <= 12:  # too narrow to be read: its title tells
        return f"<g>{title}{box}</g>"
    place = f'x="{left + 1:.1f}" y="{top + HEIGHT + TEXT - 8}"'
    return f"<g>{title}{box}<text {place}{room}>{text}</text></g>"
