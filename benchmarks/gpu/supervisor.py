"""Steps in a process that may die or hang: it is started again behind the step that did it.

A fault of a kernel takes the whole process's device with it, and a loop on the device never returns; neither may cost
the steps that come after.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

POLL = 0.5  # seconds between looks at the file


def begun(path: Path) -> int:
    """The last step that was begun according to the file of findings; -1 where none was."""
    last = -1
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        last = json.loads(line).get("begin", last)
    return last


def supervise(
    command: Callable[[int], list[str]], steps: int, path: Path, *, seconds: float, patience: float
) -> list[tuple[int, str]]:
    """Run ``command(first)`` until every one of ``steps`` steps had its turn; give the steps that ended a process.

    command: of a process that runs the steps from ``first`` on, and appends a line ``{"begin": n}`` to ``path`` before
    each and others as it goes. seconds: for all together. patience: seconds without a new line until it is killed.
    """
    ended, first, until = [], 0, time.monotonic() + seconds
    while first < steps and time.monotonic() < until:
        child = subprocess.Popen(command(first))
        how = _wait(child, path, until, patience)
        if not how:
            break
        last = max(begun(path), first)
        ended.append((last, how))
        first = last + 1
    return ended


def _wait(child: subprocess.Popen[bytes], path: Path, until: float, patience: float) -> str:
    """How a process ended, "" if as it should: 0, or 1 for findings that are not met."""
    size, changed = -1, time.monotonic()
    while child.poll() is None:
        now, found = time.monotonic(), path.stat().st_size if path.exists() else 0
        if found != size:
            size, changed = found, now
        if now - changed > patience or now > until:
            child.kill()
            child.wait()
            return f"no word for {now - changed:.0f} s, killed"
        time.sleep(POLL)
    return "" if child.returncode in (0, 1) else f"the process ended with {child.returncode}"
