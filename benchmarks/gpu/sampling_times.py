"""Times of a draw: one read, transformers, top-k, this package in torch, by kernels and in a graph."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from afterlogits.benchmarks import library, workloads
from afterlogits.benchmarks.gpu.clock import alone, in_a_graph, inputs, microseconds, shown
from afterlogits.benchmarks.gpu.findings import Check
from afterlogits.benchmarks.gpu.tokens import kernels
from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.search.beam_candidates import top_candidates
from afterlogits.decoding.triton_kernels import beam_select, row_stats
from afterlogits.decoding.triton_kernels.draw import may_run

VOCABULARY = 151_936
FILTERS: dict[str, dict[str, Any]] = {
    "top-k 50 + top-p 0.95": {"temperature": 0.8, "top_k": 50, "top_p": 0.95},
    "top-p 0.9": {"top_p": 0.9},
    "temperature": {"temperature": 0.8},
}
# microseconds: of seeded draws in float32, B=64 and B=1; of torch's stream; of beams
GOALS = {("seeds", 64): 25.0, ("seeds", 1): 15.0, ("stream", 64): 40.0, ("beams", 64): 40.0}


def batches(check: Check) -> tuple[int, ...]:
    return (1, 3) if check.dry else (1, 8, 64, 256)


def given(check: Check, rows: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Peaked logits on the device, several of them."""
    vocab_size = 5003 if check.dry else VOCABULARY
    return inputs(lambda i: workloads.peaked(rows, vocab_size, seed=i, device=check.device, dtype=dtype))


def limits(check: Check) -> None:
    """One amax of the logits: what nothing that reads them can beat."""
    for dtype in (torch.float32, torch.bfloat16):
        for rows in batches(check):
            logits = given(check, rows, dtype)
            name = f"amax, {str(dtype)[6:]}, B={rows}"
            check.add(name, shown(microseconds(check, lambda x: x.amax(-1), logits)))


def drawing(
    check: Check, options: dict[str, Any], rows: int, vocab_size: int, *, seeds: bool, in_graph: bool = False
) -> Callable[..., Any]:
    """A step of a sampler after another, as a loop takes them, each with noise of its own.

    in_graph: the step is a tensor of the device, as a graph has it."""
    its = torch.arange(rows, device=check.device) if seeds else None
    params = SamplingParams(**options)
    sampler = Sampler(params, batch_size=rows, vocab_size=vocab_size, device=check.device, seeds=its)
    sampler.settles_late = not seeds
    fixed = torch.ones(rows, dtype=torch.int64, device=check.device) if in_graph else None
    steps = itertools.count(1)

    def run(logits: Tensor) -> Tensor:
        if sampler.settles_late:  # what the draw before has left to be heard
            sampler.settle()
        tokens = sampler.select(logits, step=next(steps) if fixed is None else fixed)
        if in_graph and not torch.cuda.is_current_stream_capturing():
            sampler.finish()
        return tokens

    return run


def draws(check: Check) -> None:
    """Seeded draws against transformers' processors and multinomial, and against top-k and softmax alone."""
    for dtype in (torch.float32, torch.bfloat16):
        for rows in batches(check):
            logits = given(check, rows, dtype)
            vocab_size = logits[0].shape[1]
            head = f"{str(dtype)[6:]}, B={rows}"
            few = microseconds(check, lambda x: x.topk(50).values.float().softmax(-1), logits)
            check.add(f"topk 50 + softmax, {head}", shown(few))
            for name, options in FILTERS.items():
                warp = library.warpers(**options)
                theirs = microseconds(check, partial(_transformers, warp), logits)
                check.add(f"transformers, {name}, {head}", shown(theirs))
                with kernels(False):
                    run = drawing(check, options, rows, vocab_size, seeds=True)
                ours = microseconds(check, run, logits)
                check.add(f"ours in torch, seeds, {name}, {head}", shown(ours), "transformers", ours <= theirs)
                if dtype == torch.float32:
                    single = alone(check, partial(_transformers, warp), logits), alone(check, run, logits)
                    check.add(
                        f"called alone, transformers / ours in torch, {name}, {head}", " / ".join(map(shown, single))
                    )
                if may_run(check.device):
                    _by_kernels(check, options, rows, logits, f"seeds, {name}, {head}", dtype)


def _by_kernels(
    check: Check, options: dict[str, Any], rows: int, logits: Sequence[Tensor], name: str, dtype: torch.dtype
) -> None:
    """Rows for the draw by kernels, called and replayed from a graph, beside the goal where there is one."""
    run = drawing(check, options, rows, logits[0].shape[1], seeds=True)
    captured = drawing(check, options, rows, logits[0].shape[1], seeds=True, in_graph=True)
    goal = GOALS.get(("seeds", rows)) if dtype == torch.float32 and "top-p" in name else None
    for what, time in (
        ("kernels", microseconds(check, run, logits)),
        ("kernels in a graph", _graph(check, captured, logits)),
    ):
        met = None if goal is None or time is None else time <= goal
        check.add(f"{what}, {name}", shown(time), "" if goal is None else f"{goal:g} us", met)
    if dtype == torch.float32:
        check.add(f"called alone, kernels, {name}", shown(alone(check, run, logits)))


def _graph(check: Check, run: Callable[[Tensor], Any], logits: Sequence[Tensor]) -> float | None:
    """A call in a graph; None, with a row that says why, where it cannot be captured."""
    try:
        return in_a_graph(check, run, logits)
    except RuntimeError as error:
        check.add("capture failed", str(error).splitlines()[0])
        return None


def streams(check: Check) -> None:
    """Draws in torch's stream."""
    for rows in batches(check):
        logits = given(check, rows)
        for name, options in FILTERS.items():
            run = drawing(check, options, rows, logits[0].shape[1], seeds=False)
            time = microseconds(check, run, logits)
            goal = GOALS.get(("stream", rows)) if "top-p" in name else None
            met = None if goal is None else time <= goal
            check.add(f"torch's stream, {name}, B={rows}", shown(time), "" if goal is None else f"{goal:g} us", met)


def beams(check: Check) -> None:
    """The candidates of beams: 4 to an item."""
    for rows in batches(check):
        rows = max(4, rows // 4 * 4)
        logits, scores = given(check, rows), torch.zeros(rows // 4, 4, device=check.device)
        theirs = microseconds(check, partial(library.beam_candidates, scores=scores, count=8), logits)
        check.add(f"beam candidates, transformers, {rows} rows", shown(theirs))
        ours = microseconds(check, partial(top_candidates, scores=scores, count=8, normalized=False), logits)
        check.add(f"beam candidates, torch, {rows} rows", shown(ours), "transformers", ours <= theirs)
        if not may_run(check.device):
            continue
        ones = torch.ones(rows, dtype=torch.float64, device=check.device)
        room = row_stats.empty_stats(logits[0])

        run = partial(_beam_kernels, ones=ones, room=room, scores=scores)
        goal, time = GOALS.get(("beams", rows)), microseconds(check, run, logits)
        met = None if goal is None else time <= goal
        check.add(f"beam candidates, kernels, {rows} rows", shown(time), "" if goal is None else f"{goal:g} us", met)


def _transformers(warp: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    return library.draw(warp, logits.float())


def _beam_kernels(logits: Tensor, *, ones: Tensor, room: row_stats.RowStats, scores: Tensor) -> Any:
    return beam_select.beam_select(logits, row_stats.row_stats(logits, ones, room), scores, 8)


def peer(check: Check) -> None:
    """vLLM's Triton file, where ``AFTERLOGITS_VLLM_TOPK_TOPP`` names a copy of its ``topk_topp_triton.py``."""
    path = os.environ.get("AFTERLOGITS_VLLM_TOPK_TOPP")
    if not path:
        check.add("vLLM's top-k + top-p", "left out: AFTERLOGITS_VLLM_TOPK_TOPP names no file")
        return
    apply = _vllm(path)
    for rows in batches(check):
        logits = given(check, rows)
        k = torch.full((rows,), 50, dtype=torch.int32, device=check.device)
        p = torch.full((rows,), 0.95, device=check.device)

        def run(x: Tensor, k: Tensor = k, p: Tensor = p) -> Any:
            kept = apply(x.clone(), k, p)  # it writes into its argument
            return (kept / torch.empty_like(kept).exponential_().log_()).argmax(-1)

        check.add(
            f"vLLM's Triton file + Gumbel, top-k 50 + top-p 0.95, B={rows}", shown(microseconds(check, run, logits))
        )


def _vllm(path: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The function of vLLM's file, with a stand-in for what it imports of vLLM."""
    import triton
    import triton.language

    names = ("vllm", "vllm.triton_utils", "vllm.utils", "vllm.utils.math_utils", "vllm.utils.platform_utils")
    for name in names:
        sys.modules.setdefault(name, types.ModuleType(name))
    stand_in: Any = sys.modules["vllm.triton_utils"]
    stand_in.tl, stand_in.triton = triton.language, triton
    maths: Any = sys.modules["vllm.utils.math_utils"]
    maths.next_power_of_2 = triton.next_power_of_2
    platform: Any = sys.modules["vllm.utils.platform_utils"]
    platform.num_compute_units = lambda _=0: torch.cuda.get_device_properties(0).multi_processor_count
    spec = importlib.util.spec_from_file_location("topk_topp_triton", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[[Tensor, Tensor, Tensor], Tensor] = module.apply_top_k_top_p_triton
    return function
