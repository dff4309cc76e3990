"""``run_job``: what ``afterlogits run`` does, from the files' names to the exit status."""

import sys

from .dry_run import rehearse
from .errors import OK, SOME_FAILED, Stopped, UsageError
from .formats import Format, output_format
from .job import Job, asked_format, check_input, target_of
from .progress import Progress
from .source import Source
from .streamed import run_streamed
from .with_shards import run_with_shards


def run_job(job: Job) -> int:
    """Carry out a job; returns the exit status, or raises UsageError with the line the user should see.

    The status is 0 when every item was answered, 3 when some have an error in place of their answer.
    """
    if job.max_line < 1:
        raise UsageError(f"--max-line must be at least 1; got {job.max_line}")
    written = output_format(job.output, job.output_format)
    source = Source(job.input, asked_format(job), job.max_line)
    try:
        check_input(job, source)
        if job.dry_run:
            return rehearse(job, source, written)
        progress = Progress(
            job.task, source.noun, total=source.total() if _has_bar(job) else None, bar=_has_bar(job), log=job.log
        )
        status = "failed"
        try:
            _carry_out(job, source, written, progress)
            status = "done"
        except Stopped:
            status = "stopped"
            raise
        finally:
            progress.close(status)
    finally:
        source.close()
    line = progress.summary()
    if line is None:
        return OK
    print(f"afterlogits: {line}", file=sys.stderr)
    return SOME_FAILED


def _has_bar(job: Job) -> bool:
    return not job.quiet and sys.stderr.isatty()


def _carry_out(job: Job, source: Source, written: Format, progress: Progress) -> None:
    target = target_of(job.output, written)
    if target is None:
        run_streamed(job, source, written, progress)
    else:
        run_with_shards(job, source, written, target, progress)
