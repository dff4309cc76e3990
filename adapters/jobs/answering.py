"""Windows of entries through the pipeline, back as rows of the output."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..running.failures import Failure
from ..running.item_seeds import ItemSeeds
from .beside import Beside
from .entries import Entry
from .errors import one_line
from .progress import Progress
from .rows import encode_row, rows_of


@dataclass(frozen=True)
class Answered:
    """A window with its answers. rows: lines of JSON; failed: how many items have none, reason: the first one's."""

    digests: list[bytes]
    rows: list[bytes]
    failed: int
    reason: str | None


def answered(
    pipe: Any,
    windows: Iterator[list[Entry]],
    progress: Progress,
    *,
    start: int = 0,
    seed: int = 0,
    flat: bool = False,
    beside: Beside | None = None,
) -> Iterator[Answered]:
    """Answer windows in order. ``start``: the number of their first entry, from 0. Counts go to ``progress``.

    What a model draws from torch's own stream depends on ``seed`` and the window, so that a job that goes on draws
    what it would have drawn at once. ``beside`` takes every answer, for files of its own.
    """
    seeds = ItemSeeds(seed)
    waiting: deque[list[Entry]] = deque()

    def items() -> Iterator[list[Any]]:
        for window in windows:
            waiting.append(window)
            yield [entry.item for entry in window]

    torch.manual_seed(seeds[start])
    for answers in pipe.answer_windows(items(), start=start):
        start += len(answers)
        torch.manual_seed(seeds[start])
        window = waiting.popleft()
        if beside is not None:
            for entry, answer in zip(window, answers, strict=True):
                beside.add(entry, answer)
        found = _rendered(window, answers, progress, flat)
        progress.advance(len(found.digests), found.failed, found.reason)
        yield found


def _rendered(window: list[Entry], answers: list[Any], progress: Progress, flat: bool) -> Answered:
    """A window's output lines, with how many of its items failed and the first reason."""
    lines: list[bytes] = []
    failed, reason = 0, None
    for entry, answer in zip(window, answers, strict=True):
        encoded, error = render(entry, answer, progress.noun, flat=flat)
        lines += encoded
        if error is not None:
            failed += 1
            reason = reason or error
            progress.event("failure", number=entry.number, error=error)
    return Answered([entry.digest for entry in window], lines, failed, reason)


def render(entry: Entry, answer: Any, noun: str, *, flat: bool = False) -> tuple[list[bytes], str | None]:
    """The rows of an entry as lines of JSON, and its error if it has one."""
    try:
        rows = rows_of(entry, answer, noun, flat=flat)
        error = rows[0]["error"] if isinstance(answer, Failure) else None
        return [encode_row(row) for row in rows], error
    except (ValueError, TypeError, RecursionError) as wrong:  # an id or a column nested deeper than can be written
        error = f"{noun} {entry.number}: cannot be written: {one_line(wrong)}"
        return [encode_row({"id": entry.number, "error": error})], error
