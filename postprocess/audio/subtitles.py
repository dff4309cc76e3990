"""Recognised text as subtitles: cues of readable length, and SRT, WebVTT, TextGrid, TSV and JSON of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .repairs import Chunk, repair_chunks


@dataclass(frozen=True)
class Cue:
    """Lines that are shown from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    text: str  # lines separated by line breaks


def make_cues(
    chunks: Sequence[Chunk],
    *,
    seconds: float | None = None,
    longest_line: int | None = None,
    most_lines: int = 2,
    longest_gap: float | None = None,
    join: bool = False,
) -> tuple[Cue, ...]:
    """Cues that can be shown one after another.

    chunks: ``{"text", "timestamp": (start, end)}``, repaired first (`repair_chunks`): no cue has a negative length or
    overlaps the next. seconds: of the recording. longest_line: characters; lines break at spaces, a longer word stays
    whole. A cue holds ``most_lines`` lines; a longer chunk becomes several cues, its time shared out by characters.
    join: chunks are words, and go together as long as the lines hold them; a gap of more than ``longest_gap`` seconds,
    or the end of a sentence, begins a new cue.
    >>> make_cues([{"text": " the sea", "timestamp": (0.0, 1.5)}])
    (Cue(start=0.0, end=1.5, text='the sea'),)
    """
    if most_lines < 1:
        raise ValueError(f"most_lines must be at least 1; got {most_lines}")
    if longest_line is not None and longest_line < 1:
        raise ValueError(f"longest_line must be at least 1; got {longest_line}")
    repaired: Sequence[Chunk] = repair_chunks(chunks, seconds=seconds)
    if join:
        repaired = _joined(repaired, longest_line, most_lines, longest_gap)
    return tuple(cue for chunk in repaired for cue in _cues_of(chunk, longest_line, most_lines))


def _joined(
    words: Sequence[Chunk], longest_line: int | None, most_lines: int, longest_gap: float | None
) -> list[Chunk]:
    """Words put together to chunks of text, each as long as its lines allow and broken at a gap of silence."""
    groups: list[list[Chunk]] = []
    for word in words:
        if groups and _fits(groups[-1], word, longest_line, most_lines, longest_gap):
            groups[-1].append(word)
        else:
            groups.append([word])
    return [
        {
            "text": _joined_text(group),
            "timestamp": (group[0]["timestamp"][0], group[-1]["timestamp"][1]),
        }
        for group in groups
    ]


def _joined_text(words: Sequence[Chunk]) -> str:
    """Whisper's words bring their own spaces; those of CTC models bring none."""
    texts = [word["text"] for word in words]
    spaced = any(text.startswith(" ") for text in texts[1:]) or len(texts) == 1
    return ("" if spaced else " ").join(texts)


def _fits(
    group: Sequence[Chunk], word: Chunk, longest_line: int | None, most_lines: int, longest_gap: float | None
) -> bool:
    if longest_gap is not None and word["timestamp"][0] - group[-1]["timestamp"][1] > longest_gap:
        return False
    if group[-1]["text"].rstrip().endswith((".", "?", "!", "。", "？", "！")):
        return False
    return longest_line is None or len(_lines(_joined_text([*group, word]), longest_line)) <= most_lines


def _lines(text: str, longest: int | None) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and (longest is None or len(lines[-1]) + 1 + len(word) <= longest):
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _cues_of(chunk: Chunk, longest_line: int | None, most_lines: int) -> list[Cue]:
    """A chunk's lines, ``most_lines`` to a cue; its time is shared out by the number of characters."""
    lines = _lines(chunk["text"], longest_line)
    start, end = chunk["timestamp"]
    groups = ["\n".join(lines[i : i + most_lines]) for i in range(0, len(lines), most_lines)]
    total, said = sum(map(len, groups)), 0
    cues = []
    for group in groups:
        begin = start + (end - start) * said / total
        said += len(group)
        cues.append(Cue(begin, start + (end - start) * said / total, group))
    return cues


def to_srt(cues: Sequence[Cue]) -> str:
    """SubRip: numbered cues, milliseconds after a comma.

    >>> print(to_srt([Cue(0.0, 1.5, "the sea")]), end="")
    1
    00:00:00,000 --> 00:00:01,500
    the sea
    <BLANKLINE>
    """
    return "".join(f"{n}\n{_span(cue, ',')}\n{cue.text}\n\n" for n, cue in enumerate(cues, start=1))


def to_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT; what would read as a mark in the text is escaped."""
    return "WEBVTT\n\n" + "".join(f"{_span(cue, '.')}\n{_escaped(cue.text)}\n\n" for cue in cues)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _span(cue: Cue, point: str) -> str:
    return f"{_clock(cue.start, point)} --> {_clock(cue.end, point)}"


def _clock(seconds: float, point: str) -> str:
    """Hours have two digits or more. Rounded to milliseconds, so that cues in order stay in order."""
    milliseconds = _milliseconds(seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _milliseconds(seconds: float) -> int:
    return math.floor(seconds * 1000 + 0.5)


def to_tsv(cues: Sequence[Cue]) -> str:
    """Start and end in milliseconds and the text, a tab between them, under a header."""
    rows = [(str(_milliseconds(cue.start)), str(_milliseconds(cue.end)), " ".join(cue.text.split())) for cue in cues]
    return "".join("\t".join(row) + "\n" for row in [("start", "end", "text"), *rows])


def to_json(cues: Sequence[Cue]) -> str:
    """``{"text": ..., "chunks": [{"start", "end", "text"}]}``."""
    chunks = [{"start": cue.start, "end": cue.end, "text": " ".join(cue.text.split())} for cue in cues]
    text = " ".join(chunk["text"] for chunk in chunks)  # type: ignore[misc]
    return json.dumps({"text": text, "chunks": chunks}, ensure_ascii=False)


def to_textgrid(tiers: Sequence[tuple[str, Sequence[Cue]]], *, seconds: float | None = None) -> str:
    """A TextGrid of Praat: interval tiers, silence as empty intervals.

    tiers: a name and cues each, such as words and sentences. seconds: of the recording; None means the last end.
    """
    longest = max((cue.end for _, cues in tiers for cue in cues), default=0.0)
    stop = longest if seconds is None else max(seconds, longest)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {stop} "]
    lines += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for index, (name, cues) in enumerate(tiers, start=1):
        intervals = _tiled(cues, stop)
        lines += [f"    item [{index}]:", '        class = "IntervalTier" ', f"        name = {_quoted(name)} "]
        lines += ["        xmin = 0 ", f"        xmax = {stop} ", f"        intervals: size = {len(intervals)} "]
        for number, (start, end, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{number}]:", f"            xmin = {start} ", f"            xmax = {end} "]
            lines.append(f"            text = {_quoted(' '.join(text.split()))} ")
    return "\n".join(lines) + "\n"


def _tiled(cues: Sequence[Cue], stop: float) -> list[tuple[float, float, str]]:
    """Intervals of some length without holes from 0 to ``stop``; Praat knows no interval of none."""
    shown = [cue for cue in cues if cue.end > cue.start]
    borders = [0.0, *(time for cue in shown for time in (cue.start, cue.end)), stop]
    texts = ["", *(text for cue in shown for text in (cue.text, ""))]
    return [(a, b, text) for (a, b), text in zip(pairwise(borders), texts, strict=True) if b > a]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


SUBTITLES: dict[str, Callable[[Sequence[Cue]], str]] = {
    "srt": to_srt,
    "vtt": to_vtt,
    "tsv": to_tsv,
    "json": to_json,
    "textgrid": lambda cues: to_textgrid([("text", cues)]),
}
"""The formats by name, each a function of cues."""
