"""Answer spans of question answering against the loop of transformers 4.57.6 over windows."""

from __future__ import annotations

import pytest
import torch

from afterlogits.benchmarks import workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.oracle import Oracle
from afterlogits.benchmarks.pairing import at_least
from afterlogits.postprocess.text.spans import select_spans

WINDOWS, LENGTH, QUESTION = 256, 384, 24


def window_logits():
    """[W, L] start and end logits, and the context's tokens: behind a question of 24, before the last separator."""
    start = workloads.flat(WINDOWS, LENGTH, seed=1) * 3
    end = workloads.flat(WINDOWS, LENGTH, seed=2) * 3
    allowed = torch.zeros(WINDOWS, LENGTH, dtype=torch.bool)
    allowed[:, QUESTION:-1] = True
    return start, end, allowed


@pytest.mark.cpu_only
@pytest.mark.parametrize("top_k", [1, 20])
def bench_select_spans(pair, top_k):
    start, end, allowed = window_logits()
    payload = {"start": start.numpy(), "end": end.numpy(), "p_mask": (~allowed).long().numpy()}

    def records(found):
        columns = (found.first_token, found.last_token, found.scores, found.valid)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [[(s, e, p) for s, e, p, valid in zip(*row, strict=True) if valid] for row in rows]

    def same(ours, theirs):
        ours = records(ours)
        theirs = [[(int(s), int(e), float(p)) for s, e, p in zip(*window, strict=True)] for window in theirs]
        require_same([[span[:2] for span in row] for row in ours], [[span[:2] for span in row] for row in theirs])
        require_same(ours, theirs, rtol=1e-6)

    # No limit "read": beside the other process one read of a cached megabyte takes 25 microseconds or two milliseconds.
    with Oracle("select_starts_ends", payload | {"top_k": top_k, "max_answer_len": 15}) as library:
        pair(
            f"span selection, 256 windows of 384, top_k {top_k}",
            table="text kernels",
            ours=lambda: select_spans(start, end, allowed, top_k=top_k, max_answer_len=15),
            rivals={"transformers 4.57.6": library},
            asked=[at_least(60, "transformers 4.57.6")],
            same=same,
            readme="answer spans of 256 windows" if top_k == 1 else "",
        )
