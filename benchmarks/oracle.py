"""Rivals that only transformers 4.57.6 has, timed in a process of their own.

The environment is found through ``AFTERLOGITS_V4`` (a python with transformers 4.57.6) or ``.venv-v4`` of the checkout.
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

    def __init__(self, job: str, payload: Any):
        super().__init__(self._timed)
        self.process = subprocess.Popen(
            [find_python(), oracle_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        self.version = self._ask({"prepare": job, "payload": payload})["transformers"]

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
            raise RuntimeError(f"the process with transformers 4.57.6 ended: status {self.process.wait()}") from broken
        if "error" in reply:
            raise RuntimeError(f"transformers 4.57.6 failed: {reply['error']}")
        return reply

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=30)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_python() -> str:
    """The python with transformers 4.57.6; skips the entry, saying why, where there is none."""
    here = Path.cwd() / ".venv-v4" / "bin" / "python"
    python = os.environ.get("AFTERLOGITS_V4") or (str(here) if here.exists() else "")
    if not python:
        pytest.skip("needs transformers 4.57.6 in its own environment: set AFTERLOGITS_V4, or run `make bench`")
    return python
