"""Recognitions as files: SRT, WebVTT, TextGrid, TSV and JSON of any record that has chunks with times."""

from collections.abc import Mapping, Sequence
from typing import Any

from ....postprocess.audio.subtitles import Cue, make_cues, to_json, to_srt, to_textgrid, to_tsv, to_vtt

# What a file of each format is called.
FORMATS = {"srt": ".srt", "vtt": ".vtt", "textgrid": ".TextGrid", "tsv": ".tsv", "json": ".json"}
LONGEST_LINE = 42  # characters of a line of subtitles where words are joined to lines
LONGEST_GAP = 1.0  # seconds between two words of one cue


def cues_of(
    record: Mapping[str, Any],
    *,
    seconds: float | None = None,
    longest_line: int | None = None,
    most_lines: int = 2,
    longest_gap: float | None = LONGEST_GAP,
    words: bool | None = None,
) -> tuple[Cue, ...]:
    """Cues of a recognition. record: with ``chunks``, each ``{"text", "timestamp"}``; a record without has one cue.

    seconds: of the recording, the end of what has none. words: whether chunks are words (or letters) that go together
    to lines; None takes them for words where no text holds a space inside.
    Raises ValueError for a record without times whose length is not known.
    """
    chunks = record.get("chunks")
    if chunks is None:
        if seconds is None:
            raise ValueError("record must have chunks with times (return_timestamps=True or 'word'); got none")
        chunks = [{"text": record["text"], "timestamp": (0.0, seconds)}]
    joined = _are_words(chunks) if words is None else words
    line = LONGEST_LINE if joined and longest_line is None else longest_line
    return make_cues(
        chunks,
        seconds=seconds,
        longest_line=line,
        most_lines=most_lines,
        longest_gap=longest_gap,
        join=joined,
    )


def _are_words(chunks: Sequence[Mapping[str, Any]]) -> bool:
    return all(" " not in chunk["text"].strip() for chunk in chunks) and len(chunks) > 1


def write_recognition(record: Mapping[str, Any], form: str, *, seconds: float | None = None, **options: Any) -> str:
    """The content of a file of one of ``FORMATS``. options: those of ``cues_of``.

    A TextGrid has the chunks as they are in one tier, and in another the cues they make where they are words.
    >>> record = {"text": "the sea", "chunks": [{"text": "the sea", "timestamp": (0.0, 1.5)}]}
    >>> print(write_recognition(record, "srt").strip())
    1
    00:00:00,000 --> 00:00:01,500
    the sea
    """
    if form not in FORMATS:
        raise ValueError(f"form must be one of {', '.join(map(repr, FORMATS))}; got {form!r}")
    cues = cues_of(record, seconds=seconds, **options)
    if form == "textgrid":
        return to_textgrid(_tiers(record, cues, seconds), seconds=seconds)
    write = {"srt": to_srt, "vtt": to_vtt, "tsv": to_tsv, "json": to_json}[form]
    return write(cues)


def _tiers(
    record: Mapping[str, Any], cues: tuple[Cue, ...], seconds: float | None
) -> list[tuple[str, tuple[Cue, ...]]]:
    chunks = record.get("chunks") or ()
    if not _are_words(chunks):
        return [("segments", cues)]
    return [("segments", cues), ("words", make_cues(chunks, seconds=seconds))]
