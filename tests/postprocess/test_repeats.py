"""Rows repeated, and the largest of each row: numpy's way on the CPU gives torch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afterlogits.postprocess.probabilities import largest
from afterlogits.postprocess.repeats import repeat_rows


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), max_size=8))
def test_rows_are_repeated_as_torch_repeats_them(pairs):
    values = torch.tensor([value for value, _ in pairs], dtype=torch.long)
    counts = torch.tensor([count for _, count in pairs], dtype=torch.long)
    found = repeat_rows(values, counts)
    assert found.dtype == torch.long and torch.equal(found, values.repeat_interleave(counts))
    assert torch.equal(repeat_rows(values, 3), values.repeat_interleave(3))


def test_a_count_a_row():
    """5 twice, 6 not at all, 7 once."""
    assert repeat_rows(torch.tensor([5, 6, 7]), torch.tensor([2, 0, 1])).tolist() == [5, 5, 7]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_largest_is_the_first_of_equals(dtype):
    """Whole numbers tie often; -inf alone is a row like any other."""
    drawn = torch.Generator().manual_seed(0)
    values = torch.randint(0, 3, (200, 5), generator=drawn).to(dtype)
    values[0] = -torch.inf
    best, place = largest(values)
    assert best.dtype == dtype and torch.equal(best, values.amax(dim=1))
    first = (values == best[:, None]).int().argmax(dim=1)  # by hand: where the largest first stands
    assert place.tolist() == [row.index(max(row)) for row in values.tolist()] == first.tolist()
    assert [each.shape for each in largest(values[:0])] == [torch.Size([0]), torch.Size([0])]
