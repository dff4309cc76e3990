"""Cells of tables, against TAPAS' own conversion."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TapasTokenizer

from afterlogits.postprocess import select_cells


def draw_batch(seed):
    """Token columns of a few items, some without any table."""
    rng = np.random.default_rng(seed)
    batch, length = int(rng.integers(1, 4)), int(rng.integers(1, 20))
    segment, row, column = (torch.from_numpy(rng.integers(0, n, (batch, length))) for n in (2, 4, 4))
    empty = torch.from_numpy(rng.random(batch) < 0.3)
    row[empty], column[empty] = 0, 0
    logits = torch.from_numpy(rng.normal(0, float(rng.choice([0.5, 5, 200])), (batch, length)).astype(np.float32))
    if rng.random() < 0.3:
        logits = logits.round()
    mask = torch.from_numpy((rng.random((batch, length)) < 0.9).astype(np.int64))
    aggregation = torch.from_numpy(rng.normal(0, 1, (batch, 4)).astype(np.float32))
    return logits, mask, segment, row, column, aggregation


def library(logits, mask, segment, row, column, aggregation):
    tokenizer = TapasTokenizer.__new__(TapasTokenizer)
    types = torch.zeros(*logits.shape, 7, dtype=torch.long)
    types[..., 0], types[..., 1], types[..., 2] = segment, column, row
    data = {"input_ids": torch.zeros_like(mask), "attention_mask": mask, "token_type_ids": types}
    with np.errstate(over="ignore"):
        return tokenizer.convert_logits_to_predictions(data, logits.clone(), aggregation)


# golden


def test_a_cell_is_the_mean_of_its_tokens():
    """Cell (0, 0) has probabilities 1/4 and 9/10, mean .575; cell (1, 0) has 1/4 alone; the question is left out."""
    odds = torch.tensor([[9.0, 1 / 3, 9.0, 1 / 3]])
    segment, row, column = torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 1, 1, 2]]), torch.tensor([[0, 1, 1, 1]])
    found = select_cells(odds.log(), torch.ones(1, 4).long(), segment, row, column)
    assert found.records() == [[(0, 0)]]
    assert math.isclose(found.scores.item(), 0.575, rel_tol=1e-6)


def test_an_item_without_table_shifts_the_others_only_in_compat():
    """Transformers leaves the item out, so that the second answer stands where the first belongs."""
    logits, ones = torch.full((2, 1), 5.0), torch.ones(2, 1).long()
    place = torch.tensor([[0], [1]])
    found = select_cells(logits, ones, ones, place, place)
    assert found.records() == [[(0, 0)]]
    assert found.records(compat=False) == [[], [(0, 0)]]


def test_exactly_one_half_is_not_chosen():
    """Logits of 0: the mean must exceed the threshold."""
    ones = torch.ones(1, 3).long()
    assert select_cells(torch.zeros(1, 3), ones, ones, ones, ones).records() == [[]]


def test_empty_batches():
    """No items, or no tokens."""
    for shape in ((0, 3), (2, 0)):
        none = torch.zeros(shape).long()
        found = select_cells(torch.zeros(shape), none, none, none, none)
        assert found.records(compat=False) == [[]] * shape[0]
        assert found.answered.tolist() == [False] * shape[0]


# parity


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_same_as_library(seed):
    """Coordinates, their order, the left-out items, and the aggregation."""
    case = draw_batch(seed)
    logits, mask, segment, row, column, aggregation = case
    cells, chosen = library(*case)
    found = select_cells(logits, mask, segment, row, column, aggregation_logits=aggregation)
    assert found.records() == cells
    assert found.aggregation.tolist() == chosen


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row_ids": torch.zeros(2, 3).long()}, "row_ids must be [2, 2]; got shape [2, 3]"),
        ({"aggregation_logits": torch.zeros(3, 2)}, "aggregation_logits must be [2, A]; got shape [3, 2]"),
        ({"logits": torch.zeros(2, 2, 1)}, "logits must be [B, T]; got shape [2, 2, 1]"),
        ({"logits": torch.full((2, 2), math.nan)}, "logits must not be NaN; got NaN in item 0"),
        (
            {"aggregation_logits": torch.tensor([[0.0, 1.0], [math.nan, 0.0]])},
            "aggregation_logits must not be NaN; got NaN in item 1",
        ),
    ],
)
def test_errors(change, message):
    """What is wrong, what was wanted, what came."""
    ones = torch.ones(2, 2).long()
    arguments = {"logits": torch.zeros(2, 2), "attention_mask": ones, "segment_ids": ones, "row_ids": ones}
    with pytest.raises(ValueError) as caught:
        select_cells(**{**arguments, "column_ids": ones, **change})
    assert str(caught.value) == message
