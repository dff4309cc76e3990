"""Bans on repeated n-grams: golden values, an oracle, the index and its tail, errors."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import (
    EncoderNoRepeatNgramStep,
    NoRepeatNgramStep,
    apply_encoder_no_repeat_ngram,
    apply_no_repeat_ngram,
)
from afterlogits.decoding.processors import ngram_index as index_module
from afterlogits.decoding.processors.ngram_index import NgramIndex
from tests.decoding.processors.history_cases import compare_step
from tests.oracles import history as oracle

tokens = st.lists(st.integers(0, 4), min_size=0, max_size=25)


def _banned(logits: torch.Tensor) -> set[int]:
    return set(logits[0].isneginf().nonzero()[:, 0].tolist())


# golden


def test_a_bigram_is_not_repeated() -> None:
    """1 was followed by 2 and by 3; the sequence ends in 1."""
    assert _banned(apply_no_repeat_ngram(torch.zeros(1, 5), torch.tensor([[1, 2, 1, 3, 1]]), 2)) == {2, 3}


def test_size_one_bans_every_token_seen_and_zero_none() -> None:
    """0 is off."""
    ids = torch.tensor([[1, 4]])
    assert _banned(apply_no_repeat_ngram(torch.zeros(1, 5), ids, 1)) == {1, 4}
    assert _banned(apply_no_repeat_ngram(torch.zeros(1, 5), ids, 0)) == set()


def test_pad_tokens_are_context() -> None:
    """Pad 0 0 was followed by 0; after 0 0 another 0 is banned, as in transformers."""
    assert _banned(apply_no_repeat_ngram(torch.zeros(1, 3), torch.tensor([[0, 0, 0]]), 3)) == {0}


def test_the_encoders_ngrams_are_banned() -> None:
    """The input has 3 after 1 2; the output ends in 1 2."""
    got = apply_encoder_no_repeat_ngram(
        torch.zeros(1, 5), torch.tensor([[4, 1, 2]]), 3, encoder_token_ids=torch.tensor([[1, 2, 3]])
    )
    assert _banned(got) == {3}


# property


@settings(derandomize=True, max_examples=80, deadline=None)
@given(tokens, tokens, st.integers(0, 5), st.integers(0, 25))
def test_functions_and_steps_equal_the_oracle(ids: list[int], source: list[int], size: int, start: int) -> None:
    """A step that starts anywhere in the history bans what the oracle bans."""
    history, encoder = torch.tensor([ids], dtype=torch.int64), torch.tensor([source], dtype=torch.int64)
    own, other = oracle.repeated_ngrams(ids, ids, size), oracle.repeated_ngrams(ids, source, size)
    own = own if len(ids) >= size else set()
    assert _banned(apply_no_repeat_ngram(torch.zeros(1, 5), history, size)) == own
    got = apply_encoder_no_repeat_ngram(torch.zeros(1, 5), history, size, encoder_token_ids=encoder)
    assert _banned(got) == other
    step = NoRepeatNgramStep(history[:, :start], size)
    encoder_step = EncoderNoRepeatNgramStep(history[:, :start], size, encoder_token_ids=encoder)
    for token in ids[start:]:
        step.advance(torch.tensor([token]))
        encoder_step.advance(torch.tensor([token]))
    assert _banned(step.apply(torch.zeros(1, 5))) == own
    assert _banned(encoder_step.apply(torch.zeros(1, 5))) == other


@pytest.mark.parametrize("tail", [1, 2, 5])
def test_the_index_takes_over_what_leaves_the_tail(monkeypatch: pytest.MonkeyPatch, tail: int) -> None:
    """With a tail of a few tokens nearly everything is found through the index, rows changing in between."""
    monkeypatch.setattr(NoRepeatNgramStep, "TAIL", tail)
    for seed in range(25):
        compare_step("no_repeat_ngram", seed)


@pytest.mark.parametrize("few", [0, 16])
def test_the_encoders_ngrams_by_index_and_row_by_row(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Both ways of the step ban what transformers bans, in every dtype, with sizes by row and rows changing."""
    monkeypatch.setattr(EncoderNoRepeatNgramStep, "FEW", few)
    for seed in range(60):
        compare_step("encoder_no_repeat_ngram", seed)


def test_a_row_on_its_way_to_a_first_context_bans_nothing() -> None:
    """4-grams, sequences of 0 to 3 tokens: 1 2 3 alone is followed by 4; beam 1 becomes a copy of beam 0."""
    source = torch.tensor([[1, 2, 3, 4, 9]])
    step = EncoderNoRepeatNgramStep(torch.empty(2, 0, dtype=torch.int64), 4, encoder_token_ids=source)
    for tokens in ([1, 3], [2, 2], [3, 1]):
        assert bool(step.apply(torch.zeros(2, 5)).isfinite().all())
        step.advance(torch.tensor(tokens))
    left = step.apply(torch.zeros(2, 5, dtype=torch.bfloat16))
    assert left.isneginf().nonzero().tolist() == [[0, 4]]
    step.select_rows(torch.tensor([0, 0]))
    assert step.apply(torch.zeros(2, 5)).isneginf().nonzero().tolist() == [[0, 4], [1, 4]]
    step.advance(torch.tensor([4, 0]))  # 2 3 4 was followed by 9, which a vocabulary of 5 does not have
    assert bool(step.apply(torch.zeros(2, 5)).isfinite().all())
    assert step.apply(torch.zeros(2, 10)).isneginf().nonzero().tolist() == [[0, 9]]


@pytest.mark.slow
def test_the_index_takes_over_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same over thousands of walks."""
    for seed in range(4000):
        monkeypatch.setattr(NoRepeatNgramStep, "TAIL", 1 + seed % 7)
        compare_step("no_repeat_ngram", seed)


def test_contexts_that_share_a_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash that is always 0 every context collides, and the answers stay the same."""
    monkeypatch.setattr(index_module, "_mix", lambda hashed, token_ids: hashed * 0)
    rng = random.Random(0)
    for _ in range(40):
        ids = [rng.randrange(4) for _ in range(rng.randint(3, 30))]
        size = rng.randint(1, 4)
        history = torch.tensor([ids])
        context = history[:, len(ids) - size + 1 :]
        _, found = NgramIndex(history, size).continuations(context, torch.tensor([0]))
        assert set(found.tolist()) == oracle.repeated_ngrams(ids, ids, size)


def test_the_index_holds_each_ngram_once() -> None:
    """1,000 times the same bigram, and one other: two entries."""
    ids = torch.tensor([[1, 2] * 500 + [1, 2]])
    index = NgramIndex(ids, 2)
    assert len(index._keys) == 2
    assert index.continuations(torch.tensor([[1]]), torch.tensor([0]))[1].tolist() == [2]


def test_the_index_answers_for_the_row_asked() -> None:
    """Token 1 was followed by 2 in row 0 and by 3 in row 1; queries 0 and 1 both ask row 1."""
    index = NgramIndex(torch.tensor([[1, 2], [1, 3]]), 2)
    query, found = index.continuations(torch.tensor([[1], [1]]), torch.tensor([1, 1]))
    assert (query.tolist(), found.tolist()) == ([0, 1], [3, 3])


# errors


def test_a_size_is_a_count() -> None:
    """Negative, fractional, and by row."""
    ids = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^ngram_size must be an integer >= 0; got -1$"):
        apply_no_repeat_ngram(torch.zeros(2, 4), ids, -1)
    with pytest.raises(ValueError, match=r"^ngram_size must be an integer >= 0; got 1.5 in row 1$"):
        NoRepeatNgramStep(ids, [1, 1.5])
    with pytest.raises(ValueError, match=r"^encoder_token_ids must be >= 0; got -2 in row 0$"):
        EncoderNoRepeatNgramStep(ids, 2, encoder_token_ids=torch.tensor([[-2]]))


def test_ids_are_those_of_tokens() -> None:
    """Checked by every function and step, by its own name for them."""
    ids, bad = torch.zeros(2, 3, dtype=torch.int64), torch.tensor([[1, 1], [1, -3]])
    with pytest.raises(ValueError, match=r"^encoder_token_ids must be >= 0; got -3 in row 1$"):
        apply_encoder_no_repeat_ngram(torch.zeros(2, 4), ids, 2, encoder_token_ids=bad)
    with pytest.raises(ValueError, match=r"^token_ids must be >= 0; got -3 in row 1$"):
        NoRepeatNgramStep(bad, 2)
    with pytest.raises(ValueError, match=r"^token_ids must be >= 0; got -3 in row 1$"):
        EncoderNoRepeatNgramStep(bad, 2, encoder_token_ids=ids)
