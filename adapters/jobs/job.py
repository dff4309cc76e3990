"""A job as it was asked for: its files, columns and options, and what they mean."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..tasks.table import find_task
from .entries import Entry, check_columns, entries, read_columns, read_keep
from .errors import UsageError, cannot
from .files import holds_frames
from .formats import Format
from .model import load_pipeline
from .source import Source, check_distinct

COMMIT_SECONDS = 1.0
_FOLDERS = ("files", "films")


@dataclass(frozen=True)
class Job:
    """What a job is asked to do; the options of ``afterlogits run`` under their own names.

    ``pipeline`` and ``options`` are keyword arguments of ``pipeline``: where it runs, and the task's own.
    ``commit_seconds``: how often what is answered is kept for good.
    """

    task: str
    input: str
    output: str
    format: str = "auto"
    output_format: str = "auto"
    columns: str = ""
    keep: str = ""
    flat: bool = False
    max_line: int = 8_000_000
    seed: int = 0
    restart: bool = False
    allow_new_weights: bool = False
    dry_run: bool = False
    log: str | None = None
    pictures: str | None = None
    subtitles: str | None = None
    subtitle_format: str = "srt"
    quiet: bool = False
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    commit_seconds: float = COMMIT_SECONDS


def target_of(name: str, written: Format) -> Path | None:
    """The file (or folder) to write, behind whatever links lead to it; None for standard output, pipes and devices.

    Raises UsageError for what cannot be written.
    """
    if name == "-":
        return None
    target = Path(os.path.realpath(name))
    try:
        mode = os.stat(name).st_mode  # of what links lead to, those of /dev/stdout and /dev/fd too
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as error:
        cannot("write", name, error)
    if stat.S_ISDIR(mode):
        if written.name == "dataset" and (not any(target.iterdir()) or (target / "state.json").exists()):
            return target
        raise UsageError(f"cannot write {name}: it is a directory")
    if not stat.S_ISREG(mode):
        return None
    if target.exists() and not os.access(target, os.W_OK):
        raise UsageError(f"cannot write {name}: Permission denied")
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {name}: No such file or directory")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {name}: Permission denied")
    return target


def job_pipeline(job: Job, source: Source, target: Path | None) -> Any:
    """The loaded pipeline of a job whose files are in order."""
    if target is not None or job.output == "-":
        check_distinct(job.input, target)
    return load_pipeline(job)


def asked_format(job: Job) -> str:
    """The format to read: in a folder that is given to a task of films, folders of frames are a film each."""
    films = job.format == "auto" and job.task == "video-classification" and os.path.isdir(job.input)
    return "films" if films and holds_frames(job.input) else job.format


def job_entries(job: Job, source: Source) -> Iterator[Entry]:
    """The entries of a job, as its columns say."""
    wrap = item_of_file if source.format.name in _FOLDERS else None
    return entries(source.records(), read_columns(job.columns), read_keep(job.keep), wrap)


def item_of_file(fields: dict[str, Any]) -> Any:
    """The item that a file is: its path."""
    return fields["file"]


def check_input(job: Job, source: Source) -> None:
    """Refuse what is known to be wrong of an input before a model is loaded."""
    check_columns(source.columns, read_columns(job.columns), read_keep(job.keep), job.input)
    _check_beside(job)
    if source.format.name in _FOLDERS:
        try:
            needs = set(find_task(job.task).needs)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if needs <= {"tokenizer"}:
            raise UsageError(f"cannot read {job.input}: it is a directory, and {job.task} answers texts")


def _check_beside(job: Job) -> None:
    """Refuse files beside the output that would be read as the input, or lost under the output."""
    read, written = (None if name == "-" else os.path.realpath(name) for name in (job.input, job.output))
    log = None if job.log is None else os.path.realpath(job.log)
    if log is not None and log in (read, written):
        raise UsageError(f"--log must be neither the input nor the output; got {job.log}")
    if job.pictures and read and f"{os.path.realpath(job.pictures)}/".startswith(f"{read}/"):
        raise UsageError(f"--pictures must not lie in the input, which would then hold them; got {job.pictures}")
