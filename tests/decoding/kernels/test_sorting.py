"""The faster sort against torch's, equal values, zeros of both signs and infinities included."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding.kernels import sorting
from afterlogits.decoding.kernels.sorting import sort_ascending, sorts_stably


def test_equal_values_keep_their_order() -> None:
    values, order = sort_ascending(torch.tensor([[0.0, -0.0, -torch.inf, 1.0, 0.0], [5.0, 5.0, -5.0, 5.0, 5.0]]))
    assert order.tolist() == [[2, 0, 1, 4, 3], [2, 0, 1, 3, 4]]
    assert values.tolist() == [[-torch.inf, 0.0, 0.0, 0.0, 1.0], [-5.0, 5.0, 5.0, 5.0, 5.0]]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_it_is_torch_s_own_sort(seed: int) -> None:
    rng = random.Random(seed)
    rows, size = rng.choice([1, 3]), rng.choice([1, 2, 17, 300, 5000, 40_000])
    drawn = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * rng.choice([1e-40, 1.0, 1e30])
    drawn = (drawn * 4).round() / 4 if rng.random() < 0.5 else drawn
    values, order = sort_ascending(drawn)
    expected = drawn.sort(dim=-1)
    assert torch.equal(values, expected.values)
    assert torch.equal(order, expected.indices)


def test_a_build_that_sorts_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch's sort moves equal values, its own order is the answer."""
    own = torch.Tensor.sort

    def unstable(self, dim=-1, stable=False):
        found = own(self.flip(1), dim=dim, stable=True)
        return (
            own(self, dim=dim, stable=True)
            if stable
            else type(found)((found.values, self.shape[1] - 1 - found.indices))
        )

    monkeypatch.setattr(torch.Tensor, "sort", unstable)
    assert not sorts_stably.__wrapped__(100)
    monkeypatch.setattr(sorting, "sorts_stably", sorts_stably.__wrapped__)
    assert sort_ascending(torch.zeros(1, 4))[1].tolist() == [[3, 2, 1, 0]]
