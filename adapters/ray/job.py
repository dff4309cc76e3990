"""``afterlogits run --engine ray``: a job's input in parts over a cluster, resumed by Ray's own checkpoints.

The work folder beside the output holds Ray's parts and checkpoints, so it must be where every node sees it. At the end
the parts are joined in input order into the one output, as the local engine joins its shards.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..jobs.carried_types import carried_types
from ..jobs.entries import read_columns, read_keep
from ..jobs.errors import OK, SOME_FAILED, UsageError, one_line
from ..jobs.fingerprint import fingerprint_of
from ..jobs.formats import output_format
from ..jobs.job import Job, asked_format, check_input, target_of
from ..jobs.model import load_pipeline
from ..jobs.progress import Progress
from ..jobs.signals import stopping
from ..jobs.source import Source, check_distinct
from ..jobs.splits import Split, cut
from ..jobs.with_shards import join
from ..jobs.work_folder import WorkFolder
from .parts import lines, ordered
from .resources import need_ray

TASK_CPUS = 0.25  # of a task that reads or writes
# What the actors leave free: a task that reads, one that writes, and the actor that looks ids up in the checkpoints,
# which Ray gives a CPU of its own once there are any. Without it a job that goes on would wait for ever.
RESERVE = 2 * TASK_CPUS + 1


def run_on_ray(job: Job, *, workers: int | None, gpus_per_worker: float | None, address: str | None) -> int:
    """Carry out a job on Ray Data; the exit status is that of a local job."""
    written = output_format(job.output, job.output_format)
    target = target_of(job.output, written)
    if target is None:
        raise UsageError("--output must be a file with --engine ray")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be at least 1; got {workers}")
    check_distinct(job.input, target)
    try:
        ray = need_ray()
    except ImportError as error:
        raise UsageError(str(error)) from None
    splits, digest, noun, carried, reading = _splits(job)
    _start(ray, address)
    progress = Progress(job.task, noun, total=sum(split.count for split in splits), log=job.log)
    with stopping(), WorkFolder(target) as folder:  # Ray's own handler of SIGTERM would drop the lock too late
        facts = _checked(ray, job, reading, written, gpus_per_worker)
        folder.begin({**facts, "input": {"digest": digest}}, restart=job.restart)
        parts = folder.path / "parts"
        os.makedirs(parts, exist_ok=True)
        if splits:
            _answer(job, splits, noun, folder.path, workers, gpus_per_worker)
        _count(parts, progress)
        join(folder.path, written, target, lambda: lines(str(parts)), lambda: lines(str(parts)), carried)
        folder.finish()
    progress.close("done")
    line = progress.summary()
    if line is not None:
        print(f"afterlogits: {line}", file=sys.stderr)
    return OK if line is None else SOME_FAILED


def _splits(job: Job) -> tuple[list[Split], str, str, dict[str, Any], dict[str, Any]]:
    """The parts of the input, its digest, what an item is called, the types of carried columns, how it is read."""
    source = Source(job.input, asked_format(job), job.max_line)
    try:
        check_input(job, source)
        return *cut(source), source.noun, carried_types(source.schema, read_keep(job.keep)), source.reading
    finally:
        source.close()


def _start(ray: Any, address: str | None) -> None:
    """Reach the cluster, or start one on this machine, of at least two CPUs by name."""
    if ray.is_initialized():
        return
    own = {} if address else {"num_cpus": max(2, os.cpu_count() or 1)}
    # Ray's own processes write notes to standard error that are no errors of the job.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.init(address=address, **own, include_dashboard=False, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"cannot start Ray: {one_line(error)}") from None


def _checked(ray: Any, job: Job, reading: Mapping[str, Any], written: Any, gpus: float | None) -> dict[str, Any]:
    """The fingerprint of the job, made where a worker runs: what is wrong with its model is told in one line."""
    task = ray.remote(num_cpus=0.5, num_gpus=gpus or 0, max_retries=0)(_facts)
    try:
        found: dict[str, Any] | str = ray.get(task.remote(job, reading, written))
    except ray.exceptions.RayError as error:
        raise UsageError(f"a worker of Ray failed: {one_line(error)}") from None
    if isinstance(found, str):
        raise UsageError(found)
    return found


def _facts(job: Job, reading: Mapping[str, Any], written: Any) -> dict[str, Any] | str:
    try:
        return fingerprint_of(job, load_pipeline(job), reading, written)
    except UsageError as error:
        return str(error)


def _answer(job: Job, splits: list[Split], noun: str, folder: Path, workers: int | None, gpus: float | None) -> None:
    """Answer what no checkpoint holds. Rows of parts: number, rows of the output, error."""
    import ray
    from ray.data.checkpoint import CheckpointConfig

    from .blocks import NUMBER, AnswerBlocks, datasource
    from .processor import actor_arguments

    # The work folder goes as a whole, when the output stands.
    checkpoints = CheckpointConfig(NUMBER, str(folder / "checkpoint"), delete_checkpoint_on_success=False)
    checkpoints.checkpoint_actor_pool_max_size = 1
    settings = {
        "checkpoint_config": checkpoints,
        "enable_progress_bars": not job.quiet and sys.stderr.isatty(),
    }
    with _context(settings):
        light = {"num_cpus": TASK_CPUS}
        entries = ray.data.read_datasource(datasource(splits), override_num_blocks=len(splits), ray_remote_args=light)
        answers = entries.map_batches(
            AnswerBlocks,
            fn_constructor_args=(job, noun, read_columns(job.columns), read_keep(job.keep)),
            batch_size=None,
            batch_format="pyarrow",
            **actor_arguments(workers, gpus, None, RESERVE),
        )
        try:
            answers.write_parquet(str(folder / "parts"), ray_remote_args=light)
        except ray.exceptions.RayError as error:
            raise UsageError(f"Ray stopped: {one_line(error.__cause__ or error)}; the same command goes on") from None


@contextmanager
def _context(settings: Mapping[str, Any]) -> Iterator[None]:
    """Ray Data's settings of this job, and its own again afterwards."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = {name: getattr(context, name) for name in settings}
    order = context.execution_options.preserve_order
    for name, value in settings.items():
        setattr(context, name, value)
    context.execution_options.preserve_order = True
    try:
        yield
    finally:
        context.execution_options.preserve_order = order
        for name, value in before.items():
            setattr(context, name, value)


def _count(parts: Path, progress: Progress) -> None:
    """Count what was answered; every item must be there."""
    for item in ordered(str(parts)):
        progress.advance(1, int(item.error is not None), item.error)
        if item.error is not None:
            progress.event("failure", number=item.number, error=item.error)
        if item.number != progress.done:
            raise UsageError(f"{progress.noun} {progress.done} is missing in {parts}; --restart begins anew")
    if progress.total is not None and progress.done != progress.total:
        raise UsageError(f"{progress.done} of {progress.total} answers are in {parts}; --restart begins anew")
