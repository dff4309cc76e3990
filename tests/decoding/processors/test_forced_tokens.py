"""Suppressed, forced and delayed tokens, masks over the vocabulary, guidance: golden values and errors."""

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import (
    AllowedTokensStep,
    ExponentialDecayStep,
    ForcedTokenStep,
    PrefixAllowedTokensStep,
    apply_begin_suppress_tokens,
    apply_exponential_decay,
    apply_finite,
    apply_forced_bos,
    apply_forced_eos,
    apply_guidance,
    apply_min_length,
    apply_min_new_tokens,
    apply_prefix_allowed_tokens,
    apply_suppress_tokens,
    apply_token_bitmask,
)
from afterlogits.decoding.grammar.bitmask import unpack_bits

INF = math.inf


def _same(got: torch.Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0, equal_nan=True)


# golden


def test_suppressed_tokens_for_all_rows_and_by_row() -> None:
    """Row 1 suppresses nothing; ids outside the vocabulary are ignored."""
    zeros = torch.zeros(2, 3)
    _same(apply_suppress_tokens(zeros, torch.tensor([2, 7])), [[0, 0, -INF]] * 2)
    _same(apply_suppress_tokens(zeros, [[0, 1], []]), [[-INF, -INF, 0], [0, 0, 0]])


def test_begin_suppress_acts_at_one_length() -> None:
    """The history has 2 tokens; only row 1 begins there."""
    ids = torch.zeros(2, 2, dtype=torch.int64)
    got = apply_begin_suppress_tokens(torch.zeros(2, 2), ids, [0], begin_index=[1, 2])
    _same(got, [[0, 0], [-INF, 0]])


def test_min_length_counts_the_prompt_and_min_new_tokens_does_not() -> None:
    """4 tokens, 3 of them the prompt: 4 < 5 but not < 4; 1 new token < 2."""
    ids = torch.zeros(2, 4, dtype=torch.int64)
    _same(apply_min_length(torch.zeros(2, 2), ids, [5, 4], eos_token_id=1), [[0, -INF], [0, 0]])
    got = apply_min_new_tokens(torch.zeros(2, 2), ids, [2, 1], prompt_length=3, eos_token_id=[[0], [1]])
    _same(got, [[-INF, 0], [0, 0]])


def test_forced_tokens() -> None:
    """BOS after one token, its own in every row; EOS one before the end."""
    ids = torch.zeros(2, 1, dtype=torch.int64)
    _same(apply_forced_bos(torch.ones(2, 2), ids, [[0], [1]]), [[0, -INF], [-INF, 0]])
    _same(apply_forced_eos(torch.ones(2, 2), ids, 1, max_length=[2, 3]), [[-INF, 0], [1, 1]])


def test_exponential_decay_raises_eos() -> None:
    """Two tokens past the start: 2 ** 2 - 1 = 3; -1 + 3 * 1 = 2, 0.5 + 3 * 0.5 = 2; -inf stays."""
    ids = torch.zeros(3, 4, dtype=torch.int64)
    logits = torch.tensor([[0.0, -1.0], [0.0, 0.5], [0.0, -INF]])
    got = apply_exponential_decay(logits, ids, 2.0, start=1, eos_token_id=1, prompt_length=1)
    _same(got, [[0, 2], [0, 2], [0, -INF]])


def test_exponential_decay_past_the_largest_float_is_infinite() -> None:
    """10 ** 400 overflows Python's float, where transformers raises OverflowError."""
    ids = torch.zeros(1, 401, dtype=torch.int64)
    _same(apply_exponential_decay(torch.tensor([[1.0]]), ids, 10.0, start=1, eos_token_id=0), [[INF]])


def test_decay_by_row_of_eos() -> None:
    """Each row has its own EOS and start; row 1 has not begun. One length for a shared factor."""
    step = ExponentialDecayStep(2.0, start=[0, 5], eos_token_id=[[0], [1]], batch_size=2, vocab_size=2, length=1)
    _same(step.apply(torch.ones(2, 2)), [[2, 1], [1, 1]])
    shared = ExponentialDecayStep(2.0, start=0, eos_token_id=[[0], [1]], batch_size=2, vocab_size=2, length=1)
    _same(shared.apply(torch.ones(2, 2)), [[2, 1], [1, 2]])


def test_bits_allow_tokens_lowest_first() -> None:
    """Bits 0 and 31 of the first word, bit 1 of the second: tokens 0, 31 and 33; one row of bits serves the batch."""
    bits = torch.tensor([[-(2**31) + 1, 0b10]], dtype=torch.int32)
    got = apply_token_bitmask(torch.zeros(2, 40), bits)
    assert [row.isfinite().nonzero()[:, 0].tolist() for row in got] == [[0, 31, 33]] * 2


def test_a_prefix_that_allows_only_masked_tokens_is_kept() -> None:
    """Item 0 may only take token 1, which is -inf in both beams: it becomes 0. Item 1 has one beam left."""
    logits = torch.tensor([[5.0, -INF], [5.0, -INF], [5.0, -INF], [5.0, 1.0]])
    ids = torch.zeros(4, 1, dtype=torch.int64)
    got = apply_prefix_allowed_tokens(logits, ids, lambda item, row: [1], num_beams=2)
    _same(got, [[-INF, 0], [-INF, 0], [-INF, -INF], [-INF, 1]])


def test_prefix_function_sees_the_item_and_the_history() -> None:
    """After rows 1 and 1 are kept, both belong to item 1, whatever their place."""
    calls = []

    def allowed(item: int, ids: torch.Tensor) -> list[int]:
        calls.append((item, ids.tolist()))
        return [0]

    step = PrefixAllowedTokensStep(torch.tensor([[4], [5]]), allowed)
    step.select_rows(torch.tensor([1, 1]))
    step.advance(torch.tensor([6, 7]))
    step.apply(torch.zeros(2, 3))
    assert calls == [(1, [5, 6]), (1, [5, 7])]


def test_finite_values() -> None:
    """NaN, +inf and -inf, in the range of the type."""
    half = torch.tensor([[math.nan, INF, -INF]], dtype=torch.float16)
    assert apply_finite(half).tolist() == [[0.0, 65504.0, -65504.0]]


def test_guidance_moves_away_from_the_unconditional_logits() -> None:
    """1 + (3 - 1) * 1.5 = 4 for raw logits; a scale of 1 is off and 0 is the unconditional prediction."""
    logits, other = torch.tensor([[3.0, 0.0]] * 2), torch.tensor([[1.0, 0.0]] * 2)
    _same(apply_guidance(logits, other, 1.5, normalize=False), [[4, 0], [4, 0]])
    got = apply_guidance(logits, other, [1.0, 0.0])
    torch.testing.assert_close(got[0], logits[0].log_softmax(0), rtol=0, atol=0)
    torch.testing.assert_close(got[1], other[1].log_softmax(0), rtol=0, atol=0)


# property


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=6))
def test_bits_equal_those_of_python(words: list[int]) -> None:
    """Bit j of word w is bit j of the integer."""
    expected = [bool(word >> j & 1) for word in words for j in range(32)]
    assert unpack_bits(torch.tensor([words], dtype=torch.int32))[0].tolist() == expected


def test_bits_are_read_the_same_on_a_machine_of_the_other_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that does not look at bytes gives the same tokens."""
    words = torch.randint(-(2**31), 2**31, (3, 4), generator=torch.Generator().manual_seed(0)).int()
    expected = unpack_bits(words)
    monkeypatch.setattr("sys.byteorder", "big")
    assert torch.equal(unpack_bits(words), expected)


# errors

IDS = torch.zeros(2, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: apply_suppress_tokens(x, [[0]]),
            "suppress_tokens must be one list, or one list per row, 2; got 1 lists",
        ),
        (
            lambda x: apply_suppress_tokens(x, torch.zeros(2)),
            "suppress_tokens must be integers of shape [] or [D]; got torch.float32 [2]",
        ),
        (
            lambda x: apply_min_length(x, IDS, [1, -1], eos_token_id=0),
            "min_length must be an integer >= 0; got -1 in row 1",
        ),
        (lambda x: apply_forced_bos(x, IDS, 3), "bos_token_id must be in [0, 3); got 3"),
        (
            lambda x: apply_forced_eos(x, IDS, [[0], [-1]], max_length=3),
            "eos_token_id must be in [0, 3); got -1 in row 1",
        ),
        (
            lambda x: apply_exponential_decay(x, IDS, 0.0, start=1, eos_token_id=0),
            "factor must be a finite number > 0; got 0.0",
        ),
        (
            lambda x: ForcedTokenStep(4, position=1, batch_size=2, vocab_size=3, length=1),
            "token_id must be in [0, 3); got 4",
        ),
        (
            lambda x: apply_token_bitmask(x, torch.zeros(2, 2).int()),
            "bitmask must be an int32 tensor of shape [2, 1]; got torch.int32 [2, 2]",
        ),
        (
            lambda x: apply_token_bitmask(x, torch.zeros(2, 1).long()),
            "bitmask must be an int32 tensor of shape [2, 1]; got torch.int64 [2, 1]",
        ),
        (
            lambda x: apply_prefix_allowed_tokens(x, IDS, lambda i, t: [0], num_beams=3),
            "num_beams must be >= 1 and divide the 2 rows of logits; got 3",
        ),
        (
            lambda x: PrefixAllowedTokensStep(IDS, lambda i, t: [0], num_beams=0),
            "num_beams must be >= 1 and divide the 2 rows; got 0",
        ),
        (
            lambda x: apply_prefix_allowed_tokens(x, IDS, lambda i, t: [0] * (1 - i)),
            "prefix_allowed_tokens_fn must return at least one token; got none for batch item 1",
        ),
        (
            lambda x: apply_guidance(x, x[:1], 2.0),
            "unconditional_logits must have the shape of logits, [2, 3]; got [1, 3]",
        ),
        (lambda x: apply_guidance(x, x, INF), "guidance_scale must be a finite number; got inf"),
    ],
)
def test_bad_options_are_refused(call: Any, message: str) -> None:
    """The argument, what it must be, what it is, and the row where there is one."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(torch.zeros(2, 3))


def test_allowed_tokens_follow_the_rows() -> None:
    """A step of [[0], None, [2]] after the first row left; nothing to advance."""
    step = AllowedTokensStep([[0], None, [2]], batch_size=3, vocab_size=3)
    step.advance(torch.tensor([0, 0, 0]))
    step.select_rows(torch.tensor([1, 2]))
    kept = step.apply(torch.zeros(2, 3)) == 0
    assert kept.tolist() == [[True, True, True], [False, False, True]]
