"""Prompt lookup: the guesses against a slow search, how many are worth checking, and what rows keep of each other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding.speculation.prompt_lookup import NgramMemory, PromptLookup, best_width, updated_rate


def slow_guess(row: list[int], num_tokens: int, max_ngram_size: int) -> list[int]:
    """Longest n-gram first, its latest earlier occurrence; what is copied is appended and copied on."""
    for size in range(min(max_ngram_size, len(row) - 1), 0, -1):
        for start in range(len(row) - size - 1, -1, -1):
            if row[start : start + size] == row[-size:]:
                copied = list(row)
                for place in range(start + size, start + size + num_tokens):
                    copied.append(copied[place])
                return copied[len(row) :]
    return []


def test_golden() -> None:
    """1 3 4 5 9 3 4: the pair (3, 4) was followed by 5 9 3 4, and then by 5 again; 2 in the second row by itself."""
    ids = torch.tensor([[1, 3, 4, 5, 9, 3, 4, 0], [7, 2, 2, 0, 0, 0, 0, 0]])
    draft = PromptLookup(num_tokens=5).draft(ids, torch.tensor([7, 3]), 10)
    assert draft.token_ids.tolist() == [[5, 9, 3, 4, 5], [2, 2, 2, 2, 2]]
    assert draft.counts.tolist() == [5, 5]


def test_the_latest_occurrence_counts() -> None:
    """(3, 4) was followed by 5 and later by 6; a longer n-gram goes before a later one."""
    memory = NgramMemory(2)
    memory.extend([3, 4, 5, 3, 4, 6, 3, 4])
    assert memory.guess(2) == [6, 3]
    longer = NgramMemory(3)
    longer.extend([1, 3, 4, 5, 3, 4, 6, 1, 3, 4])
    assert longer.guess(2) == [5, 3]


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=9), min_size=1, max_size=4),
    num_tokens=st.integers(1, 4),
    max_ngram_size=st.integers(1, 3),
    left=st.booleans(),
    first=st.integers(1, 8),
)
def test_a_batch_equals_each_row_searched_alone(
    rows: list[list[int]], num_tokens: int, max_ngram_size: int, left: bool, first: int
) -> None:
    """Rows of any length, filled up on either side, shown at once or in two parts."""
    width = max(len(row) for row in rows)
    fill = [[0] * (width - len(row)) for row in rows]
    ids = torch.tensor([pad + row if left else row + pad for row, pad in zip(rows, fill, strict=True)])
    starts = torch.tensor([len(pad) if left else 0 for pad in fill])
    lengths = torch.tensor([width if left else len(row) for row in rows])
    drafter = PromptLookup(num_tokens=num_tokens, max_ngram_size=max_ngram_size, starts=starts)
    drafter.draft(ids, torch.maximum(torch.minimum(lengths, torch.tensor(first)), starts), 10)
    draft = drafter.draft(ids, lengths, 10)
    for row, found, count in zip(rows, draft.token_ids.tolist(), draft.counts.tolist(), strict=True):
        expected = slow_guess(row, num_tokens, max_ngram_size)
        assert found[:count] == expected[:count]
        assert count <= len(expected)


def test_guesses_stop_before_an_eos() -> None:
    """5 and the EOS 2 followed (3, 4): only 5 is guessed."""
    draft = PromptLookup(num_tokens=4, eos_token_id=torch.tensor([2])).draft(
        torch.tensor([[3, 4, 5, 2, 3, 4]]), torch.tensor([6]), 10
    )
    assert draft.token_ids.tolist() == [[5]]
    assert draft.counts.tolist() == [1]


def test_wrong_guesses_make_the_next_ones_fewer_and_right_ones_more() -> None:
    """A loop that is left at every round is hardly guessed any more; one that is kept is guessed in full."""
    ids = torch.tensor([[1, 2] * 32])
    widths = {}
    for name, right in (("never", 0), ("always", 6)):
        drafter = PromptLookup(num_tokens=6)
        length = 2
        for _ in range(8):
            length += right + 1 if right else 1
            draft = drafter.draft(ids, torch.tensor([length]), 6)
        widths[name] = int(draft.counts[0])
    assert widths["always"] == 6
    assert widths["never"] == 1


@pytest.mark.parametrize(
    ("rates", "available", "width"),
    [
        ([1.0, 1.0], [6, 4], 6),  # every further guess is worth 1 token for 0.03 passes, and even one of a single row
        ([0.5], [10], 5),  # 1.9375 tokens over 1.06, 1.96875 over 1.075, 1.984375 over 1.09
        ([0.0, 0.0], [5, 5], 0),
        ([0.9], [0], 0),
    ],
)
def test_best_width(rates: list[float], available: list[int], width: int) -> None:
    """Most tokens for the work, where one more position of a row costs 0.015 of a pass."""
    assert best_width(rates, available) == width


def test_rows_that_leave_take_their_memory_along() -> None:
    """Row 1 alone, before and after the first guesses."""
    ids = torch.tensor([[1, 2, 1, 2, 1], [5, 6, 7, 5, 6]])
    late, early, whole = PromptLookup(num_tokens=2), PromptLookup(num_tokens=2), PromptLookup(num_tokens=2)
    early.starts = torch.tensor([4, 0])  # of the rows, the first has one token of its own
    late.draft(ids, torch.tensor([4, 4]), 10)
    for drafter in (late, early, whole):
        drafter.select_rows(torch.tensor([1]))
        assert drafter.draft(ids[1:], torch.tensor([5]), 10).token_ids.tolist() == [[7, 5]]


def test_rows_that_advance_by_different_numbers_of_tokens() -> None:
    """Row 1 is read two tokens at a time, row 0 one: each is read without gaps and without repeats."""
    ids = torch.tensor([[1, 2, 3, 1, 2, 3, 1], [5, 6, 7, 5, 6, 7, 5]])
    together = PromptLookup(num_tokens=2)
    for one, two in ((3, 3), (4, 5), (5, 7)):
        draft = together.draft(ids, torch.tensor([one, two]), 10)
    assert together._rows is not None
    assert [memory.tokens for memory in together._rows] == [[1, 2, 3, 1, 2], [5, 6, 7, 5, 6, 7, 5]]
    assert draft.token_ids[:, 0].tolist() == [3, 6]


@pytest.mark.parametrize(
    ("rate", "right", "count", "expected"),
    [
        (0.5, 0, 0, 0.53),  # a tenth of the way to 0.8
        (0.8, 2, 4, 0.343 * 0.8 + 0.657 * 2 / 3),  # two right, one wrong: three were tried, 0.7 ** 3 = 0.343
        (0.8, 4, 4, 0.2401 * 0.8 + 0.7599),  # all four right
        (0.8, 0, 4, 0.7 * 0.8),
    ],
)
def test_updated_rate(rate: float, right: int, count: int, expected: float) -> None:
    """Older guesses count 0.7 to the power of the guesses tried since."""
    assert updated_rate(rate, right, count) == pytest.approx(expected, abs=1e-12)


def test_defaults() -> None:
    """n-grams of up to 3 tokens, 10 guesses."""
    drafter = PromptLookup()
    assert (drafter.max_ngram_size, drafter.num_tokens) == (3, 10)


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
