"""Acceptance of drafts by a kernel: the twin, and speculation that counts by it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding.search.stopping import Stopping
from afterlogits.decoding.speculation import speculative
from afterlogits.decoding.speculation.prompt_lookup import PromptLookup
from afterlogits.decoding.speculation.speculative import Draft, accept_equal, speculate
from afterlogits.decoding.triton_kernels.accept import MOST, accept, accept_twin
from tests.decoding.speculation.test_speculative import Table

from .cases import interpreted


def drawn(seed: int, rows: int, drafts: int):
    """Choices of four tokens, so that runs of right guesses occur; rows and counts lie apart in memory."""
    g = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, 4, (rows, drafts + 1), generator=g)
    wrong = torch.rand(rows, drafts, generator=g) < 0.25
    packed = torch.zeros(rows, drafts + 2, dtype=torch.int64)
    packed[:, 1:-1] = torch.where(wrong, torch.randint(0, 4, (rows, drafts), generator=g), chosen[:, :-1])
    packed[:, -1] = torch.randint(0, drafts + 1, (rows,), generator=g)
    return chosen, packed[:, 1:-1], packed[:, -1]


def test_the_twin_by_hand():
    """Guesses 5 7 against choices 5 6 9: one is right, the model's 6 follows; of two right ones the first counts."""
    chosen, drafts = torch.tensor([[5, 6, 9], [5, 7, 9]]), torch.tensor([[5, 7], [5, 7]])
    assert accept_twin(chosen, drafts, torch.tensor([2, 1])).tolist() == [2, 2]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_twin_accepts_what_accept_equal_does(seed):
    chosen, drafts, counts = drawn(seed, 5, 4)
    assert torch.equal(accept_twin(chosen, drafts, counts), accept_equal(chosen, Draft(drafts, counts))[1])


@interpreted
def test_kernel_is_the_twin():
    """60 batches of up to 5 drafts, none at all among them, and as many as the kernel takes."""
    for seed in range(60):
        case = drawn(seed, 4, seed % 6)
        assert torch.equal(accept(*case), accept_twin(*case)), seed
    case = drawn(0, 2, MOST)
    case[1][0], case[2][0] = case[0][0, :-1], MOST
    assert accept(*case).tolist() == accept_twin(*case).tolist() and int(accept(*case)[0]) == MOST + 1


@interpreted
def test_speculation_counts_by_the_kernel(monkeypatch):
    """The tokens of speculation without kernels, round after round."""
    table = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(1))
    prompt = torch.tensor([[1, 2, 1, 2], [3, 4, 3, 4], [5, 1, 2, 5]])
    calls, found = list[int](), {}
    monkeypatch.setattr(speculative, "accept", lambda *given: (calls.append(1), accept(*given))[1])
    for kernels in ("off", "interpreter"):
        monkeypatch.setenv("AFTERLOGITS_KERNELS", kernels)
        model = Table(prompt, table)
        found[kernels] = speculate(model, prompt, PromptLookup(num_tokens=3), Stopping(max_length=20)).tolist()
        assert (len(calls) > 3) == (kernels == "interpreter")
    assert found["off"] == found["interpreter"]


@interpreted
def test_more_drafts_than_the_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch counts them."""
    monkeypatch.setenv("AFTERLOGITS_KERNELS", "interpreter")
    chosen, drafts, counts = drawn(3, 2, MOST + 1)
    assert torch.equal(accept_equal(chosen, Draft(drafts, counts))[1], accept_twin(chosen, drafts, counts))
