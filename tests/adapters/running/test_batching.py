"""Batches by length within a budget: every row once, nothing over the budget, the order told back."""

import numpy as np
import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from afterlogits.adapters.running.batching import TEXT_WINDOWS, Row, collate, pad_stack, plan_batches, windows


def test_rows_of_like_length_share_a_batch():
    """9 and 8 fill 2 * 9 = 18 of 20 tokens; 3 and 1 come after them."""
    assert plan_batches([3, 9, 1, 8], batch_tokens=20) == [[1, 3], [0, 2]]


def test_a_row_over_the_budget_goes_alone():
    assert plan_batches([50, 4, 5], batch_tokens=10) == [[0], [2, 1]]


def test_without_padding_only_equal_lengths_share_a_batch():
    assert plan_batches([3, 2, 3], batch_tokens=100, may_pad=False) == [[0, 2], [1]]


@seed(1)
@settings(max_examples=100, deadline=None, database=None)
@given(
    lengths=st.lists(st.integers(0, 40), max_size=60),
    budget=st.integers(1, 200),
    size=st.none() | st.integers(1, 8),
    may_pad=st.booleans(),
)
def test_every_plan_holds_each_row_once_and_keeps_the_budget(lengths, budget, size, may_pad):
    plan = plan_batches(lengths, batch_tokens=budget, batch_size=size, may_pad=may_pad)
    assert sorted(row for batch in plan for row in batch) == list(range(len(lengths)))
    for batch in plan:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert size is None or len(batch) <= size
        assert may_pad or len({lengths[row] for row in batch}) == 1


def test_windows_grow_and_stay_bounded():
    sizes = [len(window) for window in windows(range(5000))]
    assert sizes[:3] == [32, 64, 128]
    assert max(sizes) == TEXT_WINDOWS.largest
    assert sum(sizes) == 5000


def test_a_long_text_closes_its_window():
    assert [len(window) for window in windows(["x" * (1 << 20), "a", "b"])] == [1, 2]


def test_a_window_reads_no_further_than_it_holds():
    read = []
    stream = windows(read.append(i) or i for i in range(100))
    next(stream)
    assert len(read) == 32


@pytest.mark.parametrize("left", [False, True])
def test_collate_pads_each_input_with_its_own_value(left):
    rows = [
        Row({"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1]}, 3),
        Row({"input_ids": [8], "attention_mask": [1]}, 1),
    ]
    batch = collate(rows, pad_values={"input_ids": 9}, device=torch.device("cpu"), left=left)
    short, mask = ([9, 9, 8], [0, 0, 1]) if left else ([8, 9, 9], [1, 0, 0])
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 7], short]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], mask]
    assert batch.lengths.tolist() == [3, 1]


def test_pairs_of_numbers_stack_too():
    assert pad_stack([[(0, 1), (1, 2)], [(3, 4)]], 0).tolist() == [[[0, 1], [1, 2]], [[3, 4], [0, 0]]]


@pytest.mark.parametrize("values", [[5, 6, 7], [True, False], [(1, 2), (3, 4)], np.array([5, 6, 7]), [np.int64(4)], []])
def test_one_row_is_collated_as_several_are(values):
    """Without padding; whole numbers whatever holds them."""
    kept = {"pad_values": {}, "device": torch.device("cpu")}
    alone = collate([Row({"input_ids": values}, len(values))], **kept).inputs["input_ids"]
    twice = collate([Row({"input_ids": values}, len(values))] * 2, **kept).inputs["input_ids"]
    assert alone.dtype == twice.dtype == torch.int64
    assert torch.equal(alone[0], twice[1])
