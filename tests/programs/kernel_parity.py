"""Rows drawn by the kernels in Triton's interpreter against the CPU's draws with the same seeds: counts, and a verdict.

``TRITON_INTERPRET=1 python -m tests.programs.kernel_parity [--seconds 240]`` in an environment with triton. For each
option set and shape of row: how many rows, how many flagged as doubtful, how many
unflagged tokens differ, which must be none.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

import torch

from afterlogits.benchmarks import workloads
from afterlogits.decoding import SamplingParams, sample
from afterlogits.decoding.kernels.counter_noise import counter_keys
from afterlogits.decoding.triton_kernels.draw import draw_rows
from afterlogits.decoding.triton_kernels.row_options import RowOptions

CPU = torch.device("cpu")
SHAPES = {"peaked": workloads.peaked, "flat": workloads.flat, "twenty values": workloads.adversarial}
OPTIONS = (
    {"temperature": 0.8, "top_k": 50, "top_p": 0.95},
    {"top_p": 0.9},
    {"temperature": 1.1},
    {"min_p": 0.05, "temperature": 0.7},
)
ROWS = 8


def compare(shape: str, dtype: torch.dtype, options: dict, seed: int) -> tuple[int, int]:
    """Of a batch of rows: how many are doubtful, and how many others differ."""
    vocab_size = 4100 + seed % 1900
    logits = SHAPES[shape](ROWS, vocab_size, seed=seed).to(dtype)
    seeds = [seed * ROWS + row for row in range(ROWS)]
    expected = sample(logits, seeds=seeds, step=seed % 7, **options)
    asked = RowOptions.of(SamplingParams(**options).compiled(ROWS, CPU), ROWS, vocab_size, CPU)
    drawn = draw_rows(logits, asked, keys=counter_keys(torch.tensor(seeds), seed % 7)[:, 0])
    return int(drawn.doubtful.sum()), int(((drawn.tokens != expected) & ~drawn.doubtful).sum())


def main(arguments: list[str]) -> int:
    """Print the table; 1 where a token differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240.0, help="for all together (default: 240)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    asked = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # numpy's, of infinities
    cases = [(s, d, o) for s in SHAPES for d in (torch.float32, torch.bfloat16) for o in OPTIONS]
    found = {place: [0, 0, 0] for place in range(len(cases))}
    until, seed = time.monotonic() + asked.seconds, asked.seed
    while time.monotonic() < until:
        for place, case in enumerate(cases):
            for column, count in enumerate((ROWS, *compare(*case, seed))):
                found[place][column] += count
        seed += 1
    print("| rows of | logits | options | rows | in doubt | unlike |\n| --- | --- | --- | --- | --- | --- |")
    for place, (shape, dtype, options) in enumerate(cases):
        rows, doubtful, unlike = found[place]
        print(f"| {shape} | {str(dtype)[6:]} | {options} | {rows} | {doubtful} | {unlike} |")
    rows, doubtful, unlike = (sum(column) for column in zip(*found.values(), strict=True))
    print(f"\n{rows} rows, {doubtful} in doubt, {unlike} unlike")
    return int(unlike > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
