"""Rivals that only an older transformers has, timed in a process of their own.

4.57.6 has the pipelines that version 5 removed, 4.55.4 the modes of generation. An environment is found through its
variable (``AFTERLOGITS_V4`` or ``AFTERLOGITS_V455``: a python with that version) or in its folder of the checkout.
Both processes time the same yardstick (plain torch work, the same build of torch) right beside the job, and the job's
seconds are scaled by the quotient of the two, so that what else the machine does at that moment cancels.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from afterlogits.benchmarks import oracle_worker
from afterlogits.benchmarks.pairing import Timed


class Oracle(Timed):
    """A rival in the other process: ``Oracle("select_starts_ends", {...})`` is a side of a pair."""

    def __init__(self, job: str, payload: Any, version: str = "4.57.6"):
        super().__init__(self._timed)
        self.version = version
        self.process = subprocess.Popen(
            [find_python(version), oracle_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        found = self._ask({"prepare": job, "payload": payload})["transformers"]
        if found != version:
            self.close()
            raise RuntimeError(f"{PLACES[version][0]} must be a python with transformers {version}; it has {found}")

    def _timed(self) -> tuple[float, Any]:
        here = oracle_worker.yardstick()
        there = self._ask({"run": True})
        return there["seconds"] * here / there["yardstick"], there["answer"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        oracle_worker.send(self.process.stdin, request)
        try:
            reply: dict[str, Any] = oracle_worker.receive(self.process.stdout)
        except (EOFError, struct.error, pickle.UnpicklingError) as broken:
            raise RuntimeError(f"transformers {self.version} ended: status {self.process.wait()}") from broken
        if "error" in reply:
            raise RuntimeError(f"transformers {self.version} failed: {reply['error']}")
        return reply

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=30)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


PLACES = {"4.57.6": ("AFTERLOGITS_V4", ".venv-v4"), "4.55.4": ("AFTERLOGITS_V455", ".venv-v455")}
"""The variable and the folder in which the environment of each version is looked for."""


def find_python(version: str = "4.57.6") -> str:
    """The python with this version of transformers; skips the entry, saying why, where there is none."""
    variable, folder = PLACES[version]
    here = Path.cwd() / folder / "bin" / "python"
    python = os.environ.get(variable) or (str(here) if here.exists() else "")
    if not python:
        pytest.skip(f"needs transformers {version} in its own environment: set {variable}, or run `make bench`")
    return python
