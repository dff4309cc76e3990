"""The largest logits, the row's mass and the best log-probabilities, against torch's own operations."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import top_logprobs
from afterlogits.decoding.kernels.candidates import largest
from afterlogits.decoding.kernels.large_logits import row_mass
from afterlogits.decoding.search.beam_candidates import top_candidates
from tests.builders.logits_cases import KINDS, draw_logits, language_model

# golden


def test_largest_of_a_small_row() -> None:
    values, token_ids = largest(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    assert values.tolist() == [[3.0, 2.0]]
    assert token_ids.tolist() == [[1, 2]]


# property


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_largest_equals_topk(seed: int) -> None:
    """The values of torch.topk, and ids that hold them, each once; V folds evenly or not, rows may lie apart."""
    rng = random.Random(seed)
    vocab_size = rng.choice([4096, 5003, 8192, 32_000, 50_257, 65_537])
    dtype = rng.choice([torch.float32, torch.float16, torch.bfloat16])
    count = rng.choice([1, 2, 11, 51, 128, 600, 1024])
    wide = draw_logits(rng, vocab_size + 3, 3, dtype)
    logits = wide[:, 3:] if rng.random() < 0.3 else wide[:, 3:].contiguous()
    values, token_ids = largest(logits, count)
    assert torch.equal(values, logits.topk(count).values)
    assert torch.equal(logits.gather(1, token_ids), values)
    assert (token_ids.sort(1).values.diff(dim=1) > 0).all()


def test_nan_counts_as_the_largest() -> None:
    logits = torch.randn(2, 9001)
    logits[1, 9000] = torch.nan
    values, token_ids = largest(logits, 3)
    assert values[1, 0].isnan()
    assert token_ids[1, 0] == 9000
    assert values[0].isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 0.8, torch.tensor([[0.5], [2.0], [1.0]], dtype=torch.float64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_row_mass_keeps_its_bound(temperature: float | torch.Tensor, dtype: torch.dtype) -> None:
    for kind in KINDS:
        logits = kind(3, 30_011, torch.Generator().manual_seed(4)).to(dtype)
        scaled = (logits.float() / torch.as_tensor(temperature)).float()
        top = scaled.amax(1, keepdim=True)
        exact = (scaled.double() - top.double()).exp().sum(1, keepdim=True)
        bound = 3e-6 + 2e-7 * (top.abs().double() + 20)
        assert ((row_mass(logits, temperature, top) / exact - 1).abs() <= bound).all(), kind.__name__


# parity


def test_top_logprobs_equal_log_softmax() -> None:
    logits = language_model(5, 50_257, torch.Generator().manual_seed(3))
    values, token_ids = top_logprobs(logits, 20)
    expected = logits.double().log_softmax(-1).topk(20)
    assert torch.equal(token_ids, expected.indices)
    torch.testing.assert_close(values.double(), expected.values, rtol=1e-6, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_beam_candidates_equal_the_flattened_topk(seed: int) -> None:
    """log-softmax, plus the beam's score, flattened, topk: scores bit for bit, parents and tokens, ties included."""
    rng = random.Random(seed)
    vocab_size, beams = rng.choice([31, 5003, 32_000]), rng.choice([1, 2, 5])
    logits = draw_logits(rng, vocab_size, 2 * beams, torch.float32).nan_to_num()
    scores = torch.randn(2, beams)
    flat = (logits.log_softmax(-1).view(2, beams, vocab_size) + scores[:, :, None]).flatten(1)
    values, where = flat.topk(2 * beams)
    ours = top_candidates(logits, scores, 2 * beams, normalized=False)
    assert torch.equal(ours[0], values)
    assert torch.equal(ours[1], where // vocab_size)
    assert torch.equal(ours[2], where % vocab_size)
