"""Logit bias, sequence bias, bad words: golden values, an oracle, errors."""

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import LogitBiasStep, apply_bad_words, apply_logit_bias, apply_sequence_bias
from tests.oracles import history as oracle

INF = math.inf
sequences = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)
biases = st.dictionaries(sequences, st.integers(-8, 8).map(float), min_size=1, max_size=10)


def _same(got: torch.Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0)


# golden


def test_logit_bias_of_the_batch_of_rows_and_as_a_tensor() -> None:
    """The same bias written three ways."""
    zeros = torch.zeros(2, 3)
    _same(apply_logit_bias(zeros, {2: 1.5}), [[0, 0, 1.5]] * 2)
    _same(apply_logit_bias(zeros, [{2: 1.5}, {0: -INF}]), [[0, 0, 1.5], [-INF, 0, 0]])
    _same(apply_logit_bias(zeros, torch.tensor([0.0, 0.0, 1.5])), [[0, 0, 1.5]] * 2)


def test_a_dense_logit_bias_follows_its_rows() -> None:
    """Row 1 twice, then row 0."""
    step = LogitBiasStep(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), batch_size=2, vocab_size=2)
    step.select_rows(torch.tensor([1, 1, 0]))
    step.advance(torch.tensor([0, 0, 0]))
    _same(step.apply(torch.zeros(3, 2)), [[3, 4], [3, 4], [1, 2]])
    shared = LogitBiasStep(torch.tensor([1.0, 2.0]), batch_size=2, vocab_size=2)
    shared.select_rows(torch.tensor([0]))
    _same(shared.apply(torch.zeros(1, 2)), [[1, 2]])


def test_sequence_biases_that_meet_add_up() -> None:
    """After 0 1: (1, 2), (0, 1, 2) and (2,) all end in 2: -2 + 4 + 1 = 3. (0, 2) does not apply."""
    bias = {(1, 2): -2.0, (0, 1, 2): 4.0, (2,): 1.0, (0, 2): 9.0}
    _same(apply_sequence_bias(torch.zeros(1, 3), torch.tensor([[0, 1]]), bias), [[0, 0, 3]])


def test_bad_words_leave_a_single_eos_out() -> None:
    """[1] is EOS, so only the sequence ending in it is banned, and only after 0."""
    words = [[1], [0, 1], [2]]
    _same(apply_bad_words(torch.zeros(1, 3), torch.tensor([[5]]), words, eos_token_id=1), [[0, 0, -INF]])
    _same(apply_bad_words(torch.zeros(1, 3), torch.tensor([[0]]), words, eos_token_id=[1]), [[0, -INF, -INF]])


def test_bad_words_per_row_and_none_at_all() -> None:
    """Row 1 has no bad words; an empty list bans nothing."""
    ids = torch.tensor([[0], [0]])
    _same(apply_bad_words(torch.zeros(2, 2), ids, [[[1]], []]), [[0, -INF], [0, 0]])
    _same(apply_bad_words(torch.zeros(2, 2), ids, []), [[0, 0], [0, 0]])


# property


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=6), biases)
def test_sequence_bias_equals_the_oracle(ids: list[int], bias: dict[tuple[int, ...], float]) -> None:
    """Whole biases, so that no order of addition rounds; as a mapping, as the saved form, and per row."""
    history = torch.tensor([ids], dtype=torch.int64)
    expected = [oracle.sequence_bias(5, ids, bias)]
    saved = [[list(sequence), value] for sequence, value in bias.items()]
    for form in (bias, saved, [bias]):
        _same(apply_sequence_bias(torch.zeros(1, 5), history, form), expected)


# errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, i: apply_logit_bias(x, {9: 1.0}), ValueError, "bias must hold token ids in [0, 3); got 9"),
        (
            lambda x, i: apply_logit_bias(x, [{1: 1.0}, {-1: 1.0}]),
            ValueError,
            "bias must hold token ids in [0, 3); got -1 in row 1",
        ),
        (lambda x, i: apply_logit_bias(x, torch.zeros(4)), ValueError, "bias must have shape [3] or [2, 3]; got [4]"),
        (
            lambda x, i: LogitBiasStep(torch.zeros(4), batch_size=2, vocab_size=3),
            ValueError,
            "bias must have shape [3] or [2, 3]; got [4]",
        ),
        (
            lambda x, i: apply_logit_bias(x, [{1: 1.0}]),
            ValueError,
            "bias must be one mapping, or one per row, 2; got 1",
        ),
        (
            lambda x, i: apply_sequence_bias(x, i, {(): 1.0}),
            ValueError,
            "sequence_bias must hold sequences of at least one token; got an empty one",
        ),
        (
            lambda x, i: apply_sequence_bias(x, i, [[1, 2.0]]),
            TypeError,
            "sequence_bias must map sequences of token ids to numbers; got [[1, 2.0]]",
        ),
        (
            lambda x, i: apply_bad_words(x, i, [3]),
            TypeError,
            "bad_words_ids must be a list of lists of token ids; got 3 in it",
        ),
    ],
)
def test_bad_lists_are_refused(call: Any, error: type[Exception], message: str) -> None:
    """The argument, what it must be, what it is, and the row where there is one."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.int64))
