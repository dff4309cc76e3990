"""Prompt lookup: the guesses, against a slow search row by row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding.prompt_lookup import PromptLookup, lookup


def slow_lookup(row: list[int], num_tokens: int, max_ngram_size: int) -> list[int]:
    """Longest n-gram first, its leftmost earlier occurrence that something follows."""
    for size in range(min(max_ngram_size, len(row) - 1), 0, -1):
        for start in range(len(row) - size):
            if row[start : start + size] == row[-size:] and start + size < len(row):
                return row[start + size : start + size + num_tokens]
    return []


def test_golden() -> None:
    """... 3 4 5 9 3 4: the pair (3, 4) was followed by 5 9 3, and 2 in the second row only by itself."""
    ids = torch.tensor([[1, 3, 4, 5, 9, 3, 4, 0], [7, 2, 2, 0, 0, 0, 0, 0]])
    tokens, counts = lookup(ids, torch.tensor([7, 3]), num_tokens=3)
    assert counts.tolist() == [3, 1]
    assert tokens[0].tolist() == [5, 9, 3]
    assert tokens[1, :1].tolist() == [2]


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1, max_size=4),
    num_tokens=st.integers(1, 4),
    max_ngram_size=st.integers(1, 3),
    left=st.booleans(),
)
def test_all_rows_at_once_equal_each_row_alone(
    rows: list[list[int]], num_tokens: int, max_ngram_size: int, left: bool
) -> None:
    """Rows of any length, filled up on either side."""
    width = max(len(row) for row in rows)
    fill = [[0] * (width - len(row)) for row in rows]
    ids = torch.tensor([pad + row if left else row + pad for row, pad in zip(rows, fill, strict=True)])
    starts = torch.tensor([len(pad) if left else 0 for pad in fill])
    lengths = torch.tensor([width if left else len(row) for row in rows])
    tokens, counts = lookup(ids, lengths, num_tokens=num_tokens, max_ngram_size=max_ngram_size, starts=starts)
    for row, found, count in zip(rows, tokens.tolist(), counts.tolist(), strict=True):
        assert found[:count] == slow_lookup(row, num_tokens, max_ngram_size)


def test_guesses_stop_before_an_eos() -> None:
    """5 and the EOS 2 followed (3, 4): only 5 is guessed."""
    draft = PromptLookup(num_tokens=4, eos_token_id=torch.tensor([2])).draft(
        torch.tensor([[3, 4, 5, 2, 3, 4]]), torch.tensor([6]), 10
    )
    assert draft.token_ids.tolist() == [[5]]
    assert draft.counts.tolist() == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tokens": 0}, "num_tokens must be at least 1; got 0"),
        ({"max_ngram_size": 0}, "max_ngram_size must be at least 1; got 0"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    """The exact text."""
    with pytest.raises(ValueError) as caught:
        PromptLookup(**options)  # type: ignore[arg-type]
    assert str(caught.value) == message
