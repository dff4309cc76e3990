"""A draw as a CUDA graph: captured, and the tokens of single draws at every replay."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from afterlogits.benchmarks.gpu.findings import Check
from afterlogits.benchmarks.gpu.tokens import kernels, shapes_of_rows
from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.sampling.step_graph import StepGraph

ROWS, STEPS = 6, 5
CASES: dict[str, dict[str, Any]] = {
    "top-k 50 + top-p 0.95": {"top_k": 50, "top_p": 0.95},
    "top-p 0.9": {"top_p": 0.9},
    "mirostat": {"mirostat_tau": 5.0},
}


def replays(check: Check) -> None:
    """With seeds and torch's stream, by kernels and by torch: each step's tokens, and whether there was a graph."""
    logits = shapes_of_rows(ROWS, 5003).to(check.device)
    for name, options in CASES.items():
        for kind, seeds in (("seeds", torch.arange(ROWS, device=check.device)), ("stream", None)):
            for on in (True, False):
                with kernels(on):
                    expected = _drawn(_sampler(check, options, seeds, logits), logits)
                    sampler = _sampler(check, options, seeds, logits)
                graph = StepGraph(sampler)
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    found = _drawn(graph, logits)
                sampler.finish()
                why = [str(each.message).splitlines()[0] for each in said if "CUDA graph" in str(each.message)]
                state = "captured" if graph.is_captured else why[0] if why else "no graph on this device"
                check.equal(f"{name}, {kind}, {'kernels' if on else 'torch'}: {state}", found == expected)


def _sampler(check: Check, options: dict[str, Any], seeds: Tensor | None, logits: Tensor) -> Sampler:
    return Sampler(
        SamplingParams(**options), batch_size=ROWS, vocab_size=logits.shape[1], device=check.device, seeds=seeds
    )


def _drawn(draws: Sampler | StepGraph, logits: Tensor) -> list[list[int]]:
    """The tokens of a few steps."""
    torch.manual_seed(7)
    return [draws.select(logits.roll(step, 1), step=step).tolist() for step in range(STEPS)]
