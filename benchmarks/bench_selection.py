"""torch's own kernels that a decoding step is built from, against one read of the logits."""

from __future__ import annotations

import pytest
import torch

from afterlogits.benchmarks import workloads

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
