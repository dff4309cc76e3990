"""What a job costs beside its answers: commits and the join in time, and memory over the length of the input.

``python -m tests.programs.job_costs commits`` answers one list with and without shards, in turn, in one process, and
prints the medians, their ratio, and the share of a job's time that its commits, fingerprint and join take by
themselves, which other work on the machine moves less. ``... memory --lines 1000000`` runs one job in a fork and prints
its memory as it goes.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from transformers import BertConfig, BertForTokenClassification

from afterlogits.adapters.jobs import with_shards as sharded
from afterlogits.adapters.jobs.answering import answered
from afterlogits.adapters.jobs.formats import Format
from afterlogits.adapters.jobs.job import Job, job_entries, job_pipeline
from afterlogits.adapters.jobs.progress import Progress
from afterlogits.adapters.jobs.run import run_job
from afterlogits.adapters.jobs.source import Source
from afterlogits.adapters.jobs.work_folder import WorkFolder
from tests.builders.forks import Fork
from tests.builders.text_models import LABELS, wordpiece


def model(folder: Path, layers: int, width: int) -> None:
    """A token classifier of so many layers."""
    config = BertConfig(
        vocab_size=len(wordpiece()),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        num_labels=len(LABELS),
    )
    BertForTokenClassification(config).save_pretrained(folder)
    wordpiece().save_pretrained(folder)


def job_of(folder: Path) -> Job:
    return Job(
        task="ner",
        input=str(folder / "in.txt"),
        output=str(folder / "out.jsonl"),
        quiet=True,
        pipeline={"model": str(folder / "model"), "device": "cpu"},
        options={"aggregation_strategy": "simple"},
    )


def plain(job: Job) -> float:
    """Seconds to answer everything and keep nothing."""
    source = Source(job.input, job.format, job.max_line)
    began = time.perf_counter()
    pipe = job_pipeline(job, source, None)
    windows = pipe.windows(job_entries(job, source), lambda entry: entry.item)
    for _ in answered(pipe, windows, Progress(job.task, "line")):
        pass
    source.close()
    return time.perf_counter() - began


SPENT: dict[str, float] = {}


def timed(owner: object, name: str) -> None:
    """From now on the seconds that a function takes are added up in SPENT."""
    work = getattr(owner, name)

    def measured(*arguments: object, **options: object) -> object:
        began = time.perf_counter()
        try:
            return work(*arguments, **options)
        finally:
            SPENT[name] = SPENT.get(name, 0) + time.perf_counter() - began

    setattr(owner, name, measured)


def with_shards(job: Job) -> float:
    """Seconds with commits about once a second, the fingerprint and the join."""
    source = Source(job.input, job.format, job.max_line)
    began = time.perf_counter()
    sharded.run_with_shards(job, source, Format("jsonl"), Path(job.output), Progress(job.task, "line"))
    source.close()
    return time.perf_counter() - began


def commits(folder: Path, lines: int, rounds: int) -> None:
    model(folder / "model", 4, 128)
    (folder / "in.txt").write_text("Ada was in Paris and works near the river in Berlin.\n" * lines)
    job = job_of(folder)
    plain(job)
    for owner, name in ((WorkFolder, "commit"), (sharded, "join"), (sharded, "fingerprint_of")):
        timed(owner, name)
    pairs = [(plain(job), with_shards(job)) for _ in range(rounds)]
    without, kept = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(kept / bare for bare, kept in pairs)
    print(f"{lines:,} lines, {rounds} rounds: {without:.2f} s without, {kept:.2f} s with commits and join: {ratio:.4f}")
    total = sum(kept for _, kept in pairs)
    print("share of the time:", ", ".join(f"{name} {spent / total:.2%}" for name, spent in SPENT.items()))
    print("each round:", ", ".join(f"{kept / bare:.3f}" for bare, kept in pairs))


def resident(process: int) -> float:
    """Megabytes that a process holds."""
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def memory(folder: Path, lines: int) -> None:
    model(folder / "model", 1, 16)
    with open(folder / "in.txt", "w") as file:
        for number in range(lines):
            file.write(f"Ada was in Paris {number}.\n")
    fork = Fork(lambda: run_job(job_of(folder)))
    began, shown, found = time.monotonic(), 0, {}
    work = folder / ".out.jsonl.job"
    while os.waitpid(fork.pid, os.WNOHANG)[0] == 0:
        time.sleep(0.5)
        shards = sorted(name for name in os.listdir(work) if name.endswith(".shard")) if work.exists() else []
        done = int(shards[-1].split("-")[0]) if shards else 0
        if done >= shown:
            found[done] = resident(fork.pid)
            print(f"{time.monotonic() - began:6.0f} s  {done:>9,} lines  {found[done]:7.1f} MB", flush=True)
            shown = done + lines // 10
    with open(folder / "out.jsonl") as output:
        written = sum(1 for _ in output)
    print(f"{written:,} records written")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("commits", "memory"))
    parser.add_argument("--lines", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if given.what == "commits":
            commits(Path(name), given.lines or 3000, given.rounds)
        else:
            memory(Path(name), given.lines or 1_000_000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
