"""The kernels of torch that a decoding step is built from, and a step made of them with neither proof nor fallback."""

from __future__ import annotations

import pytest
import torch

from afterlogits.benchmarks import workloads
from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.kernels.counter_noise import counter_exponential, counter_keys

PARTS = {
    "topk 50": lambda logits: logits.topk(50),
    "sort": lambda logits: logits.sort(-1),
    "softmax": lambda logits: logits.softmax(-1),
    "logsumexp": lambda logits: logits.logsumexp(-1),
    "argmax": lambda logits: logits.argmax(-1),
    "softmax + multinomial": lambda logits: torch.multinomial(logits.softmax(-1), 1),
}


@pytest.mark.parametrize("part", [*PARTS])
def bench_part(pair, part):
    logits = workloads.peaked(8, device=pair.device, dtype=pair.dtype)
    pair(f"torch: {part}, B=8", table="baselines", ours=lambda: PARTS[part](logits), data=logits)


def plain_step(logits, seeds, *, temperature=0.8, top_k=50, top_p=0.95):
    """The seeded draw in a dozen operations of torch: exact where no two logits are equal and no sum is close."""
    rows, vocab_size = logits.shape
    columns = vocab_size // 128
    groups = logits.view(rows, 128, columns)
    best = groups.amax(1).topk(top_k, sorted=False).indices
    listed = groups.gather(2, best[:, None].expand(-1, 128, -1)).flatten(1)
    values, places = listed.topk(top_k)
    token_ids = places // top_k * columns + best.gather(1, places % top_k)
    weights = (values / temperature).softmax(-1)
    kept = weights.cumsum(-1) - weights < top_p
    times = counter_exponential(counter_keys(seeds, 0), token_ids) / weights
    return token_ids.gather(1, times.where(kept, torch.inf).argmin(-1, keepdim=True))[:, 0]


@pytest.mark.parametrize("batch_size", [1, 8, pytest.param(64, marks=pytest.mark.full)])
def bench_plain_step(pair, batch_size):
    logits = workloads.peaked(batch_size, device=pair.device, dtype=pair.dtype)
    seeds = torch.arange(batch_size, device=pair.device)
    sampler = Sampler(
        SamplingParams(temperature=0.8, top_k=50, top_p=0.95),
        batch_size=batch_size,
        vocab_size=logits.shape[1],
        device=pair.device,
        seeds=seeds,
    )
    pair(
        f"top_k 50 + top_p 0.95, seeds, B={batch_size}, against a dozen operations of torch",
        table="baselines",
        ours=lambda: sampler.select(logits),
        rivals={"plain torch": lambda: plain_step(logits, seeds)},
        data=logits,
    )
