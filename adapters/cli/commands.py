"""The command line: ``afterlogits demo | run | serve | bench | completion``.

A bad command ends with one line on stderr and exit status 2, a job with unanswered items with 3, an interrupted one
with 128 and the number of its signal; nothing here reads an argument by itself (parser.py).
"""

import argparse
import sys
from collections.abc import Sequence

from ..jobs.errors import (
    CANNOT,
    CLOSED_PIPE,
    ClosedPipe,
    Stopped,
    UsageError,
    discard_standard_output,
    write_standard_output,
)
from ..jobs.job import Job
from ..jobs.run import run_job
from ..jobs.signals import stopping
from .option_help import sentence
from .parser import build_parser, completion_script, parse, task_options
from .serve_options import settings_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with stopping():
            status = _run(arguments)
            write_standard_output()
            return status
    except UsageError as error:
        print(f"afterlogits: {error}", file=sys.stderr)
        return CANNOT
    except (KeyboardInterrupt, Stopped) as stop:
        print(f"afterlogits: {str(stop) or 'interrupted'}", file=sys.stderr)
        return int(getattr(stop, "status", 130))
    except (ClosedPipe, BrokenPipeError):
        discard_standard_output()
        return CLOSED_PIPE


def _run(arguments: Sequence[str]) -> int:
    try:
        known, rest = parse(arguments)
        return _carry_out(known, rest)
    except SystemExit as end:  # argparse has printed a help text
        return int(end.code or 0)


def _carry_out(known: argparse.Namespace, rest: list[str]) -> int:
    """Run the command that was asked for, importing no more than it needs; the exit status."""
    if known.version:
        from ... import __version__

        print(__version__)
        return 0
    if known.command == "demo":
        from .demo import main as demo

        return int(demo(rest) or 0)
    if known.command == "bench":
        from ...benchmarks.suite import main as bench

        return int(bench(rest) or 0)
    if known.command == "completion":
        print(completion_script(known.shell))
        return 0
    if known.command == "run" and known.engine == "ray":
        from ..ray.job import run_on_ray

        on = {"workers": known.workers, "gpus_per_worker": known.gpus_per_worker, "address": known.address}
        return run_on_ray(job_of(known), **on)
    if known.command == "run":
        _refuse_engine_options(known)
        return run_job(job_of(known))
    if known.command == "serve":
        from ..serving.command import serve

        return serve(settings_of(known), sentence, quiet=known.quiet)
    build_parser().print_help()
    return CANNOT


def _refuse_engine_options(known: argparse.Namespace) -> None:
    for name in ("workers", "gpus_per_worker", "address"):
        if getattr(known, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} needs --engine ray")


def job_of(known: argparse.Namespace) -> Job:
    """The job that the values of ``afterlogits run`` describe."""
    pipeline = {
        "model": known.model,
        "tokenizer": known.tokenizer,
        "revision": known.revision,
        "device": known.device,
        "dtype": known.dtype,
        "batch_tokens": known.batch_tokens,
        "batch_size": known.batch_size,
        "compat": not known.corrected,
    }
    return Job(
        task=known.task,
        input=known.input,
        output=known.output,
        format=known.format,
        output_format=known.output_format,
        columns=known.columns or "",
        keep=known.keep or "",
        flat=known.flat,
        max_line=known.max_line,
        seed=known.seed,
        restart=known.restart,
        allow_new_weights=known.allow_new_weights,
        dry_run=known.dry_run,
        log=known.log,
        pictures=known.pictures,
        subtitles=known.subtitles,
        subtitle_format=known.subtitle_format,
        quiet=known.quiet,
        pipeline={name: value for name, value in pipeline.items() if value is not None},
        options=task_options(known),
    )


if __name__ == "__main__":
    sys.exit(main())
