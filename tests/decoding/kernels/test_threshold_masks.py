"""The short ways of top-k, top-p and min-p on large rows, against transformers' own processors."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as library

from afterlogits.benchmarks.workloads import SHAPES, flat, peaked
from afterlogits.decoding import (
    apply_min_p,
    apply_top_k,
    apply_top_p,
    top_k_top_p_filtering,
)
from afterlogits.decoding.filters import top_k_top_p_min_p
from afterlogits.decoding.kernels import row_blocks, threshold_masks
from tests.builders.versions import rule_of_five
from tests.programs.filter_parity import compare_case

VOCAB = 20_000
PAIRS = {
    "top_k": (apply_top_k, library.TopKLogitsWarper),
    "top_p": (apply_top_p, library.TopPLogitsWarper),
    "min_p": (apply_min_p, library.MinPLogitsWarper),
}


def _bits(logits: torch.Tensor) -> torch.Tensor:
    return logits.view(torch.int32)


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None, derandomize=True)
@rule_of_five
def test_adversarial_rows_of_every_size(seed: int) -> None:
    """With the short ways open to small rows too, which hold the ties, runs, infinities and denormal gaps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threshold_masks, "_SMALL", 1)
        patch.setattr(row_blocks, "_PIECE", 1)
        assert compare_case(random.Random(seed)) > 0


@pytest.mark.parametrize("shape", [*SHAPES])
@pytest.mark.parametrize(("name", "values"), [("top_k", [1, 50]), ("top_p", [0.1, 0.9, 0.999]), ("min_p", [1e-3, 0.5])])
def test_large_rows(shape: str, name: str, values: list) -> None:
    apply, processor = PAIRS[name]
    logits = SHAPES[shape](5, VOCAB, seed=1)
    logits[1, 100:] = -torch.inf
    logits[2] = logits[2].bfloat16()
    before = logits.clone()
    for value in values:
        assert torch.equal(_bits(apply(logits, value)), _bits(processor(value)(None, logits)))
    assert torch.equal(_bits(logits), _bits(before))


def test_rows_of_a_batch_go_their_own_ways() -> None:
    """Peaked, flat, many equal values, NaN and an option of its own for each, and top-p off for one."""
    logits = torch.cat([peaked(2, VOCAB), flat(2, VOCAB), torch.zeros(1, VOCAB), peaked(1, VOCAB)])
    logits[5, 3] = torch.nan
    top_p, min_p = [0.9, 1.0, 0.8, 0.3, 0.9, 0.9], [0.1, 0.0, 0.2, 1e-30, 1.0, 0.1]
    ours = apply_top_p(logits, top_p), apply_min_p(logits, min_p)
    for i in range(6):
        row = logits[i : i + 1]
        theirs = library.TopPLogitsWarper(top_p[i])(None, row) if top_p[i] < 1 else row
        torch.testing.assert_close(ours[0][i : i + 1], theirs, rtol=0, atol=0, equal_nan=True)
        theirs = library.MinPLogitsWarper(min_p[i])(None, row)
        torch.testing.assert_close(ours[1][i : i + 1], theirs, rtol=0, atol=0, equal_nan=True)


SHORT = [(apply_top_p, peaked, 0.9), (apply_top_p, flat, 0.9), (apply_min_p, peaked, 0.1)]


def test_the_library_s_arithmetic_is_not_needed_where_the_short_way_proves_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = [
        apply_top_p(peaked(4, VOCAB), 0.9),
        apply_top_p(flat(4, VOCAB), 0.9),
        apply_min_p(peaked(4, VOCAB), 0.1),
    ]

    def refuse(*_: object) -> None:
        raise AssertionError("transformers' arithmetic was asked for")

    monkeypatch.setattr(top_k_top_p_min_p, "_without_tail", refuse)
    monkeypatch.setattr(top_k_top_p_min_p, "_drop_improbable", refuse)
    for (apply, shape, value), theirs in zip(SHORT, expected, strict=True):
        assert torch.equal(apply(shape(4, VOCAB), value), theirs)
    with pytest.raises(AssertionError, match="asked for"):
        apply_top_p(torch.zeros(1, VOCAB), 0.9)


def test_logits_within_the_rounding_of_the_border_are_left_to_the_library() -> None:
    """Fifty neighbouring floats around log(min_p): more than the bounds can tell apart."""
    border = torch.tensor(0.25).log()
    near = border + torch.arange(-25, 25) * 2.0**-23
    logits = torch.full((1, VOCAB), -5.0)
    logits[0, 0], logits[0, 1:51] = 0.0, near
    assert torch.equal(apply_min_p(logits, 0.25), library.MinPLogitsWarper(0.25)(None, logits))


def test_sorted_values_cut_where_the_library_cuts() -> None:
    """A flat row, the same with ten equal logits across the cut, and a running sum that meets the border exactly."""
    logits = flat(1, VOCAB, seed=2)
    ordered, order = logits.sort()
    first = int((library.TopPLogitsWarper(0.7)(None, logits)[0] == -torch.inf).sum())
    tied = logits.scatter(1, order[:, first - 5 : first + 5], ordered[0, first].item())
    border = ordered.softmax(-1).cumsum(-1)[0, 5000].item()
    for row, top_p in ((logits, 0.7), (tied, 0.7), (logits, 1 - border)):
        assert torch.equal(apply_top_p(row, top_p), library.TopPLogitsWarper(top_p)(None, row))


def test_top_k_top_p_filtering_goes_the_short_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.cat([peaked(2, VOCAB), flat(2, VOCAB), torch.zeros(1, VOCAB)])
    for top_k, top_p in ((50, 0.9), (0, 0.9), (0, 1.0), (300, 0.0), (7, 2.0)):
        expected = library.TopKLogitsWarper(top_k)(None, logits) if top_k else logits
        expected = library.TopPLogitsWarper(top_p)(None, expected) if top_p <= 1 else expected
        assert torch.equal(top_k_top_p_filtering(logits, top_k, top_p), expected)
    monkeypatch.setattr(top_k_top_p_min_p, "outside_nucleus", None)
    top_k_top_p_filtering(logits[:4], 50, 0.9)


@pytest.mark.parametrize("name", [*PAIRS])
def test_gradients_flow_through_what_is_kept(name: str) -> None:
    apply, _ = PAIRS[name]
    logits = peaked(2, VOCAB).requires_grad_()
    kept = apply(logits, 50 if name == "top_k" else 0.5)
    kept.masked_fill(kept.isinf(), 0).sum().backward()
    assert torch.equal(logits.grad, kept.isfinite().float())
