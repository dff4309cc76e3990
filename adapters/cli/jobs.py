"""A task over a file: lines in, JSON Lines out, in order; the output appears only when it is whole."""

import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..running.runner import Failure
from .commands import UsageError

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Job:
    """What ``afterlogits run`` was asked to do. ``pipeline`` and ``options`` are keyword arguments of ``pipeline``."""

    task: str
    input: str
    output: str
    format: str = "auto"
    quiet: bool = False
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def run_job(job: Job) -> int:
    """Carry out a job; returns the exit status, or raises UsageError with the line the user should see."""
    with _input(job.input) as source, _output(job.output) as sink:
        pipe = _load(job)
        lines = iter(source)
        first = next(lines, None)
        as_json = _is_json(job, first)
        ids: deque[tuple[int, Any]] = deque()
        items = _items(_again(first, lines), as_json, ids)
        results = pipe(items, on_error="record", progress=False)
        for result in _with_progress(results, job, source):
            line, name = ids.popleft()
            record = {"id": name, **_named_line(result, line)}
            sink.write(json.dumps(record, ensure_ascii=False) + "\n")
    return 0


def _load(job: Job) -> Any:
    import transformers

    from ..pipelines import pipeline

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return pipeline(job.task, **{k: v for k, v in job.pipeline.items() if v is not None}, **job.options)
    except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise UsageError(str(error).strip().split("\n")[0]) from error


def _items(lines: Iterable[bytes], as_json: bool, ids: deque[tuple[int, Any]]) -> Iterator[Any]:
    """Each line as an item, or as a Failure that takes its place; its number and id go to ``ids``."""
    for number, line in enumerate(lines, 1):
        name: Any = number
        item: Any
        try:
            text = line.decode("utf-8").rstrip("\r\n")
            item = json.loads(text) if as_json else text
            if isinstance(item, dict):
                name = item.get("id", number)
                item = {key: value for key, value in item.items() if key != "id"}
        except UnicodeDecodeError as error:
            item = Failure(ValueError(f"not valid UTF-8 at byte {error.start + 1}"))
        except json.JSONDecodeError as error:
            item = Failure(ValueError(f"invalid JSON: {error.msg} at column {error.colno}"))
        ids.append((number, name))
        yield item


def _named_line(result: Any, line: int) -> dict[str, Any]:
    if isinstance(result, dict) and set(result) == {"error", "index"}:
        return {"error": f"line {line}: {result['error']}"}
    return {"result": result}


def _is_json(job: Job, first: bytes | None) -> bool:
    if job.format != "auto":
        return job.format == "jsonl"
    suffix = Path(job.input).suffix.lower()
    if suffix in JSON_SUFFIXES or suffix == ".txt":
        return suffix != ".txt"
    return first is not None and first.lstrip()[:1] in (b"{", b'"', b"[")


def _again(first: bytes | None, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first is not None:
        yield first
        yield from rest


def _with_progress(results: Iterator[Any], job: Job, source: IO[bytes]) -> Iterator[Any]:
    if job.quiet or not sys.stderr.isatty():
        return results
    from tqdm import tqdm

    total = None
    if job.input != "-" and source.seekable():
        with open(job.input, "rb") as counted:
            total = sum(chunk.count(b"\n") for chunk in iter(lambda: counted.read(1 << 20), b""))
    return iter(tqdm(results, total=total, desc=job.task, unit="line", file=sys.stderr))


@contextmanager
def _input(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        source = open(name, "rb")  # noqa: SIM115 - closed below; only the opening may fail as a bad command
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    with source:
        if os.path.isdir(name):
            raise UsageError(f"cannot read {name}: it is a directory")
        yield source


@contextmanager
def _output(name: str) -> Iterator[IO[str]]:
    """A file that appears under ``name`` when the block ends well, and leaves no trace when it does not."""
    if name == "-":
        yield sys.stdout
        return
    target = Path(name)
    if target.is_dir():
        raise UsageError(f"cannot write {name}: it is a directory")
    if target.exists() and not target.is_file():  # a device or a pipe cannot be replaced
        with open(target, "w", encoding="utf-8") as sink:
            yield sink
        return
    if target.exists() and not os.access(target, os.W_OK):
        raise UsageError(f"cannot write {name}: Permission denied")
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}") from None
    try:
        with open(handle, "w", encoding="utf-8") as sink:
            yield sink
        os.chmod(partial, target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        os.replace(partial, target)
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror or error}") from None
    finally:
        Path(partial).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
