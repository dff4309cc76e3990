"""Drawn outputs of vision models, transformers' postprocessing against ours.

``python -m tests.programs.vision_parity``:

``--cases N`` draws N cases a family (2,000), ``-k WORD`` only families whose name holds the word, ``--seed`` the first
seed. Prints one line per family: cases, how many differ, and the first seed that does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.postprocess.vision import drawn_detections, drawn_masks, drawn_points, drawn_segmentations

DRAWN = (drawn_detections, drawn_segmentations, drawn_masks, drawn_points)
FAMILIES: dict[str, Callable[[int], None]] = {name: check for drawn in DRAWN for name, check in drawn.CHECKS.items()}


def run(check: Callable[[int], None], seeds: range) -> list[tuple[int, str]]:
    """The seeds whose answers differ, with the first line of what differs."""
    failed = []
    for seed in seeds:
        try:
            check(seed)
        except Exception as error:
            failed.append((seed, f"{type(error).__name__}: {error}".splitlines()[0]))
    return failed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-k", default="")
    options = parser.parse_args(argv)
    worst = 0
    for name, check in FAMILIES.items():
        if options.k.lower() not in name.lower():
            continue
        started = time.process_time()
        failed = run(check, range(options.seed, options.seed + options.cases))
        worst += len(failed)
        example = f"; first: seed {failed[0][0]}, {failed[0][1]}" if failed else ""
        print(f"{name}: {options.cases} cases, {len(failed)} differ{example} ({time.process_time() - started:.0f} s)")
        sys.stdout.flush()
    return int(worst > 0)


if __name__ == "__main__":
    sys.exit(main())
