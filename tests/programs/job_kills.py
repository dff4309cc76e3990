"""Kill jobs with SIGKILL and run them again: what comes out must equal, byte for byte, what was never interrupted.

``python -m tests.programs.job_kills`` kills at 200 random moments, and once before each call that touches the file
system, for every format of output; it prints how many were killed and what differed. Children are forked from a process
that has imported everything, so a job takes a fraction of a second.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from afterlogits.adapters.jobs.job import Job
from afterlogits.adapters.jobs.run import run_job
from tests.builders.forks import Fork
from tests.builders.text_models import tiny_model, wordpiece

NULL = os.open(os.devnull, os.O_WRONLY)
FORMATS = ("jsonl", "csv", "parquet", "arrow", "dataset")
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}


def prepare(folder: Path, lines: int) -> None:
    """A tiny model and an input of texts, some of which cannot be answered."""
    wordpiece().save_pretrained(folder / "model")
    tiny_model("token-classification", wordpiece()).save_pretrained(folder / "model")
    drawn = random.Random(0)
    with open(folder / "in.jsonl", "w", encoding="utf-8") as file:
        for number in range(lines):
            text = " ".join(drawn.choices(["Ada", "was", "in", "Paris", "works", "Maria"], k=drawn.randint(1, 12)))
            file.write(json.dumps({"id": number, "text": text}) + "\n" if number % 97 else "{bad\n")


def target_of(folder: Path, kind: str) -> Path:
    return folder / "work" / f"out.{kind}"


def run_one(folder: Path, kind: str) -> int:
    return run_job(
        Job(
            task="ner",
            input=str(folder / "in.jsonl"),
            output=str(target_of(folder, kind)),
            output_format=kind,
            quiet=True,
            pipeline={"model": str(folder / "model"), "device": "cpu"},
            options={"aggregation_strategy": "simple"},
            commit_seconds=0.0,
        )
    )


def child(work: Callable[[], object]) -> Fork:
    """Start ``work`` in a fork that tells nothing."""
    return Fork(work, stderr=NULL)


def killed(process: Fork) -> bool:
    return process.wait() < 0


def counting(folder: Path, stop_at: int, count: Callable[[int], None]) -> None:
    """From now on count calls that touch the job's folder, and die before number ``stop_at``."""
    seen = 0

    def touch() -> None:
        nonlocal seen
        seen += 1
        count(seen)
        if seen == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and str(folder / "work") in str(arguments[0]):
            touch()

    fsync = os.fsync
    os.fsync = lambda handle: (touch(), fsync(handle))[1]  # type: ignore[assignment]
    sys.addaudithook(hook)


def content(place: Path) -> dict[str, bytes]:
    if place.is_dir():
        return {name: (place / name).read_bytes() for name in sorted(os.listdir(place))}
    return {"": place.read_bytes()} if place.exists() else {}


class Kills:
    """Counts over all jobs. ``differing``: outputs unlike the uninterrupted one; ``early``: names that showed too soon;
    ``left``: jobs that left anything behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = self.kills = self.differing = self.early = self.left = 0
        self.wanted: dict[str, dict[str, bytes]] = {}

    def fresh(self) -> None:
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        (self.folder / "work").mkdir()

    def uninterrupted(self, kind: str) -> float:
        self.fresh()
        began = time.perf_counter()
        killed(child(lambda: run_one(self.folder, kind)))
        self.wanted[kind] = content(target_of(self.folder, kind))
        assert self.wanted[kind], f"no {kind} was written"
        return time.perf_counter() - began

    def check_hidden(self, kind: str) -> None:
        """After a kill the output is whole or not there."""
        found = content(target_of(self.folder, kind))
        self.early += bool(found) and found != self.wanted[kind]

    def finish(self, kind: str) -> None:
        killed(child(lambda: run_one(self.folder, kind)))
        self.jobs += 1
        self.differing += content(target_of(self.folder, kind)) != self.wanted[kind]
        self.left += os.listdir(self.folder / "work") != [f"out.{kind}"]

    def at_random(self, kind: str, kills: int, seconds: float, drawn: random.Random) -> None:
        """Jobs killed up to four times each, until there were so many kills."""
        done = 0
        while done < kills:
            self.fresh()
            for _ in range(drawn.randint(1, 4)):
                process = child(lambda: run_one(self.folder, kind))
                time.sleep(drawn.uniform(0, seconds))
                os.kill(process.pid, signal.SIGKILL)
                done += killed(process)
                self.check_hidden(kind)
            self.finish(kind)
        self.kills += done

    def before_each_call(self, kind: str, every: int = 1) -> int:
        """Killed before call 1, 2, ...; returns how many calls a whole job makes."""
        self.fresh()
        tally = self.folder / "calls"
        killed(child(partial(self._until, kind, -1, lambda seen: tally.write_text(str(seen)) and None)))
        calls = int(tally.read_text())
        for stop_at in range(1, calls + 1, every):
            self.fresh()
            assert killed(child(partial(self._until, kind, stop_at))), f"{kind}: call {stop_at} was not made"
            self.kills += 1
            self.check_hidden(kind)
            self.finish(kind)
        return calls

    def _until(self, kind: str, stop_at: int, count: Callable[[int], None] = lambda seen: None) -> None:
        counting(self.folder, stop_at, count)
        run_one(self.folder, kind)

    def bad(self) -> int:
        return self.differing + self.early + self.left

    def __str__(self) -> str:
        return (
            f"{self.kills} kills over {self.jobs} jobs: {self.differing} outputs differ from the uninterrupted one, "
            f"{self.early} incomplete under their name, {self.left} left something behind"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="at random moments, over all formats")
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--every", type=int, default=1, help="kill before every call, every second, ...")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawn = random.Random(given.seed)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, given.lines)
        for kind in FORMATS:
            kills = Kills(folder)
            seconds = kills.uninterrupted(kind)
            calls = kills.before_each_call(kind, given.every)
            print(f"{kind}: before each of {calls} file-system calls: {kills}", flush=True)
            bad += kills.bad()
            at_random = Kills(folder)
            at_random.wanted = kills.wanted
            at_random.at_random(kind, -(-given.kills // len(FORMATS)), seconds, drawn)
            print(f"{kind}: at random: {at_random}", flush=True)
            bad += at_random.bad()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
