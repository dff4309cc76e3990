"""Seeded draws from flat rows against a slow loop over the same proposals, and their distribution."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.kernels import nucleus
from afterlogits.decoding.kernels.rejection import flat_rows
from tests.decoding.sampling.chi_square import chi_square
from tests.oracles.race import flat_token

VOCAB = 5000


def flat_logits(rows: int, spread: float, seed: int, grid: float = 0.0) -> torch.Tensor:
    logits = torch.rand(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * spread
    return (logits / grid).round() * grid if grid else logits


@given(
    st.sampled_from([0.0, 0.3, 1.5]),
    st.sampled_from([0.0, 0.0, 0.25]),
    st.sampled_from([0.5, 0.9, 0.999, 1 - 1e-7, None]),
    st.sampled_from([None, None, 0.3, 0.9]),
    st.sampled_from([0.8, 1.0, 2.0]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_flat_rows_take_the_first_proposal_that_is_kept(
    spread: float, grid: float, top_p: float | None, min_p: float | None, temperature: float, dtype, seed: int
) -> None:
    """Also with equal logits, where the order of transformers' sort decides what is kept."""
    rows = 3
    logits = flat_logits(rows, spread, seed, grid).to(dtype)
    seeds = [random.Random(seed + i).randrange(-(2**63), 2**63) for i in range(rows)]
    params = SamplingParams(temperature=temperature, top_p=top_p, min_p=min_p)
    sampler = Sampler(params, batch_size=rows, vocab_size=VOCAB, device="cpu", seeds=seeds)
    assert flat_rows(logits, sampler.params)[0] == list(range(rows))
    kept = sampler.process(logits) > -torch.inf
    expected = [flat_token(logits[i], kept[i], temperature, seeds[i], 5) for i in range(rows)]
    assert sampler.select(logits, step=5).tolist() == expected


def test_a_flat_row_does_not_depend_on_its_batch() -> None:
    """Beside peaked rows, with options of their own, alone, and in another order."""
    logits = flat_logits(6, 1.0, 0)
    logits[::2, 7] += 30
    options = {"temperature": [1.0, 1.0, 0.7, 1.2, 1.0, 1.0], "top_p": [0.9, 0.9, 1.0, 0.6, 0.3, 0.3]}
    sampler = Sampler(SamplingParams(**options), batch_size=6, vocab_size=VOCAB, device="cpu", seeds=[*range(6)])
    assert flat_rows(logits, sampler.params)[0] == [1, 3]
    tokens = sampler.select(logits, step=2)
    order = torch.tensor([5, 3, 1, 0])
    assert torch.equal(sampler.select(logits[order], step=2, rows=order), tokens[order])
    for i in (1, 3):
        alone = SamplingParams(**{name: values[i] for name, values in options.items()})
        one = Sampler(alone, batch_size=1, vocab_size=VOCAB, device="cpu", seeds=[i])
        assert one.select(logits[i : i + 1], step=2)[0] == tokens[i]


def test_what_is_flat_is_an_exact_count() -> None:
    """Of the first 1,250 logits of 5,000, 1,024 within two temperatures of the largest are enough, one fewer is not."""
    logits = torch.full((2, VOCAB), -3.0)
    logits[:, 2000:] = 0.0
    logits[0, :1024] = 0.0
    logits[1, :1023] = 0.0
    params = SamplingParams(top_p=0.9).compiled(2, torch.device("cpu"))
    assert flat_rows(logits, params)[0] == [0]
    assert flat_rows(logits, SamplingParams(top_k=50).compiled(2, torch.device("cpu")))[0] == []
    assert flat_rows(logits, SamplingParams(top_p=0.4).compiled(2, torch.device("cpu")))[0] == []
    assert flat_rows(logits, SamplingParams(temperature=0.0).compiled(2, torch.device("cpu")))[0] == []


@pytest.mark.parametrize("options", [{}, {"top_p": 0.7}, {"min_p": 0.5}], ids=["all", "top_p", "min_p"])
def test_flat_draws_follow_the_distribution(options: dict) -> None:
    """40,000 draws over 5,000 tokens in 50 bins of neighbours; p < 1e-6 is a false alarm once in a million."""
    draws = 2000
    logits = flat_logits(1, 1.9, 3).sort().values
    sampler = Sampler(
        SamplingParams(**options), batch_size=draws, vocab_size=VOCAB, device="cpu", seeds=[*range(draws)]
    )
    rows = logits.expand(draws, -1)
    counts = torch.zeros(50)
    for step in range(20):
        tokens = sampler.select(rows, step=step)
        counts += torch.bincount(tokens // 100, minlength=50)
    probabilities = sampler.process(logits)[0].softmax(-1).view(50, 100).sum(1)
    assert counts[probabilities == 0].sum() == 0
    assert chi_square(counts[probabilities > 0], probabilities[probabilities > 0]) > 1e-6


def test_close_calls_are_decided_by_the_library_s_own_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """With bounds that prove nothing, every accepted proposal is looked up in the filtered row: the same tokens."""
    logits = flat_logits(8, 1.0, 1)
    sampler = Sampler(SamplingParams(top_p=0.8), batch_size=8, vocab_size=VOCAB, device="cpu", seeds=[*range(8)])
    tokens = sampler.select(logits)
    monkeypatch.setattr(nucleus, "MASS_ERROR", 10.0)
    assert torch.equal(sampler.select(logits), tokens)
    assert sampler.fallbacks == 8
