"""A sound drawn by Pillow: its waveform with the words under it, and what a model attended to for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .colours import number_colours
from .drawing import font_of

WIDTH, WAVE, TEXT, ROW, MARGIN = 1080, 90, 22, 16, 120  # pixels: of a line, its parts, and left of it for words
SECONDS, LONGEST = 12.0, 120.0  # of a line, and of all that is drawn
_INK, _WAVE, _MARK, _PATH, _GROUND = (17, 17, 17), (29, 78, 216), (219, 234, 254), (94, 234, 212), (250, 250, 250)


def draw_sound(
    samples: NDArray[Any],
    rate: int,
    chunks: Sequence[Mapping[str, Any]] = (),
    attention: Sequence[Any] = (),
    *,
    seconds_per_line: float = SECONDS,
    longest: float = LONGEST,
) -> Any:
    """A PIL image of a sound in lines of some seconds, words or segments under their part of it.

    samples: [n]. chunks: ``{"text", "timestamp": (start, end)}``. attention: of every word ``text``, ``timestamp``,
    ``weights`` [F], ``begin`` and ``step`` in seconds (``WordAttention``): each word becomes a row that is light where
    the model looked, with the path of the alignment, which the word's time is read from. What lies beyond ``longest``
    seconds is left out.
    """
    from PIL import Image

    mono = np.nan_to_num(np.asarray(samples, dtype=np.float32)).reshape(-1)
    shown = min(len(mono) / rate, longest)
    scale = float(np.abs(mono).max(initial=0.0)) or 1.0
    lines = []
    for number in range(max(1, int(np.ceil(shown / seconds_per_line)))):
        span = (number * seconds_per_line, (number + 1) * seconds_per_line)
        own = mono[int(span[0] * rate) : int(span[1] * rate)] / scale
        here = [chunk for chunk in chunks if _touches(chunk["timestamp"], span)]
        looked = [word for word in attention if _touches(word.timestamp, span)]
        lines.append(_line(own, rate, span, here, looked))
    picture = Image.new("RGB", (MARGIN + WIDTH, sum(line.height for line in lines)), _GROUND)
    top = 0
    for line in lines:
        picture.paste(line, (0, top))
        top += line.height
    return picture


Span = tuple[float, float]


def _touches(timestamp: Any, span: Span) -> bool:
    start, end = _bounds(timestamp)
    return start < span[1] and max(end, start + 0.01) > span[0]


def _bounds(timestamp: Any) -> Span:
    """Start and end; a missing start is nowhere, a missing end is the start."""
    start, end = timestamp
    start = float("inf") if start is None else start
    return start, start if end is None else end


def _x(seconds: float, span: Span) -> float:
    """The place of a time within a line, kept inside it."""
    inside = (min(max(seconds, span[0]), span[1]) - span[0]) / (span[1] - span[0])
    return MARGIN + inside * (WIDTH - 1)


def _line(
    samples: NDArray[Any], rate: int, span: Span, chunks: Sequence[Mapping[str, Any]], attention: Sequence[Any]
) -> Any:
    """One line of the drawing: the waveform of a span, the chunks in it, and a row an attention map."""
    from PIL import Image, ImageDraw

    line = Image.new("RGB", (MARGIN + WIDTH, WAVE + TEXT + ROW * len(attention) + 8), _GROUND)
    pen = ImageDraw.Draw(line)
    for chunk in chunks:
        _mark(pen, chunk, span)
    pen.text((4, WAVE / 2 - 7), f"{span[0]:g} s", fill=_INK, font=font_of(11))
    _wave(pen, samples, rate, span)
    for number, word in enumerate(attention):
        top = WAVE + TEXT + ROW * number
        line.paste(Image.fromarray(_heat(word, span)), (MARGIN, top))
        pen.text((4, top + 1), _short(str(word.text), MARGIN - 10), fill=_INK, font=font_of(11))
    _path(pen, attention, span)
    return line


def _wave(pen: Any, samples: NDArray[Any], rate: int, span: Span) -> None:
    """One upright stroke a pixel, from the lowest to the highest sample there."""
    width = max(1, int(np.ceil((span[1] - span[0]) * rate / WIDTH)))
    count = int(np.ceil(len(samples) / width))
    padded = np.zeros(count * width, dtype=np.float32)
    padded[: len(samples)] = samples
    columns = padded.reshape(count, width) * (WAVE / 2 - 6)
    pen.line((MARGIN, WAVE // 2, MARGIN + WIDTH, WAVE // 2), fill=(229, 231, 235))
    for place, (low, high) in enumerate(zip(columns.min(1).tolist(), columns.max(1).tolist(), strict=True)):
        pen.line((MARGIN + place, WAVE / 2 - high, MARGIN + place, WAVE / 2 - low), fill=_WAVE)


def _mark(pen: Any, chunk: Mapping[str, Any], span: Span) -> None:
    """The ground of a word, and the word where there is room for it."""
    start, end = _bounds(chunk["timestamp"])
    left, right = _x(start, span), _x(end, span)
    pen.rectangle((left, 0, max(right - 2, left), WAVE + TEXT - 5), fill=_MARK)
    text = _short(str(chunk["text"]).strip(), right - left - 2)
    if text:
        pen.text((left + 1, WAVE), text, fill=_INK, font=font_of(11))


def _short(text: str, room: float) -> str:
    """As much of a text as there is room for; "" where not even its first letter fits."""
    font = font_of(11)
    text = text.strip()
    while text and font.getlength(text) > room:
        text = text[:-1]
    return text


def _heat(word: Any, span: Span) -> NDArray[np.uint8]:
    """[ROW - 1, WIDTH, 3]: the weights of a word as colours, light where they are large; white outside its window."""
    middles = span[0] + (np.arange(WIDTH) + 0.5) / WIDTH * (span[1] - span[0])
    places = np.floor((middles - word.begin) / word.step).astype(int)
    inside = (places >= 0) & (places < len(word.weights))
    weights = np.nan_to_num(np.maximum(word.weights, 0))
    largest = float(weights.max(initial=0.0)) or 1.0
    values = np.where(inside, weights[places.clip(0, max(len(weights) - 1, 0))], 0) / largest
    colours = np.where(inside[:, None], number_colours()[(values * 255).astype(np.uint8)], 255).astype(np.uint8)
    rows: NDArray[np.uint8] = np.repeat(colours[None], ROW - 1, axis=0)
    return rows


def _path(pen: Any, attention: Sequence[Any], span: Span) -> None:
    """The alignment: through each word's row from its start to its end, then down to the next."""
    points: list[tuple[float, float]] = []
    for number, word in enumerate(attention):
        middle = WAVE + TEXT + ROW * number + ROW // 2
        points += [(_x(edge, span), middle) for edge in _bounds(word.timestamp)]
    if points:
        pen.line(points, fill=_PATH, width=2)
