"""The command of a trainer: which models, where to, how short. Two processes share the models."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch
from transformers.utils import logging

WEIGHTS = Path(__file__).parents[1]


def run_trainer(
    module: str,
    about: str,
    names: Collection[str],
    second: Sequence[str],
    train: Callable[[str, argparse.Namespace], object],
    argv: Sequence[str] | None,
    *,
    may_measure: bool = False,
) -> int:
    """Parse ``argv`` and call ``train(name, arguments)`` for each model asked for; the exit status.

    module: of the trainer, to start it again for the models ``second`` in a process of its own. may_measure: whether
    there is an option to measure the saved models alone.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(names), help="the models to train, one after the other")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the folders go")
    parser.add_argument("--shorter", type=int, default=1, help="divide the steps by this, to try the script")
    if may_measure:
        text = "measure the saved models and write their cards again"
        parser.add_argument("--measure", action="store_true", help=text)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    began = time.perf_counter()
    beside = None if arguments.only else _start(module, second, arguments)
    for name in arguments.only or [name for name in names if name not in second]:
        train(name, arguments)
    status = beside.wait() if beside else 0
    print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes", flush=True)
    return status


def _start(module: str, names: Sequence[str], arguments: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """The same trainer for other models, in a process of its own."""
    command = [sys.executable, "-m", module, "--only", *names, "--out", str(arguments.out)]
    command += ["--shorter", str(arguments.shorter)]
    return subprocess.Popen(command + (["--measure"] if getattr(arguments, "measure", False) else []))
