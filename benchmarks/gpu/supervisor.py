"""Steps in a process that may die or hang: it is started again behind the step that did it.

A fault of a kernel takes the whole process's device with it, and a loop on the device never returns; neither may cost
the steps that come after.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

POLL = 0.5  # seconds between looks at the file


def begun(path: Path) -> int:
    """The last step that was begun according to the file of findings; -1 where none was."""
    last = -1
    for line in whole_lines(path):
        last = line.get("begin", last)
    return last


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of findings; what a killed process has left of its last line is left out."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def supervise(
    command: Callable[[int], list[str]], most: Sequence[float], path: Path, *, seconds: float, patience: float
) -> list[tuple[int, str]]:
    """Run ``command(first)`` until every step had its turn; give the steps that ended a process, and how.

    command: of a process that runs the steps from ``first`` on, and appends a line ``{"begin": n}`` to ``path`` before
    each and others as it goes. most: of each step, the seconds after which it is ended. seconds: for all together.
    patience: seconds without a new line until it is killed.
    """
    ended, first, until = [], 0, time.monotonic() + seconds
    while first < len(most) and time.monotonic() < until:
        child = subprocess.Popen(command(first))
        try:
            how = _wait(child, path, until, patience, most)
        finally:  # whatever ends this process, no child goes on with the device
            if child.poll() is None:
                child.kill()
        if not how:
            break
        last = max(begun(path), first)
        ended.append((last, how))
        first = last + 1
    return ended


def _wait(child: subprocess.Popen[bytes], path: Path, until: float, patience: float, most: Sequence[float]) -> str:
    """How a process ended, "" if as it should: 0, or 1 for findings that are not met."""
    size, changed, step, since = -1, time.monotonic(), begun(path), time.monotonic()
    while child.poll() is None:
        now, found = time.monotonic(), path.stat().st_size if path.exists() else 0
        if found != size:
            size, changed = found, now
            if begun(path) != step:
                step, since = begun(path), now
        if now - changed > patience or now > until or (step >= 0 and now - since > most[step]):
            child.kill()
            child.wait()
            return f"ran for {now - since:.0f} s, no word for {now - changed:.0f} s, killed"
        time.sleep(POLL)
    return "" if child.returncode in (0, 1) else f"the process ended with {child.returncode}"
