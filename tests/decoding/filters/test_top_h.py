"""Top-h on large rows, against transformers' processor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.generation import logits_process as library

from afterlogits.benchmarks.workloads import SHAPES, peaked
from afterlogits.decoding import apply_top_h

VOCAB = 20_000

pytestmark = pytest.mark.skipif(not hasattr(library, "TopHLogitsWarper"), reason="transformers 4 has no top-h")


def _library(logits: Tensor, top_h: float) -> Tensor:
    return library.TopHLogitsWarper(top_h)(None, logits)


@pytest.mark.parametrize("rows", [1, 2, 6])
@pytest.mark.parametrize("shape", [*SHAPES])
def test_equals_the_library_on_large_rows(shape: str, rows: int) -> None:
    """For the batch and per row; one row with three finite logits."""
    logits = SHAPES[shape](rows, VOCAB, seed=rows)
    logits[-1, 3:] = -torch.inf if rows > 2 else logits[-1, 3:]
    values = [0.05, 0.4, 1.0]
    expected = {value: _library(logits, value) for value in values}
    for value in values:
        assert torch.equal(apply_top_h(logits, value), expected[value])
    mixed = [values[i % 3] for i in range(rows)]
    assert torch.equal(apply_top_h(logits, mixed), torch.stack([expected[x][i] for i, x in enumerate(mixed)]))


def test_equal_logits_across_the_border_go_by_the_library_s_order() -> None:
    """Equals around the last logit kept, and equals of the hundredth."""
    logits = peaked(1, VOCAB)
    last = int((_library(logits, 0.4) > -torch.inf).sum())
    order = logits.argsort(descending=True)
    tied = logits.scatter(1, order[:, last - 2 : last + 2], logits[0, order[0, last]].item())
    behind = logits.scatter(1, order[:, 90:120], logits[0, order[0, 100]].item())
    for row, top_h in ((tied, 0.4), (behind, 1.0)):
        assert torch.equal(apply_top_h(row, top_h), _library(row, top_h))


def test_gradients_flow_through_what_is_kept() -> None:
    logits = peaked(2, VOCAB).requires_grad_()
    kept = apply_top_h(logits, 0.4)
    kept.masked_fill(kept.isinf(), 0).sum().backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, kept.isfinite().float())
