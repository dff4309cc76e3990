"""What one call of ``sample`` passes through: its functions in order of their first call, and how often, printed.

    python -m tests.programs.trace_sample [top_p=0.9 ...] [--rows 16] [--vocab-size 32000] [--spread model] [--seeds]

The second call is traced: the first reads the options and keeps what it read. Only functions of this package count.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import afterlogits
from afterlogits.benchmarks.workloads import peaked
from afterlogits.decoding import sample

PACKAGE = str(Path(afterlogits.__file__).parent)


def trace(call: Callable[[], object]) -> Counter[tuple[str, str]]:
    """Calls by (file, function), in order of their first call."""
    passed: Counter[tuple[str, str]] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code  # comprehensions are functions of their own in some versions of Python, and not counted
        if event == "call" and code.co_filename.startswith(PACKAGE) and not code.co_name.startswith("<"):
            passed[
                frame.f_code.co_filename.removeprefix(PACKAGE + "/"),
                getattr(frame.f_code, "co_qualname", frame.f_code.co_name),
            ] += 1

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return passed


def logits_of(rows: int, vocab_size: int, spread: str) -> torch.Tensor:
    """Language-model-like rows, or normal ones of a deviation."""
    if spread == "model":
        return peaked(rows, vocab_size)
    return torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(0)) * float(spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", default=["top_p=0.9"], help="options of sample, name=number")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--spread", default="model", help='"model", or the deviation of normal logits')
    parser.add_argument("--seeds", action="store_true", help="a seed for each row instead of torch's stream")
    given = parser.parse_args()
    options: dict[str, Any] = {name: float(value) for name, value in (x.split("=") for x in given.options)}
    if given.seeds:
        options["seeds"] = list(range(given.rows))
    logits = logits_of(given.rows, given.vocab_size, given.spread)
    sample(logits, **options)
    passed = trace(lambda: sample(logits, **options))
    for (file, function), count in passed.items():
        print(f"{count:4} x  {file:45} {function}")
    files = {file for file, _ in passed}
    print(f"{sum(passed.values())} calls, {len(passed)} functions, {len(files)} files")


if __name__ == "__main__":
    main()
