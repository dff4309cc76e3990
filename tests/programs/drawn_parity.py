"""The command of the programs that draw outputs and compare transformers' steps with ours: options, counts, verdict."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

Check = Callable[[int], None]
"""Draws a case from a seed and raises where the two sides differ."""


def run(check: Check, seeds: range) -> list[tuple[int, str]]:
    """The seeds whose answers differ, with the first line of what differs."""
    failed = []
    for seed in seeds:
        try:
            check(seed)
        except Exception as error:
            failed.append((seed, f"{type(error).__name__}: {error}".splitlines()[0]))
    return failed


def command(about: str, checks: Mapping[str, Check | str], argv: list[str] | None = None) -> int:
    """Run the checks that ``-k`` names and print a line each; 1 if anything differs.

    A text in place of a check is the reason why it cannot be compared here, and is printed.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-k", default="")
    options = parser.parse_args(argv)
    worst = 0
    for name, check in checks.items():
        if options.k.lower() not in name.lower():
            continue
        if isinstance(check, str):
            print(f"{name}: not compared, {check}")
            continue
        started = time.process_time()
        failed = run(check, range(options.seed, options.seed + options.cases))
        worst += len(failed)
        example = f"; first: seed {failed[0][0]}, {failed[0][1]}" if failed else ""
        took = time.process_time() - started
        print(f"{name}: {options.cases} cases, {len(failed)} differ{example} ({took:.0f} s)", flush=True)
    return int(worst > 0)
