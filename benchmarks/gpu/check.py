"""The steps in their order, and the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import torch

from afterlogits.benchmarks.gpu.findings import Check, findings_of
from afterlogits.benchmarks.gpu.supervisor import supervise
from afterlogits.benchmarks.summary import machine, versions


def describe(check: Check) -> None:
    """What ran: the device, torch, triton, transformers."""
    from afterlogits.decoding.triton_kernels.draw import may_run
    from afterlogits.decoding.triton_kernels.language import HAS_TRITON

    if check.device.type == "cuda":
        properties = torch.cuda.get_device_properties(check.device)
        processors = properties.multi_processor_count
        check.add("device", f"{properties.name}, {processors} processors, {properties.total_memory >> 30} GiB")
    else:
        check.add("device", machine()["cpu"])
    check.add("versions", ", ".join(f"{name} {version}" for name, version in versions().items()))
    if HAS_TRITON:
        import triton

        check.add("triton", triton.__version__)
    check.add("kernels draw here", may_run(check.device), "True", may_run(check.device) or check.dry)


def later(module: str, name: str) -> Callable[[Check], None]:
    """A step of a module that is imported when its turn comes: what it cannot import costs that step alone."""

    def step(check: Check) -> None:
        getattr(import_module(f"afterlogits.benchmarks.gpu.{module}"), name)(check)

    step.__name__ = name
    return step


# What runs, the seconds that it is not begun without, and those after which it is ended: equality first, then times by
# how much each tells, and last what compiles for long.
STEPS: tuple[tuple[str, Callable[[Check], None], float, float], ...] = (
    ("machine", describe, 0, 90),
    ("stream", later("stream", "formula"), 2, 40),
    ("stream", later("stream", "state"), 2, 20),
    ("torch", later("stream", "rules_of_torch"), 2, 20),
    ("tokens", later("tokens", "seeded_as_on_the_cpu"), 10, 80),
    ("tokens", later("tokens", "stream_as_transformers"), 10, 40),
    ("tokens", later("tokens", "bad_rows"), 2, 20),
    ("twins", later("tokens", "kernels_and_twins"), 10, 60),
    ("waits", later("tokens", "no_wait_in_a_step"), 2, 20),
    ("graphs", later("graphs", "replays"), 5, 40),
    ("pictures", later("pictures", "upsampling"), 5, 40),
    ("pictures", later("pictures", "maps"), 5, 40),
    ("pictures", later("pictures", "levels"), 2, 20),
    ("generation", later("generation", "modes_as_transformers"), 20, 80),
    ("waits", later("tasks", "waits_of_loops"), 15, 60),
    ("tasks", later("tasks", "answers"), 15, 70),
    ("times", later("sampling_times", "limits"), 5, 30),
    ("times", later("sampling_times", "draws"), 30, 120),
    ("times", later("sampling_times", "streams"), 10, 40),
    ("times", later("sampling_times", "beams"), 10, 40),
    ("times", later("pictures", "times"), 5, 30),
    ("times", later("sampling_times", "peer"), 5, 30),
    ("tokens/s", later("generation", "tokens_per_second"), 40, 150),
    ("static cache", later("tasks", "static_cache"), 60, 150),
)


def main(argv: Sequence[str]) -> int:
    """Run every step; print the table last. 1 where something asked is not met."""
    asked = _parser().parse_args(argv)
    device = torch.device("cpu" if asked.dry else asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu-check needs a CUDA device, and torch sees none; --dry runs its lines on the CPU")
        return 2
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # events and sleeping kernels are the current device's
    if asked.first is not None:
        return _run(Check(device, asked.dry, asked.seconds, asked.out), asked)
    asked.out.unlink(missing_ok=True)
    check = Check(device, asked.dry, asked.seconds, asked.out)
    if asked.dry:
        _run(check, asked)
    else:
        _run_supervised(check, asked, list(argv))
    table = check.table()
    asked.out.with_suffix(".md").write_text(table + "\n", encoding="utf-8")
    print("\n" + table)
    return int(any(finding.met is False for finding in check.findings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m afterlogits.benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="the device (default: cuda)")
    parser.add_argument("--dry", action="store_true", help="on the CPU, small and once, to see that every line runs")
    parser.add_argument("--only", default="", help="steps whose name holds this")
    parser.add_argument("--seconds", type=float, default=560.0, help="begin no step that does not fit (default: 560)")
    parser.add_argument("--patience", type=float, default=100.0, help="seconds without a result until a step is ended")
    parser.add_argument(
        "--out", type=Path, default=Path("gpu-check.jsonl"), help="results as they come, and as .md the table"
    )
    parser.add_argument("--first", type=int, help="run the steps from this one on, in this process")
    return parser


def _run(check: Check, asked: argparse.Namespace) -> int:
    """The steps from ``asked.first`` on, here."""
    for index, (name, step, needs, _) in enumerate(STEPS):
        if index >= (asked.first or 0) and asked.only in f"{name} {step.__name__}":
            check.begin(index)
            check.run(name, step, 0 if check.dry else needs)
    return int(any(finding.met is False for finding in check.findings))


def _run_supervised(check: Check, asked: argparse.Namespace, argv: list[str]) -> None:
    """The same in processes of their own, so that a step that takes the device with it costs only itself."""

    def command(first: int) -> list[str]:
        more = ["--first", str(first), "--seconds", str(check.left())]
        return [sys.executable, "-m", "afterlogits.benchmarks.gpu", *argv, *more]

    most = [most for _, _, _, most in STEPS]
    ended = supervise(command, most, asked.out, seconds=check.left(), patience=asked.patience)
    check.findings = findings_of(asked.out)
    for index, how in ended:
        check.step = STEPS[index][0]
        check.add(f"ended: {STEPS[index][1].__name__}", how, "run", False)
