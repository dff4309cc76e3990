"""The filters: golden values, properties, bit equality with transformers' processors, errors."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as library

from afterlogits import decoding
from afterlogits.decoding import (
    apply_min_p,
    apply_temperature,
    apply_top_k,
    apply_top_k_top_p_jointly,
    apply_top_p,
    top_k_top_p_filtering,
)
from tests.builders.logits_cases import draw_logits
from tests.builders.versions import rule_of_five
from tests.programs.filter_parity import FILTERS, compare_case

INF = math.inf
FUNCTIONS = [name for name in FILTERS if name != "top_k_top_p_filtering"]


def _identical(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)


# golden


def test_temperature_divides() -> None:
    """[2, 1] / 0.5 = [4, 2]; per row: [2, 1] / 0.5 and [2, 1] / 2."""
    logits = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    _identical(apply_temperature(logits, [0.5, 2.0]), torch.tensor([[4.0, 2.0], [1.0, 0.5]]))


def test_top_k_keeps_all_ties_with_the_kth_value() -> None:
    """Sorted 3, 2, 2, 1: the second largest is 2, and both 2s are kept."""
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0]])
    _identical(apply_top_k(logits, 2), torch.tensor([[-INF, 3.0, 2.0, 2.0]]))


def test_top_k_per_row_and_zero_is_off() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]] * 3)
    expected = torch.tensor([[-INF, 3.0, -INF], [-INF, 3.0, 2.0], [1.0, 3.0, 2.0]])
    _identical(apply_top_k(logits, torch.tensor([1, 2, 0])), expected)


def test_top_p_keeps_the_token_that_reaches_the_mass() -> None:
    """Probabilities 0.665, 0.245, 0.090: 0.665 < 0.7 <= 0.910, so two tokens are kept."""
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    _identical(apply_top_p(logits, 0.7), torch.tensor([[2.0, 1.0, -INF]]))


def test_min_p_scales_with_the_best_token() -> None:
    """Ratios to the best: 1, exp(-1) = 0.368, exp(-2) = 0.135; 0.2 drops the last."""
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    _identical(apply_min_p(logits, 0.2), torch.tensor([[2.0, 1.0, -INF]]))


def test_joint_order_keeps_more_than_one_after_the_other() -> None:
    """Probabilities 0.5, 0.25, 0.15, 0.1. Top-k 2 leaves 0.667, 0.333, of which top-p 0.6 keeps one; jointly two."""
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    one_after_the_other = apply_top_p(apply_top_k(logits, 2), 0.6)
    jointly = apply_top_k_top_p_jointly(logits, 2, 0.6)
    assert (one_after_the_other > -INF).sum() == 1
    assert (jointly > -INF).sum() == 2


def test_top_k_top_p_filtering_of_transformers_4_38() -> None:
    """top_k 0 and top_p outside [0, 1] are off; top_p 1.0 is not: it drops tokens of probability zero."""
    logits = torch.tensor([[200.0, 1.0, 0.0]])
    assert top_k_top_p_filtering(logits, top_p=2.0) is logits
    _identical(top_k_top_p_filtering(logits), torch.tensor([[200.0, -INF, -INF]]))
    _identical(top_k_top_p_filtering(logits, top_k=2, top_p=2.0, filter_value=-9.0), torch.tensor([[200.0, 1.0, -9.0]]))


# property


@given(st.integers(0, 2**32 - 1), st.sampled_from(FUNCTIONS))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_standard_properties(seed: int, name: str) -> None:
    """Rows are independent of the batch, per-row equals scalar, never all -inf, kept values and inputs unchanged."""
    rng = random.Random(seed)
    case = FILTERS[name]
    vocab_size = rng.choice([2, 3, 7, 97, 257])
    logits = draw_logits(rng, vocab_size, 5, rng.choice([torch.float32, torch.float16, torch.bfloat16]))
    before = logits.clone()
    values = [case.draw(rng, vocab_size) for _ in range(5)]
    ours = getattr(decoding, case.function)
    batched = ours(logits, values)
    _identical(logits, before)
    _identical(batched, torch.cat([ours(logits[i : i + 1], values[i]) for i in range(5)]))
    order = torch.tensor([3, 0, 4, 1, 2])
    _identical(ours(logits[order], [values[i] for i in order]), batched[order])
    assert (batched > -INF).any(-1).all()
    if name != "temperature":
        assert ((batched == logits) | (batched == -INF)).all()


@pytest.mark.parametrize(("name", "off"), [("top_k", 0), ("top_p", 1.0), ("min_p", 0.0), ("temperature", 1.0)])
def test_off_value_is_the_identity(name: str, off: float) -> None:
    logits = draw_logits(random.Random(5), 97, 16, torch.float32)
    function = getattr(decoding, f"apply_{name}")
    _identical(function(logits, off), logits)
    _identical(function(logits, [off] * 16), logits)


def test_a_float32_tensor_is_read_as_the_decimal_it_stands_for() -> None:
    """float32(1 - 0.9) = 0.100000001, 1 - float32(0.9) = 0.100000024: the border lies between the two here."""
    tail = torch.tensor([0.9, 0.1], dtype=torch.float64).log().float()[None]
    _identical(apply_top_p(tail, torch.tensor([0.9])), apply_top_p(tail, 0.9))


@pytest.mark.parametrize("kind", [np.float32, torch.tensor, lambda x: np.array(x, np.float32)])
def test_numbers_of_numpy_and_torch_are_read_as_pythons(kind) -> None:
    """A number, or numbers in a list, an array or a tensor: the bits of the Python float they were written as."""
    logits = torch.randn(2, 60, generator=torch.Generator().manual_seed(0))
    expected = apply_top_p(apply_temperature(logits, 0.7), 0.9)
    for read in (kind, lambda x: [kind(x), kind(x)], lambda x: torch.tensor([x, x]), lambda x: np.array([x, x], "f4")):
        _identical(apply_top_p(apply_temperature(logits, read(0.7)), read(0.9)), expected)
    for read in (
        np.int64,
        np.int32,
        torch.tensor,
        lambda k: [np.int64(k), torch.tensor(k)],
        lambda k: np.array([k, k]),
    ):
        _identical(apply_top_k(logits, read(3)), apply_top_k(logits, 3))


# parity


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=400, deadline=None, derandomize=True)
@rule_of_five
def test_equals_the_library(seed: int) -> None:
    """Every filter against the processor it replaces, for the batch and per row, on adversarial logits."""
    compare_case(random.Random(seed))


@pytest.mark.parametrize("vocab_size", [151_936, 300_000])
def test_equals_the_library_on_a_large_vocabulary(vocab_size: int) -> None:
    compare_case(random.Random(vocab_size), vocab_size=vocab_size, rows=2)


def test_top_k_top_p_filtering_equals_the_two_processors() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        logits = draw_logits(rng, 257, 4, torch.float32)
        top_k, top_p = rng.choice([0, 1, 5, 300]), rng.choice([0.0, 0.3, 0.9, 1.0])
        expected = library.TopKLogitsWarper(top_k, min_tokens_to_keep=2)(None, logits) if top_k else logits
        expected = library.TopPLogitsWarper(top_p, min_tokens_to_keep=2)(None, expected)
        _identical(top_k_top_p_filtering(logits, top_k, top_p, min_tokens_to_keep=2), expected)


# errors


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: apply_top_p(x, 1.5), ValueError, "top_p must be in [0, 1]; got 1.5"),
        (lambda x: apply_top_p(x, [0.5, -1.0]), ValueError, "top_p must be in [0, 1]; got -1 in row 1"),
        (lambda x: apply_top_p(x, [0.5, math.nan]), ValueError, "top_p must be in [0, 1]; got nan in row 1"),
        (
            lambda x: apply_top_p(x, [0.5]),
            ValueError,
            "top_p must be a number or of shape [2], one per row; got [1]",
        ),
        (lambda x: apply_top_k(x, -1), ValueError, "top_k must be an integer >= 0; got -1"),
        (lambda x: apply_top_k(x, 2.5), ValueError, "top_k must be an integer >= 0; got 2.5"),
        (
            lambda x: apply_top_k(x, True),
            TypeError,
            "top_k must be a number, a sequence of numbers or a tensor; got bool",
        ),
        (lambda x: apply_top_k(x, 2, min_tokens_to_keep=0), ValueError, "min_tokens_to_keep must be >= 1; got 0"),
        (lambda x: apply_temperature(x, 0.0), ValueError, "temperature must be a finite number > 0; got 0.0"),
        (
            lambda x: apply_min_p(x, "a"),
            TypeError,
            "min_p must be a number, a sequence of numbers or a tensor; got str",
        ),
        (lambda x: apply_min_p(x.long(), 0.1), TypeError, "logits must be a floating tensor; got torch.int64"),
        (lambda x: apply_min_p(x[0], 0.1), ValueError, "logits must be of shape [B, V] with V >= 1; got [3]"),
        (lambda x: apply_min_p(x.tolist(), 0.1), TypeError, "logits must be a torch.Tensor; got list"),
    ],
)
def test_errors_name_the_argument_and_the_row(call, error, text) -> None:
    with pytest.raises(error) as caught:
        call(torch.zeros(2, 3))
    assert str(caught.value) == text


def test_an_empty_batch_stays_empty() -> None:
    empty = torch.empty(0, 5)
    for name in FUNCTIONS:
        assert getattr(decoding, FILTERS[name].function)(empty, 0.5 if name != "top_k" else 2).shape == (0, 5)
