"""A job whose output is a stream: standard output, a pipe, a device. Nothing is kept, rows go out as they come."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .answering import answered
from .beside import files_beside
from .carried_types import carried_types
from .entries import read_keep
from .errors import ClosedPipe, UsageError, cannot, discard_standard_output
from .formats import Format
from .job import Job, job_entries, job_pipeline
from .progress import Progress
from .source import Source
from .writing import text_line, write


def run_streamed(job: Job, source: Source, written: Format, progress: Progress) -> None:
    """Answer everything. A format that needs all rows first is written to a file in between."""
    pipe = job_pipeline(job, source, None)
    windows = pipe.windows(job_entries(job, source), lambda entry: entry.item)
    beside = files_beside(job.pictures, job.subtitles, job.subtitle_format)
    answers = answered(pipe, windows, progress, seed=job.seed, flat=job.flat, beside=beside)
    found = (window.rows for window in answers)
    with _sink(job.output) as sink:
        if written in (Format("jsonl"), Format("text")):
            for rows in found:
                sink.writelines(rows if written.name == "jsonl" else map(text_line, rows))
                sink.flush()
        elif written.name == "dataset":
            raise UsageError("a data set is a folder; --output must name one")
        else:
            _spool(found, written, sink, carried_types(source.schema, read_keep(job.keep)))
            sink.flush()


def _spool(found: Iterator[list[bytes]], written: Format, sink: IO[bytes], carried: Mapping[str, Any]) -> None:
    """All rows into a file of the format, and its bytes into the stream."""
    with tempfile.TemporaryDirectory(prefix="afterlogits-") as name:
        rows, whole = Path(name) / "rows", Path(name) / "output"
        with open(rows, "wb") as spool:
            for each in found:
                spool.writelines(each)
        write(written, whole, lambda: _lines(rows), lambda: _pieces(rows), carried)
        for piece in _pieces(whole):
            sink.write(piece)


def _lines(place: Path) -> Iterator[bytes]:
    with open(place, "rb") as file:
        yield from file


def _pieces(place: Path) -> Iterator[bytes]:
    with open(place, "rb") as file:
        while piece := file.read(1 << 20):
            yield piece


@contextmanager
def _sink(name: str) -> Iterator[IO[bytes]]:
    """Where the rows go. A reader that has gone ends the job quietly; another error of writing is one line."""
    shown = "standard output" if name == "-" else name
    try:
        if name == "-":
            yield sys.stdout.buffer
            sys.stdout.flush()
        else:
            with open(name, "wb", buffering=0) as sink:
                yield sink
    except OSError as error:
        if name == "-":
            discard_standard_output()
        if isinstance(error, BrokenPipeError):
            raise ClosedPipe from None
        cannot("write", shown, error)
