"""The matrix of clients: a row for all that was run in another project's program, written into docs/clients.md.

``compare`` runs the program as it is and on this package, by turns, asks for equal answers and for calls that reached
this package, and keeps the ratio of their times.
"""

import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from afterlogits.adapters import checkpoints
from afterlogits.adapters.generation import generation_mixin
from afterlogits.adapters.pipelines import CALLS

# The folders of trained checkpoints that ship: programs load them by path as they would a model of the hub.
CLASSIFIER, NER, NLI, QA, MASKED, DECODER, SEQ2SEQ = (
    str(checkpoints.path(task))
    for task in (
        "text-classification",
        "token-classification",
        "zero-shot-classification",
        "question-answering",
        "fill-mask",
        "text-generation",
        "summarization",
    )
)
TEXTS = [
    "A wonderful film, I loved every minute of it.",
    "The food was cold and the waiter was rude.",
    "Anna Berg is a baker. She lives in Oslo.",
    "Peter Schmidt works for Siemens in Munich since March.",
    "It rained all day, so we stayed at home.",
    "The hotel was clean and the staff were friendly.",
] * 4
QUICK = os.environ.get("AFTERLOGITS_CLIENTS") == "quick"
# A short program runs more rounds than a long one: as many as fit into these seconds of the process's time.
SECONDS, MOST_ROUNDS = (0.0, 2) if QUICK else (1.0, 24)
ROUNDS = 2 if QUICK else 4


@dataclass(frozen=True)
class Row:
    client: str
    what: str
    calls: int
    equal: str
    ratio: float | None


ROWS: list[Row] = []


class Reached:
    """How many calls reached this package: of pipelines, and of decoding loops."""

    def __init__(self) -> None:
        self.calls = 0


@contextmanager
def counting():
    """Count the calls of pipelines and of decoding loops within."""
    reached = Reached()
    pipelines = sum(CALLS.values())
    plain = generation_mixin.Engine._decode

    def counted(self: Any, method: str, run: Any, input_ids: Any, prepared: Any, *more: Any) -> Any:
        def running(*args: Any, **kwargs: Any) -> Any:  # only where this engine's own loop runs
            reached.calls += 1
            return run(*args, **kwargs)

        return plain(self, method, running, input_ids, prepared, *more)

    generation_mixin.Engine._decode = counted
    try:
        yield reached
    finally:
        generation_mixin.Engine._decode = plain
        reached.calls += sum(CALLS.values()) - pipelines


def compare(
    client: str,
    what: str,
    theirs: Callable[[], Any],
    ours: Callable[[], Any],
    *,
    same: Callable[[Any, Any], bool] = lambda a, b: bool(a == b),
    rounds: int = ROUNDS,
) -> None:
    """One row: equal answers, at least one call that reached this package in ours and none in theirs."""
    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    calls = 0
    # ONNX Runtime's threads go round while they wait: the process's time would count them.
    clock = time.perf_counter if client == "optimum-onnx" else time.process_time
    for number in range(MOST_ROUNDS):
        if number >= rounds and sum(map(sum, times.values())) > SECONDS:
            break
        with counting() as none:
            expected = _timed(theirs, times["theirs"], clock)
        with counting() as reached:
            found = _timed(ours, times["ours"], clock)
        calls += reached.calls
        assert none.calls == 0, f"{none.calls} calls of {client} as it is reached this package"
        assert reached.calls > 0, f"no call of {client} reached this package"
        assert same(expected, found), f"{client}, {what}: {expected!r} is not {found!r}"
    # The first round warms both up.
    warm = {side: min(each[1:] or each) for side, each in times.items()}
    ROWS.append(Row(client, what, calls, "equal", warm["theirs"] / warm["ours"]))


def note(client: str, what: str, reached: Reached, equal: str = "equal") -> None:
    """A row without a ratio: what transformers cannot run, or what is a property rather than an answer."""
    assert reached.calls > 0, f"no call of {client} reached this package"
    ROWS.append(Row(client, what, reached.calls, equal, None))


def _timed(work: Callable[[], Any], times: list[float], clock: Callable[[], float]) -> Any:
    torch.manual_seed(0)
    start = clock()
    result = work()
    times.append(clock() - start)
    return result


def close(a: Any, b: Any, tolerance: float = 1e-5) -> bool:
    """Equal but for the last bits of numbers, whatever holds them."""
    if isinstance(a, torch.Tensor):
        return torch.allclose(a.float(), torch.as_tensor(b).float(), rtol=1e-4, atol=tolerance)
    if hasattr(a, "tolist") and not isinstance(a, str):
        return close(a.tolist(), b.tolist() if hasattr(b, "tolist") else b, tolerance)
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) <= tolerance * max(1.0, abs(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[name], b[name], tolerance) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b)


HEAD = """# Clients

Other projects' programs, each run as it is and on this package, by turns in one process: are answers equal, how many
calls reached this package (counted, for a program that binds its names early may never reach it), how much of the
process's time does the program take (the least of four rounds or more, all threads together; optimum-onnx by the
clock). Written by `make test-clients`; each row is a test in `tests/clients/`. Last stand the versions that the tests
of this package itself were run with, by `make test-versions`.

Where a program's time is that of its model's steps, its ratio lies within some hundredths of 1 and differs so much from
run to run. What is below: processors and stop words of the caller's own, which are asked
at each step by either, and calls that the depth of CPython's stack makes slow (architecture.md); `generate` has room
for its frames since these rows were written.
"""


def write_page(page: str, *, complete: bool) -> None:
    """``docs/clients.md``: a section for each version of transformers; the one of this run is written anew."""
    path = Path(page)
    parts = re.split(r"^## ", path.read_text(), flags=re.MULTILINE)[1:] if path.exists() else []
    sections = {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in parts}
    sections[f"transformers {_version('transformers')}"] = _section(complete)
    texts = [f"## {title}\n\n{body}\n" for title, body in sorted(sections.items(), reverse=True)]
    path.write_text("\n".join([HEAD, *texts]))


def _section(complete: bool) -> str:
    """A table of all rows of this run, and the versions they ran with."""
    lines = [
        "| client | version | what ran | calls that reached us | answers | times faster |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(ROWS, key=lambda row: (row.client.lower(), row.what)):
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.client} | {_version(row.client)} | {row.what} | {row.calls} | {row.equal} | {ratio} |")
    with_what = ", ".join(f"{name} {_version(name)}" for name in ("torch", "tokenizers", "numpy"))
    told = f"{len(ROWS)} rows, run on {time.strftime('%Y-%m-%d')} with Python {platform.python_version()}, {with_what}."
    return (
        told
        + ("" if complete else " Some tests of this run failed: their rows are missing.")
        + "\n\n"
        + "\n".join(lines)
    )


def _version(client: str) -> str:
    for name in (client, client.split(" ")[0]):
        try:
            return version(name)
        except ModuleNotFoundError:  # PackageNotFoundError is one
            continue
    return "?"
