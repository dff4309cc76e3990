"""Tokens for masked positions, against transformers' pipeline method."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import FillMaskPipeline

from afterlogits.postprocess import fill_mask, masked_positions
from tests.builders.versions import rule_of_five

MASK = 3


def library(token_ids, logits, top_k, targets):
    """Token ids and scores of one text's masks by transformers' own method."""
    pipeline = FillMaskPipeline.__new__(FillMaskPipeline)
    pipeline.tokenizer = SimpleNamespace(mask_token_id=MASK, pad_token_id=0, decode=lambda *_, **__: "")
    outputs = {"input_ids": token_ids[None], "logits": logits[None]}
    found = pipeline.postprocess(outputs, top_k=top_k, target_ids=None if targets is None else targets.numpy())
    rows = [found] if found and isinstance(found[0], dict) else found
    return [([r["token"] for r in row], [r["score"] for r in row]) for row in rows]


# golden


def test_probabilities_of_the_whole_vocabulary():
    """Logits 0, ln 2, ln 5 give 1/8, 2/8, 5/8; targets keep those probabilities."""
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    found = fill_mask(logits, top_k=2)
    assert found.token_ids.tolist() == [[2, 1]]
    torch.testing.assert_close(found.scores, torch.tensor([[5 / 8, 2 / 8]]))
    limited = fill_mask(logits, top_k=9, targets=torch.tensor([0, 1]))
    assert limited.token_ids.tolist() == [[1, 0]]
    torch.testing.assert_close(limited.scores, torch.tensor([[2 / 8, 1 / 8]]))


def test_positions():
    """Masks by text and then position; a text without any has none."""
    item, position = masked_positions(torch.tensor([[1, MASK, MASK], [1, 2, 2], [MASK, 1, 1]]), MASK)
    assert (item.tolist(), position.tolist()) == ([0, 0, 2], [1, 2, 0])


def test_bfloat16_shares_probabilities_only_in_compat():
    """Logits 0.0005 and 0.00025 have one bfloat16 probability among 300 tokens; float32 tells them apart."""
    logits = torch.zeros(1, 300, dtype=torch.bfloat16)
    logits[0, 7], logits[0, 9] = 0.00048828125, 0.000244140625
    compat, corrected = fill_mask(logits, top_k=2), fill_mask(logits, top_k=2, compat=False)
    assert compat.scores.dtype == torch.bfloat16
    assert compat.scores[0, 0] == compat.scores[0, 1]
    assert corrected.token_ids.tolist() == [[7, 9]]
    assert corrected.scores[0, 0] > corrected.scores[0, 1]


def test_ties_by_position_without_compat():
    """Equal probabilities: the first of the vocabulary, or of the targets."""
    assert fill_mask(torch.zeros(1, 5), top_k=3, compat=False).token_ids.tolist() == [[0, 1, 2]]
    targets = torch.tensor([4, 1])
    assert fill_mask(torch.zeros(1, 5), targets=targets, compat=False).token_ids.tolist() == [[4, 1]]


def test_no_masks():
    """No positions, no rows."""
    found = fill_mask(torch.zeros(0, 5))
    assert found.token_ids.shape == found.scores.shape == (0, 5)


# parity


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
@rule_of_five
def test_same_as_library(seed):
    """Tokens, order and scores bit for bit, one mask or several, with and without targets."""
    rng = np.random.default_rng(seed)
    length, vocab_size = int(rng.integers(1, 8)), int(rng.choice([7, 300, 5000]))
    token_ids = torch.from_numpy(rng.integers(1, 6, length))
    token_ids[int(rng.integers(length))] = MASK
    logits = torch.from_numpy(rng.normal(0, 3, (length, vocab_size)).astype(np.float32))
    logits = logits.to([torch.float32, torch.bfloat16][int(rng.random() < 0.3)])
    targets = torch.from_numpy(rng.permutation(vocab_size)[: int(rng.integers(1, 5))]) if rng.random() < 0.5 else None
    top_k = int(rng.integers(1, 7))
    item, position = masked_positions(token_ids[None], MASK)
    found = fill_mask(logits[None][item, position], top_k=top_k, targets=targets)
    ours = list(zip(found.token_ids.tolist(), found.scores.tolist(), strict=True))
    assert ours == library(token_ids, logits, top_k, targets)


def test_chunks_join(monkeypatch):
    """Rows in chunks of two give what one pass gives."""
    logits = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    whole = fill_mask(logits)
    monkeypatch.setattr("afterlogits.postprocess.text.masked.ROWS_AT_ONCE", 2)
    assert torch.equal(fill_mask(logits).token_ids, whole.token_ids)


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 0}, "top_k must be at least 1; got 0"),
        ({"targets": torch.tensor([], dtype=torch.long)}, "targets must hold at least one token id; got none"),
        ({"targets": torch.tensor([1, 5])}, "targets must be token ids below 5; got [1, 5]"),
        ({"logits": torch.full((2, 5), math.nan)}, "logits must not be NaN; got NaN in mask 0"),
    ],
)
def test_errors(change, message):
    """What is wrong, what was wanted, what came."""
    with pytest.raises(ValueError) as caught:
        fill_mask(**{"logits": torch.zeros(2, 5), **change})
    assert str(caught.value) == message
