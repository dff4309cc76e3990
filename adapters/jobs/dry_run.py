"""A rehearsal: the first five items answered, and what the whole job would do."""

import resource
import sys
import time
from itertools import islice
from typing import Any

from ..running.failures import Failure
from .answering import render
from .entries import Entry
from .errors import OK, SOME_FAILED, write_standard_output
from .formats import Format
from .job import Job, job_entries, job_pipeline, target_of
from .source import Source

ITEMS = 5


def rehearse(job: Job, source: Source, written: Format) -> int:
    """Print the answers of the first items and a line each on input, output, model, batches, memory and time.

    Nothing is written. The time is that of these items, warm, times the number of items, so it is rough where later
    ones are longer.
    """
    pipe = job_pipeline(job, source, target_of(job.output, written))
    first = list(islice(job_entries(job, source), ITEMS))
    answers = _answer(pipe, first)
    began = time.perf_counter()
    _answer(pipe, first)
    seconds = (time.perf_counter() - began) / max(len(first), 1)
    failed, shown = 0, list[str]()
    for entry, answer in zip(first, answers, strict=True):
        rows, _ = render(entry, answer, source.noun, flat=job.flat)
        failed += isinstance(answer, Failure)
        shown += [row.decode("utf-8", "replace") for row in rows]
    shown += [f"{name:8}{text}\n" for name, text in _plan(job, source, written, pipe, seconds)]
    write_standard_output("".join(shown))
    return SOME_FAILED if failed else OK


def _answer(pipe: Any, first: list[Entry]) -> list[Any]:
    windows = iter([[entry.item for entry in first]] if first else [])
    return [answer for window in pipe.answer_windows(windows) for answer in window]


def _plan(job: Job, source: Source, written: Format, pipe: Any, seconds: float) -> list[tuple[str, str]]:
    """What a job would do, as pairs of a name and a sentence: input, output, model, batches, time."""
    total = source.total()
    counted = "number unknown until they are read" if total is None else f"{total:,}"
    columns = f", columns {', '.join(source.columns)}" if source.columns else ""
    parameters = sum(each.numel() for each in pipe.model.parameters())
    dtype = str(getattr(pipe.model, "dtype", "")).removeprefix("torch.")
    unit, budget, rows = pipe.batch_limits
    took = f"{1000 * seconds:.1f} ms an item"
    return [
        ("input", f"{job.input}: {source.format}, {source.noun}s: {counted}{columns}"),
        ("output", f"{job.output}: {written}" + (", a row an answer" if job.flat else "")),
        ("model", f"{type(pipe.model).__name__}, {parameters:,} parameters, {dtype} on {pipe.device}"),
        ("batches", f"at most {budget:,} {unit}" + (f" and {rows} rows" if rows else "")),
        ("memory", _memory(pipe)),
        ("time", took if total is None else f"about {_duration(seconds * total)}, {took}"),
    ]


def _memory(pipe: Any) -> str:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    text = f"{used / 1e6:,.0f} MB at most so far"
    if pipe.device.type == "cuda":
        import torch

        text += f", {torch.cuda.max_memory_allocated(pipe.device) / 1e6:,.0f} MB on the device"
    return text


def _duration(seconds: float) -> str:
    """A length of time in the unit that suits it.

    >>> _duration(45), _duration(600), _duration(9000)
    ('45 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
