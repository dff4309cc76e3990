"""Chunks put right: times that are there, in order and within the recording, no empty texts, no loops, no echoes.

transformers leaves all of these as the model gave them; these functions are what ``compat=False`` applies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

Chunk = Mapping[str, Any]  # {"text": ..., "timestamp": (start, end)} and whatever else


def repair_chunks(
    chunks: Sequence[Chunk], *, seconds: float | None = None, drop_empty: bool = True, drop_echoes: bool = True
) -> list[dict[str, Any]]:
    """The same chunks with times that can be shown.

    chunks: ``{"text", "timestamp": (start, end)}``, either time possibly None. seconds: of the recording; no time lies
    beyond it. A missing start is the end before it, a missing end the next start (or ``seconds``, or its own start). A
    chunk that begins before the one before it ends begins there; none ends before it begins. drop_empty: chunks without
    text go. drop_echoes: of two neighbours with one text whose times overlap, the second goes (a chunk border said it
    twice).
    >>> repair_chunks([{"text": " a", "timestamp": (0.0, None)}, {"text": " b", "timestamp": (2.0, 1.0)}], seconds=3.0)
    [{'text': ' a', 'timestamp': (0.0, 2.0)}, {'text': ' b', 'timestamp': (2.0, 2.0)}]
    """
    kept = [dict(chunk) for chunk in chunks if not drop_empty or chunk["text"].strip()]
    if drop_echoes:
        kept = [now for before, now in pairwise([None, *kept]) if now is not None and not _echoes(before, now)]
    starts = [chunk["timestamp"][0] for chunk in kept]
    latest = inf if seconds is None else seconds
    found, clock = [], 0.0
    for place, chunk in enumerate(kept):
        start, end = chunk["timestamp"]
        start = max(clock, clock if start is None else start)
        if end is None:
            end = _next_start(starts[place + 1 :], start if seconds is None else seconds)
        start, end = min(start, latest), min(end, latest)
        clock = max(start, end)
        found.append(chunk | {"timestamp": (start, clock)})
    return found


def _next_start(starts: Sequence[float | None], otherwise: float) -> float:
    return next((time for time in starts if time is not None), otherwise)


def _echoes(before: Chunk | None, now: Chunk) -> bool:
    if before is None or _plain(before["text"]) != _plain(now["text"]):
        return False
    end, start = before["timestamp"][1], now["timestamp"][0]
    return end is not None and start is not None and start < end


def _plain(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def cut_loops(items: Sequence[Any], *, most_repeats: int = 3, longest: int = 20) -> list[int]:
    """The places of ``items`` to keep, so that no run of up to ``longest`` of them comes back to back more often.

    items: words or token ids. A decoder that loops repeats its last words until its text is full; of a run that is
    there more than ``most_repeats`` times in a row, one stays. The shortest run that repeats counts.
    Cost: O(n * longest).
    >>> cut_loops("a b b b b c".split())
    [0, 1, 5]
    """
    if most_repeats < 1:
        raise ValueError(f"most_repeats must be at least 1; got {most_repeats}")
    kept: list[int] = []
    place = 0
    while place < len(items):
        size, times = _loop_at(items, place, most_repeats, longest)
        kept.extend(range(place, place + size))
        place += size * times
    return kept


def _loop_at(items: Sequence[Any], place: int, most_repeats: int, longest: int) -> tuple[int, int]:
    """The shortest run at ``place`` that repeats too often and how many times it is there, or one item once."""
    for size in range(1, longest + 1):
        if place + size * (most_repeats + 1) > len(items):
            break
        run, times = list(items[place : place + size]), 1
        while list(items[place + size * times : place + size * (times + 1)]) == run:
            times += 1
        if times > most_repeats:
            return size, times
    return 1, 1


def cut_chunk_loops(chunks: Sequence[Chunk], *, most_repeats: int = 3) -> list[dict[str, Any]]:
    """Chunks whose texts repeat in a row are one, and so are words that repeat within a chunk."""
    plain = [_plain(chunk["text"]) for chunk in chunks]
    found = []
    for place in cut_loops(plain, most_repeats=most_repeats, longest=4):
        text = chunks[place]["text"]
        words = text.split(" ")
        kept = cut_loops([_plain(word) or word for word in words], most_repeats=most_repeats)
        found.append(
            dict(chunks[place]) | ({"text": " ".join(words[i] for i in kept)} if len(kept) < len(words) else {})
        )
    return found
