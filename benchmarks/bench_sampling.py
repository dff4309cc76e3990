"""Sampling steps against transformers' processors, softmax and multinomial, and against one read of the logits."""

from __future__ import annotations

import time

import pytest
import torch

from afterlogits.benchmarks import library, workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.pairing import Timed, at_least, at_most, memory_at_most
from afterlogits.decoding import (
    Sampler,
    SamplingParams,
    apply_epsilon,
    apply_eta,
    apply_min_p,
    apply_top_h,
    apply_top_k,
    apply_top_p,
    apply_typical_p,
)
from afterlogits.decoding.search.beam_candidates import top_candidates

TABLE = "kernels"

# Options, whether the draw is seeded per row, and the least speed-up asked for at B = 1, 8, 64.
STEPS = [
    pytest.param({"top_k": 50, "top_p": 0.95}, True, {1: 40, 8: 70, 64: 110}, id="top_k_top_p_seeds"),
    pytest.param({"top_p": 0.9}, True, {1: 30, 8: 35, 64: 45}, id="top_p_seeds"),
    pytest.param({"min_p": 0.05}, True, {1: 15, 8: 20, 64: 25}, id="min_p_seeds"),
    pytest.param({"top_k": 50, "top_p": 0.95}, False, {1: 6, 8: 5, 64: 5}, id="top_k_top_p_stream"),
]
README = {
    ("top_k", True): "sampling step, top-k 50 + top-p 0.95, a seed per row, 64 rows of 151,936",
    ("top_p", True): "the same with top-p 0.9 alone",
    ("top_k", False): "top-k 50 + top-p 0.95 with torch's stream (transformers' tokens)",
}


@pytest.mark.parametrize("batch_size", [1, 8, pytest.param(64, marks=pytest.mark.full)])
@pytest.mark.parametrize(("options", "seeded", "asked"), STEPS)
def bench_sampling_step(pair, options, seeded, asked, batch_size):
    logits = workloads.peaked(batch_size, device=pair.device, dtype=pair.dtype)
    sampler = Sampler(
        SamplingParams(temperature=0.8, **options),
        batch_size=batch_size,
        vocab_size=logits.shape[1],
        device=pair.device,
        seeds=list(range(batch_size)) if seeded else None,
    )
    warp = library.warpers(temperature=0.8, **options)
    bounds = [at_least(asked[batch_size], "transformers"), memory_at_most(0.25)]
    if "top_k" in options and seeded and batch_size == 64:
        bounds.append(at_most(4, "read"))
    described = " + ".join(f"{name} {value}" for name, value in options.items())
    pair(
        f"{described}, {'seeds' if seeded else 'torch stream'}, B={batch_size}",
        table=TABLE,
        ours=lambda: sampler.select(logits),
        rivals={"transformers": lambda: library.draw(warp, logits)},
        data=logits,
        asked=bounds,
        same=library.in_support(warp, logits) if seeded else require_same,
        reset=lambda: torch.manual_seed(0),
        rounds=20,
        readme=README.get((next(iter(options)), seeded), "") if batch_size == 64 else "",
    )


def bench_after_a_wait(pair):
    """One short call after 20 ms of a loop that touches no memory, against the same call right after itself."""
    logits = workloads.peaked(1, device=pair.device, dtype=pair.dtype)
    sampler = Sampler(
        SamplingParams(temperature=0.8, top_k=50, top_p=0.95),
        batch_size=1,
        vocab_size=logits.shape[1],
        device=pair.device,
        seeds=[0],
    )

    def wait():
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass
        return ()

    def again():
        sampler.select(logits)
        start = time.perf_counter()
        drawn = sampler.select(logits)
        return time.perf_counter() - start, drawn

    pair(
        "top_k 50 + top_p 0.95, seeds, B=1, after a wait of 20 ms",
        table=TABLE,
        ours=lambda: sampler.select(logits),
        limits={"the call in a row": Timed(again)},
        limit_answers=["the call in a row"],
        prepare=wait,
        note="The wait touches no memory: what the call then takes longer, other work on the machine has cost it.",
    )


@pytest.mark.full
def bench_beam_step(pair):
    batch_size, num_beams = 16, 5
    logits = workloads.peaked(batch_size * num_beams, device=pair.device, dtype=pair.dtype)
    scores = -torch.arange(num_beams, device=pair.device).float().expand(batch_size, num_beams).contiguous()

    def same(ours, theirs):
        require_same(ours[1:], theirs[1:])  # beams and tokens exactly; values to rounding
        require_same(ours[0], theirs[0], rtol=1e-5)

    pair(
        "beam step, B=16, K=5: top 2K with log-softmax",
        table=TABLE,
        ours=lambda: top_candidates(logits, scores, 2 * num_beams, normalized=False),
        rivals={"transformers": lambda: library.beam_candidates(logits, scores, 2 * num_beams)},
        data=logits,
        asked=[at_least(5, "transformers"), memory_at_most(0.25)],
        same=same,
        rounds=20,
    )


FILTERS = [
    pytest.param(apply_top_k, "top_k", 50, id="top_k"),
    pytest.param(apply_top_p, "top_p", 0.9, id="top_p"),
    pytest.param(apply_min_p, "min_p", 0.05, id="min_p"),
    pytest.param(apply_typical_p, "typical_p", 0.9, id="typical_p"),
    pytest.param(apply_epsilon, "epsilon_cutoff", 3e-4, id="epsilon"),
    pytest.param(apply_eta, "eta_cutoff", 2e-3, id="eta"),
    pytest.param(apply_top_h, "top_h", 0.4, id="top_h"),
]


@pytest.mark.parametrize("shape", [*workloads.SHAPES])
@pytest.mark.parametrize(("apply", "name", "value"), FILTERS)
def bench_filter(pair, apply, name, value, shape):
    """Masked logits, on every shape of logits: where no shortcut can prove itself the cost is the library's."""
    logits = workloads.SHAPES[shape](8, device=pair.device, dtype=pair.dtype)
    warp = library.warpers(**{name: value})
    pair(
        f"{apply.__name__} {value}, {shape} logits, B=8",
        table="filters",
        ours=lambda: apply(logits, value),
        rivals={"transformers": lambda: warp(logits)},
        data=logits,
        rounds=10,
    )


@pytest.mark.parametrize("model", [*workloads.VOCABULARIES])
def bench_vocabularies(pair, model):
    """The most used step at the vocabulary sizes of models in use."""
    logits = workloads.peaked(8, workloads.VOCABULARIES[model], device=pair.device, dtype=pair.dtype)
    params = SamplingParams(temperature=0.8, top_k=50, top_p=0.95)
    sampler = Sampler(params, batch_size=8, vocab_size=logits.shape[1], device=pair.device, seeds=list(range(8)))
    warp = library.warpers(temperature=0.8, top_k=50, top_p=0.95)
    pair(
        f"top_k 50 + top_p 0.95, seeds, B=8, V={logits.shape[1]:,} ({model})",
        table="vocabularies",
        ours=lambda: sampler.select(logits),
        rivals={"transformers": lambda: library.draw(warp, logits)},
        data=logits,
        same=library.in_support(warp, logits),
        rounds=10,
    )
