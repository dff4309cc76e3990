"""Acceptance of drafts by a kernel: the twin in plain Python, and ``accept_equal``."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding.speculation.speculative import Draft, accept_equal
from afterlogits.decoding.triton_kernels.accept import accept, accept_twin

from .cases import interpreted


def drawn(seed: int, rows: int, drafts: int):
    """Choices of four tokens, so that runs of right guesses, ends and limits all occur."""
    g = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, 4, (rows, drafts + 1), generator=g)
    wrong = torch.rand(rows, drafts, generator=g) < 0.25
    guesses = torch.where(wrong, torch.randint(0, 4, (rows, drafts), generator=g), chosen[:, :-1])
    counts = torch.randint(0, drafts + 1, (rows,), generator=g)
    token_ids = torch.randint(0, 4, (rows, 20), generator=g)
    lengths = torch.randint(1, 10, (rows,), generator=g)
    limits = lengths + torch.randint(1, 8, (rows,), generator=g)
    finished = (torch.rand(rows, generator=g) < 0.2).to(torch.int8)
    return chosen, guesses, counts, token_ids, lengths, limits, finished, torch.tensor([3])


def test_the_twin_by_hand():
    """Guesses 5 7 against choices 5 6 9: one is right, the model's 6 follows; two count."""
    ids, lengths = torch.zeros(1, 6, dtype=torch.int64), torch.tensor([2])
    taken, written, length, finished = accept_twin(
        torch.tensor([[5, 6, 9]]), torch.tensor([[5, 7]]), torch.tensor([2]), ids, lengths, torch.tensor([9]),
        torch.zeros(1, dtype=torch.int8), torch.tensor([3]),
    )  # fmt: skip
    assert (taken.tolist(), written.tolist(), length.tolist()) == ([2], [[0, 0, 5, 6, 0, 0]], [4])
    assert finished.tolist() == [0]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_twin_accepts_what_accept_equal_does(seed):
    case = list(drawn(seed, 5, 4))
    case[5], case[6], case[7] = torch.full((5,), 99), torch.zeros(5, dtype=torch.int8), torch.tensor([-1])
    _, counts = accept_equal(case[0], Draft(case[1], case[2]))
    assert torch.equal(accept_twin(*case)[0], counts)


@interpreted
def test_kernel_is_the_twin():
    """60 batches: limits, ends, finished rows, no drafts at all, two ends."""
    for seed in range(60):
        case = drawn(seed, 4, seed % 6)
        case = (*case[:7], torch.tensor([3, 1]) if seed % 3 == 0 else case[7])
        expected = accept_twin(*case)
        taken = accept(*case)
        for found, wanted in zip((taken, case[3], case[4], case[6]), expected, strict=True):
            assert torch.equal(found, wanted), seed
