"""Every kernel compiled for GPUs that are not here: registers, spills, shared memory and seconds, and a limit on each.

``python -m tests.programs.cross_compile [--dtype float32] [--arch 90]`` in an environment with triton (``make
gpu-compile``). ptxas is in triton's wheel, so sm_80, sm_90 and sm_100 need no GPU. Fails where a kernel takes more of
the processor's seconds to compile than ``--seconds`` (10 by default) or keeps more bytes of spilled registers than is
stated here.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DTYPES = {"float32": "*fp32", "bfloat16": "*bf16", "float16": "*fp16"}
ARCHES = (80, 90, 100)
VOCABULARY = 151_936
_CHUNKS, _WIDTH = 64, 4096  # powers of two from the 38 chunks and 2,432 groups of such a row


@dataclass(frozen=True)
class Entry:
    """A kernel as it is launched: which arguments are pointers of what, which are constants, how many warps."""

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int = 4
    spills: int = 0


def _kernels() -> list[tuple[str, Any, dict[str, Any], int, int]]:
    from afterlogits.decoding.triton_kernels import accept, beam_select, decide_and_draw, exact_row, penalise, row_stats
    from afterlogits.postprocess.triton_kernels import mask_levels, panoptic

    draws = [
        (f"{name}, {kind}", kernel, {**constants, "SEEDED": seeded, "HARDWARE": True}, 8, spills)
        for name, kernel, constants, spills in (
            ("decide_and_draw", decide_and_draw.decide_and_draw_kernel, {"WIDTH": _WIDTH, "CHUNKS": _CHUNKS}, 0),
            ("chunk_winners", exact_row.chunk_winners_kernel, {"CHUNKS": _CHUNKS}, 0),
            ("exact_row", exact_row.exact_row_kernel, {"CHUNKS": _CHUNKS}, 0),
        )
        for kind, seeded in (("seeds", True), ("torch's stream", False))
    ]
    one_chunk = {"CHUNKS": 1, "HARDWARE": True}  # a vocabulary of up to 4,096
    every = dict.fromkeys(("REPETITION", "FREQUENCY", "PRESENCE", "BIAS"), True)
    return [
        ("row_stats", row_stats.row_stats_kernel, {}, 4, 0),
        *draws,
        ("exact_row, seeds, one chunk", exact_row.exact_row_kernel, {**one_chunk, "SEEDED": True}, 8, 0),
        ("penalise", penalise.penalise_kernel, every, 4, 0),
        ("beam_rows", beam_select.beam_rows_kernel, {"WIDTH": _WIDTH, "CHUNKS": _CHUNKS}, 8, 0),
        ("merge_beams", beam_select.merge_beams_kernel, {"SIZE": 64}, 4, 0),
        ("penalise_seen", penalise.penalise_seen_kernel, {"EMPTY": True}, 4, 0),
        ("accept", accept.accept_kernel, {"PLACES": 64}, 4, 0),
        ("mask_levels", mask_levels.mask_levels_kernel, {}, 4, 0),
        ("panoptic", panoptic.panoptic_kernel, {"SAME": False, "PLACE": 1, "INNER": 1, "OUTER": 1}, 4, 0),
        (
            "panoptic, nothing fused",
            panoptic.panoptic_kernel,
            {"SAME": False, "PLACE": 0, "INNER": 0, "OUTER": 0},
            4,
            0,
        ),
    ]


# What each argument points to; arguments that are not listed are numbers.
_POINTERS = {
    "maxima": "*fp32", "tops": "*fp32", "masses": "*fp32", "bad": "*i8", "temperature": "*fp64",
    "temperatures": "*fp64", "top_ks": "*i32", "borders": "*fp64", "min_ps": "*fp64", "greedy": "*i8",
    "proposing": "*i8", "rows": "*i64", "keys": "*i64", "scratch": "*i32", "tokens": "*i64", "flags": "*i32",
    "close": "*i32", "token_ids": "*i64", "used": "*i32", "repetition": "*fp32",
    "counts": "*i32", "frequency": "*fp32", "presence": "*fp32", "bias": "*fp32", "values": "*fp32", "best": "*fp32",
    "parent": "*i64", "token": "*i64", "largest": "*fp32",
    "penalty": "*fp64", "empty": "*i1", "planes": "*fp32", "order": "*i64", "winners": "*i32", "areas": "*i32",
    "masks": "*i1", "sides": "*i32",
    "covers": "*i32", "row_scale": "fp32", "column_scale": "fp32", "threshold": "fp32",
    "tied": "*i8", "chosen": "*i64", "drafts": "*i64", "taken": "*i64",
}  # fmt: skip
_WIDE = {"row_stride", "slot_stride", "seed", "offset"}


def entries(dtype: str) -> list[Entry]:
    """Every kernel for logits of a type."""
    found = []
    for name, kernel, constants, warps, spills in _kernels():
        types = {}
        for argument in kernel.arg_names:
            if argument in constants:
                continue
            types[argument] = _POINTERS.get(argument, "i64" if argument in _WIDE else "i32")
        if "logits" in types:
            types["logits"] = DTYPES[dtype]
        if "scores" in types:
            types["scores"] = "*fp32" if name == "beam_rows" else "*fp64"
        if name == "accept":
            types["counts"] = "*i64"
        if name == "penalise_seen":
            types["scratch"] = "*fp32"
        if name == "mask_levels":
            types |= {"logits": "*fp32", **dict.fromkeys(("level", "high", "low"), "fp32")}
        if name.startswith("panoptic"):
            types |= {"scores": "*fp32", "count": "*i64"}
        elif "winners" in types:
            types["winners"] = "*i64"
        found.append(Entry(name, kernel, types, constants, warps, spills))
    return found


def compiled(entry: Entry, arch: int) -> tuple[dict[str, int], float]:
    """Registers, spilled bytes and shared memory of a kernel on sm_<arch>, and the processor's seconds that it took."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {(entry.kernel.arg_names.index(name),): value for name, value in entry.constants.items()}
    signature = {**entry.types, **dict.fromkeys(entry.constants, "constexpr")}
    source = ASTSource(entry.kernel, {name: signature[name] for name in entry.kernel.arg_names}, constants)
    options = {"num_warps": entry.warps, "enable_fp_fusion": False}
    with tempfile.TemporaryDirectory() as empty, triton.knobs.cache.scope():
        triton.knobs.cache.dir = empty  # nothing is found compiled
        start = sum(os.times()[:4])
        built = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
        seconds = sum(os.times()[:4]) - start
    return {**_usage(built.asm["cubin"]), "shared": built.metadata.shared}, seconds


def _usage(cubin: bytes) -> dict[str, int]:
    """Registers and local memory of a cubin, as cuobjdump of triton's wheel reads them."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = Path(knobs.nvidia.cuobjdump.path)
        said = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said.stdout)}
    return {"registers": found["REG"], "spills": found["STACK"] + found["LOCAL"]}


def main(arguments: list[str]) -> int:
    """Print the table; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="types of the logits (default: all)")
    parser.add_argument("--arch", type=int, choices=ARCHES, action="append", help="architectures (default: all)")
    parser.add_argument("--seconds", type=float, default=10.0, help="the longest that a kernel may take (default: 10)")
    asked = parser.parse_args(arguments)
    failed = 0
    print("| kernel | logits | sm | registers | spilled bytes | shared bytes | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for dtype in asked.dtype or DTYPES:
        for entry in entries(dtype):
            if dtype != (asked.dtype or list(DTYPES))[0] and "logits" not in entry.types:
                continue  # the same again
            for arch in asked.arch or ARCHES:
                usage, seconds = compiled(entry, arch)
                bad = seconds > asked.seconds or usage["spills"] > entry.spills
                failed += bad
                cells = (usage["registers"], usage["spills"], usage["shared"], f"{seconds:.1f}")
                print(
                    f"| {entry.name} | {dtype} | {arch} | {' | '.join(map(str, cells))} |{' FAILED' * bad}", flush=True
                )
    print(f"\n{failed} over a limit" if failed else "\nevery kernel within its limits")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
