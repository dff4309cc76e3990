"""Stopping: each reason alone, together, per row, and after rows have left."""

import time

import pytest
import torch

from afterlogits.decoding.search.stopping import Stopping, hits_token

TOKENS = torch.tensor([4, 5, 6])


def test_each_reason_alone() -> None:
    """Length ends every row at once, an EOS token the rows that have it, a past deadline every row."""
    assert Stopping(max_length=9).finished(TOKENS, 8).tolist() == [False] * 3
    assert Stopping(max_length=9).finished(TOKENS, 9).tolist() == [True] * 3
    assert Stopping(eos_token_id=torch.tensor([5])).finished(TOKENS, 1).tolist() == [False, True, False]
    assert Stopping(eos_token_id=torch.tensor([4, 6, 9])).finished(TOKENS, 1).tolist() == [True, False, True]
    assert Stopping(deadline=time.time() - 1).finished(TOKENS, 1).all()
    assert not Stopping(deadline=time.time() + 60).finished(TOKENS, 1).any()
    assert not Stopping().finished(TOKENS, 10**9).any()


def test_rows_have_their_own_limits_and_tokens() -> None:
    """Limits and EOS tables are those of the original rows, also for a part of them."""
    stopping = Stopping(
        row_max_length=torch.tensor([3, 9, 9]), row_eos_token_id=torch.tensor([[-1, -1], [5, 7], [4, 5]])
    )
    assert stopping.finished(TOKENS, 3).tolist() == [True, True, False]
    assert stopping.finished(torch.tensor([4, 5]), 4, rows=torch.tensor([2, 1])).tolist() == [True, True]
    assert stopping.finished(torch.tensor([6, 6]), 4, rows=torch.tensor([2, 1])).tolist() == [False, False]


def test_criteria_see_the_ids_and_the_scores() -> None:
    """A criterion gets what transformers gives it; a two-dimensional question gets a two-dimensional answer."""
    seen = []

    def criterion(ids: torch.Tensor, scores: object) -> torch.Tensor:
        seen.append((ids.tolist(), scores))
        return ids[:, -1] > 5

    stopping = Stopping(criteria=[criterion], eos_token_id=torch.tensor([4]))
    tokens = torch.tensor([[4, 5], [6, 7]])
    done = stopping.finished(tokens, 2, ids=lambda: tokens.reshape(-1, 1), scores="scores")
    assert done.tolist() == [[True, False], [True, True]]
    assert seen == [([[4], [5], [6], [7]], "scores")]


def test_criteria_need_the_ids() -> None:
    """The error says what is missing."""
    with pytest.raises(ValueError) as caught:
        Stopping(criteria=[lambda ids, scores: ids]).finished(TOKENS, 1)
    assert str(caught.value) == "ids must be given when there are criteria; got None"


def test_hits_token_keeps_the_shape() -> None:
    """One stop token or several, any shape of tokens."""
    tokens = torch.tensor([[1, 2], [3, 1]])
    assert hits_token(tokens, torch.tensor([1])).tolist() == [[True, False], [False, True]]
    assert hits_token(tokens, torch.tensor([2, 3])).tolist() == [[False, True], [True, False]]
