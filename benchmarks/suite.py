"""Run the suite: ``afterlogits bench [--quick] [-k ...] [--device ...] [--dtype ...] [--threads ...]``.

A file (``.../bench_sampling.py``) runs alone. What is no option of this command goes to pytest and pytest-benchmark:
``--benchmark-json``, ``--benchmark-compare``, ``-x`` and the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
"""The folder of the suite as it was imported (not resolved: a checkout reaches it through ``src/afterlogits``)."""

OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--quick", {"action": "store_true", "help": "fewer rounds, and only the entries not marked `full`"}),
    ("--peers", {"action": "store_true", "help": "the entries marked `peers`, and only these"}),
    ("--only", {"action": "append", "metavar": "NAME", "help": "the test of this name; several by repeating it"}),
    ("--device", {"default": "cpu", "help": "device the workloads live on (default: cpu)"}),
    ("--dtype", {"default": "float32", "help": "dtype of the logits (default: float32)"}),
    ("--threads", {"type": int, "default": None, "help": "threads torch may use (default: torch's own choice)"}),
)
"""What the command takes beside pytest's own, as argparse and pytest take it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the entries with pytest-benchmark; return pytest's exit status."""
    try:
        import pytest
        import pytest_benchmark  # noqa: F401
    except ImportError as missing:
        print(f"afterlogits bench needs {missing.name}: pip install 'afterlogits[bench]'", file=sys.stderr)
        return 2
    given = list(sys.argv[1:] if argv is None else argv)
    if given in (["-h"], ["--help"]):
        print(help_text())
        return 0
    # Without timing the answers are still checked; pytest-benchmark lets "enable" win where both are given.
    enabled = [] if "--benchmark-disable" in given else ["--benchmark-enable"]
    chosen = any(argument.endswith(".py") or ".py::" in argument for argument in given)
    where = [] if chosen else [str(HERE / "bench_peers.py" if "--peers" in given else HERE)]
    # First the folder: its conftest knows the options, and a value before it would be taken for a folder.
    return int(pytest.main([*pytest_options(), *enabled, *where, *given]))


def help_text() -> str:
    """The options of this command; pytest's are its own to print."""
    parser = argparse.ArgumentParser(
        prog="afterlogits bench",
        description="Time this package and transformers (or other engines) by turns, after checking that they agree.",
        epilog="Every other option is pytest's or pytest-benchmark's: -x, --collect-only, --benchmark-json FILE.",
    )
    parser.add_argument("-k", metavar="WORDS", help='entries whose names match: -k "top_p or beam" (default: all)')
    for name, options in OPTIONS:
        parser.add_argument(name, **options)
    return parser.format_help().rstrip()


def pytest_options() -> list[str]:
    """The configuration of a run, independent of any pyproject.toml around it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return [
        *("-c", os.devnull),
        f"--rootdir={HERE}",
        "--import-mode=importlib",
        *("-o", "python_files=bench_*.py"),
        *("-o", "python_functions=bench_*"),
        *("-p", "no:cacheprovider"),
        "--benchmark-disable-gc",
        "--benchmark-quiet",
        "-ra",
        *("--durations=8", "--durations-min=10"),
    ]
