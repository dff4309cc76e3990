"""A job whose output is a file: shards beside it while it runs, one join at its end, resumed where it stopped."""

import os
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from .answering import Answered, answered
from .beside import files_beside
from .carried_types import carried_types
from .entries import Entry, read_keep
from .errors import Stopped, UsageError, cannot
from .fingerprint import fingerprint_of
from .formats import Format
from .job import Job, job_entries, job_pipeline
from .progress import Progress
from .source import Source
from .work_folder import WorkFolder, fsync_folder, remove
from .writing import Rows, write


def run_with_shards(job: Job, source: Source, written: Format, target: Path, progress: Progress) -> None:
    """Answer what no shard holds, keep it, and join all of it into ``target``."""
    with WorkFolder(target) as folder:
        pipe = job_pipeline(job, source, target)
        folder.begin(fingerprint_of(job, pipe, source.reading, written), restart=job.restart)
        windows = pipe.windows(job_entries(job, source), lambda entry: entry.item)
        rest = _not_answered(windows, folder, source)
        if folder.done:
            progress.advance(folder.done, folder.failed, folder.reason, resumed=True)
            progress.event("resume", done=folder.done)
        _answer(job, pipe, rest, folder, progress)
        progress.event("join", done=progress.done)
        carried = carried_types(source.schema, read_keep(job.keep))
        join(folder.path, written, target, folder.rows, folder.bodies, carried)
        folder.finish()


def _not_answered(windows: Iterator[list[Entry]], folder: WorkFolder, source: Source) -> Iterator[list[Entry]]:
    """The windows behind the shards. Raises UsageError where the input is not the one that the shards answer."""
    expected = folder.digests()
    position = 0
    for window in windows:
        if position == folder.done and not folder.ended:
            return chain([window], windows)
        for entry in window:
            want = next(expected, None)
            if want != entry.digest:
                how = "is new" if want is None else "changed"
                raise UsageError(
                    f"{source.noun} {entry.number} of {source.name} {how} since the unfinished job began; "
                    "--restart drops that"
                )
        position += len(window)
    if position < folder.done:
        raise UsageError(
            f"{source.name} ends with {source.noun} {position}, and the unfinished job has answered {folder.done}; "
            "--restart drops that"
        )
    return iter(())


def _answer(job: Job, pipe: Any, windows: Iterator[list[Entry]], folder: WorkFolder, progress: Progress) -> None:
    """Answer windows, and commit what is answered about once a second, always whole windows."""
    pending: list[Answered] = []
    committed, kept = time.monotonic(), folder.done
    try:
        beside = files_beside(job.pictures, job.subtitles, job.subtitle_format)
        for found in answered(pipe, windows, progress, start=folder.done, seed=job.seed, flat=job.flat, beside=beside):
            # The newest window waits for the next one: only the last shard says that the input ended.
            if pending and time.monotonic() - committed >= job.commit_seconds:
                _commit(folder, pending, progress, last=False)
                pending, committed, kept = [], time.monotonic(), folder.done
            pending.append(found)
    except (KeyboardInterrupt, Stopped, UsageError) as stop:
        if pending and folder.done == kept:  # a signal may come when the shard is there and still pending here
            _commit(folder, pending, progress, last=False)
        if isinstance(stop, UsageError):
            raise
        raise Stopped.like(
            stop, f"{folder.done:,} are kept; the same command goes on" if folder.done else None
        ) from None
    if pending:
        _commit(folder, pending, progress, last=True)


def _commit(folder: WorkFolder, pending: list[Answered], progress: Progress, *, last: bool) -> None:
    folder.commit(
        [digest for window in pending for digest in window.digests],
        [row for window in pending for row in window.rows],
        failed=sum(window.failed for window in pending),
        reason=next((window.reason for window in pending if window.reason), None),
        last=last,
    )
    progress.event("commit", done=folder.done)


def join(
    folder: Path, written: Format, target: Path, rows: Rows, bodies: Rows, carried: Mapping[str, Any] | None = None
) -> None:
    """All rows as one file (or folder), complete in the work folder before it has the output's name."""
    part = folder / "output.part"
    try:
        write(written, part, rows, bodies, carried)
        if part.is_dir():
            _replace_folder(folder, part, target)
        else:
            with open(part, "rb") as whole:
                os.fsync(whole.fileno())
            os.chmod(part, target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask())
            os.replace(part, target)
        fsync_folder(target.parent)
    except OSError as error:
        cannot("write", str(target), error)


def _replace_folder(folder: Path, part: Path, target: Path) -> None:
    """A folder takes no other's name: the old one goes aside first."""
    old = folder / "replaced.part"
    remove(old)
    if target.exists():
        os.replace(target, old)
    os.replace(part, target)
    remove(old)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
