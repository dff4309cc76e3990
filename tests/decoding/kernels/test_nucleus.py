"""What a nucleus says of a logit against transformers' own filters over the sorted row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.kernels.nucleus import Nucleus

VOCAB = 3000


def nucleus_of(row: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0, min_p: float = 0.0) -> Nucleus:
    return Nucleus(row, row.amax().item(), torch.empty(len(row)), temperature, top_p, min_p)


def test_a_nucleus_of_four() -> None:
    """Weights 1/2, 1/4, 1/8, 1/8 of the whole: 0.8 needs three tokens, and which of the two equal ones is not said."""
    row = torch.tensor([4.0, 2.0, 1.0, 1.0]).log()
    nucleus = nucleus_of(row, top_p=0.8)
    assert [nucleus.holds(logit) for logit in row.tolist()] == [True, True, None, None]
    assert [nucleus_of(row, top_p=0.7).holds(logit) for logit in row.tolist()] == [True, True, False, False]
    assert [nucleus_of(row, min_p=0.3).holds(logit) for logit in row.tolist()] == [True, True, False, False]


@given(
    st.sampled_from([0.1, 1.0, 5.0]),
    st.sampled_from([0.0, 0.0, 0.25]),
    st.sampled_from([0.0, 100.0, -1000.0, 300_000.0]),
    st.sampled_from([0.3, 0.5, 0.9, 0.999, 1 - 1e-7]),
    st.sampled_from([0.0, 0.0, 0.3]),
    st.sampled_from([0.7, 1.0, 3.0]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_it_says_is_what_the_library_does(
    spread: float, grid: float, shift: float, top_p: float, min_p: float, temperature: float, dtype, seed: int
) -> None:
    """In any order of questions, with ties, and where the temperature makes close logits equal."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.randn(VOCAB, generator=generator) * spread
    row = ((row / grid).round() * grid if grid else row).add_(shift).to(dtype)
    params = SamplingParams(temperature=temperature, top_p=top_p, min_p=min_p or None)
    kept = Sampler(params, batch_size=1, vocab_size=VOCAB, device="cpu").process(row[None])[0] > -torch.inf
    nucleus = nucleus_of(row, temperature, top_p, min_p)
    asked = torch.randperm(VOCAB, generator=generator)[:200].tolist() + row.float().argsort()[::97].tolist()
    said = {token_id: nucleus.holds(row[token_id].item()) for token_id in asked}
    assert all(bool(kept[token_id]) is answer for token_id, answer in said.items() if answer is not None)
    if not grid and shift == 0.0 and dtype == torch.float32:  # rounding leaves few of different logits open
        assert sum(answer is None for answer in said.values()) <= len(said) // 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_and_inputs_are_left_alone(dtype: torch.dtype) -> None:
    logits = torch.rand(2, 5000, dtype=dtype, requires_grad=True)
    before = logits.detach().clone()
    sampler = Sampler(SamplingParams(top_p=0.9), batch_size=2, vocab_size=5000, device="cpu", seeds=[1, 2])
    assert not sampler.select(logits).requires_grad
    assert torch.equal(logits.detach(), before)
