"""torch's own kernels that a decoding step is built from, against one read of the logits."""

from __future__ import annotations

from afterlogits.benchmarks import workloads


def bench_topk(pair):
    logits = workloads.peaked(64, device=pair.device, dtype=pair.dtype)
    pair("torch.topk k=50, B=64", table="baselines", ours=lambda: logits.topk(50), data=logits)
