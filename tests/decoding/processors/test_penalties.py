"""Repetition, encoder repetition, presence and frequency penalties: golden values, an oracle, errors."""

import math
import random
import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import (
    CountPenaltyStep,
    EncoderRepetitionPenaltyStep,
    RepetitionPenaltyStep,
    apply_encoder_repetition_penalty,
    apply_frequency_penalty,
    apply_presence_penalty,
    apply_repetition_penalty,
)
from afterlogits.decoding.processors import token_counts as tables
from afterlogits.decoding.processors.token_counts import SeenSet, SeenTokens
from tests.oracles import history as oracle

INF = math.inf
tokens = st.lists(st.integers(0, 8), min_size=0, max_size=20)
logit = st.one_of(st.floats(-50, 50, width=32), st.just(-INF), st.just(0.0))
row = st.lists(logit, min_size=6, max_size=6)


def _same(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


# golden


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    """Tokens 0 and 1 were seen: 3 / 1.5 = 2, -2 * 1.5 = -3; token 2 was not."""
    logits = torch.tensor([[3.0, -2.0, 1.0]])
    _same(apply_repetition_penalty(logits, torch.tensor([[0, 1, 0]]), 1.5), torch.tensor([[2.0, -3.0, 1.0]]))


def test_repetition_penalty_below_one_rewards() -> None:
    """3 / 0.5 = 6, -2 * 0.5 = -1."""
    logits = torch.tensor([[3.0, -2.0]])
    _same(apply_repetition_penalty(logits, torch.tensor([[0, 1]]), 0.5), torch.tensor([[6.0, -1.0]]))


def test_repetition_penalty_leaves_left_padding_out() -> None:
    """Pad token 0 fills one place of row 0 and none of row 1, so that only row 1 is penalised at 0."""
    logits, ids = torch.ones(2, 3), torch.tensor([[0, 1], [0, 1]])
    expected = torch.tensor([[1.0, 0.5, 1.0], [0.5, 0.5, 1.0]])
    _same(apply_repetition_penalty(logits, ids, 2.0, ignore_length=[1, 0]), expected)


def test_repetition_penalty_mixes_rewards_and_penalties_by_row() -> None:
    """Row 0: 4 / 2 = 2, -4 * 2 = -8. Row 1: 4 / 0.5 = 8, -4 * 0.5 = -2."""
    logits, ids = torch.tensor([[4.0, -4.0]] * 2), torch.tensor([[0, 1]] * 2)
    _same(apply_repetition_penalty(logits, ids, [2.0, 0.5]), torch.tensor([[2.0, -8.0], [8.0, -2.0]]))


def test_encoder_repetition_penalty_is_the_inverse() -> None:
    """1 / 2 = 0.5: 4 / 0.5 = 8, -4 * 0.5 = -2; the second input is for rows 2 and 3, its beams."""
    logits = torch.tensor([[4.0, -4.0]]).repeat(4, 1)
    got = apply_encoder_repetition_penalty(logits, torch.tensor([[0], [1]]), 2.0)
    _same(got, torch.tensor([[8.0, -4.0], [8.0, -4.0], [4.0, -2.0], [4.0, -2.0]]))


def test_presence_penalty_counts_once_and_frequency_each_time() -> None:
    """Token 0 occurs twice: presence 1 - 0.25, frequency 1 - 2 * 0.25."""
    logits, ids = torch.ones(1, 2), torch.tensor([[0, 0]])
    _same(apply_presence_penalty(logits, ids, 0.25), torch.tensor([[0.75, 1.0]]))
    _same(apply_frequency_penalty(logits, ids, 0.25), torch.tensor([[0.5, 1.0]]))


def test_a_float32_tensor_means_the_number_it_was_written_as() -> None:
    """float32(1.1) is read as 1.1, so that the tensor and the number agree for float64 logits too."""
    logits, ids = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([[0]])
    _same(apply_repetition_penalty(logits, ids, torch.tensor([1.1])), apply_repetition_penalty(logits, ids, 1.1))


# property


@settings(derandomize=True, max_examples=60, deadline=None)
@given(row, tokens, st.floats(0.0625, 8, width=32))
def test_repetition_penalty_equals_the_oracle(logits: list[float], ids: list[int], penalty: float) -> None:
    """Function, and step from an empty history on."""
    expected = torch.tensor([oracle.repetition_penalty(logits, ids, penalty)])
    history = torch.tensor([ids], dtype=torch.int64)
    _same(apply_repetition_penalty(torch.tensor([logits]), history, penalty), expected)
    step = RepetitionPenaltyStep(history[:, :0], penalty, vocab_size=6)
    for token in ids:
        step.advance(torch.tensor([token]))
    _same(step.apply(torch.tensor([logits])), expected)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(row, tokens, st.floats(-4, 4, width=32), st.floats(-4, 4, width=32))
def test_count_penalties_equal_the_oracle(logits: list[float], ids: list[int], often: float, once: float) -> None:
    """Frequency, then presence."""
    expected = torch.tensor([oracle.count_penalties(logits, ids, often, once)])
    history = torch.tensor([ids], dtype=torch.int64)
    got = apply_presence_penalty(apply_frequency_penalty(torch.tensor([logits]), history, often), history, once)
    _same(got, expected)
    step = CountPenaltyStep(history[:, :0], frequency_penalty=often, presence_penalty=once, vocab_size=6)
    for token in ids:
        step.advance(torch.tensor([token]))
    _same(step.apply(torch.tensor([logits])), expected)


def test_a_penalty_too_large_for_float32_is_infinite() -> None:
    """1e300 rounds to infinity: 1 / inf = 0, -1 * inf = -inf, and 0 / inf = 0, not the NaN of 0 * inf."""
    logits = torch.tensor([[1.0, -1.0, 0.0]])
    _same(apply_repetition_penalty(logits, torch.tensor([[0, 1, 2]]), 1e300), torch.tensor([[0.0, -INF, 0.0]]))


def test_many_rows_are_treated_in_parts() -> None:
    """300 rows of up to 60 different tokens are several parts of the cache-sized kind; each row stands alone."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 80, generator=generator)
    ids = torch.randint(0, 80, (300, 90), generator=generator)
    whole = apply_repetition_penalty(logits, ids, 1.3)
    counted = CountPenaltyStep(ids, frequency_penalty=0.5, presence_penalty=0.25, vocab_size=80).apply(logits.clone())
    for i in range(0, 300, 37):
        _same(apply_repetition_penalty(logits[i : i + 1], ids[i : i + 1], 1.3), whole[i : i + 1])
        expected = oracle.count_penalties(logits[i].tolist(), ids[i].tolist(), 0.5, 0.25)
        _same(counted[i], torch.tensor(expected))


def test_repeats_are_dropped_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """With repeats dropped every 3 steps, 200 steps over 5 tokens never hold more than 5 + 3 slots."""
    monkeypatch.setattr(tables, "ROOM", 3)
    step = RepetitionPenaltyStep(torch.zeros(2, 0, dtype=torch.int64), 2.0, vocab_size=5)
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        step.advance(torch.randint(0, 6, (2,), generator=generator))
        assert step.seen.ids.shape[1] <= 8
    _same(step.apply(torch.ones(2, 5)), torch.full((2, 5), 0.5))


def test_a_row_that_has_seen_nothing_keeps_its_logits() -> None:
    """Only ids outside the vocabulary, or only ignored ones."""
    logits, ids = torch.tensor([[2.0, -2.0]]), torch.tensor([[7, 9]])
    _same(apply_repetition_penalty(logits, ids, 3.0), logits)
    _same(RepetitionPenaltyStep(ids, 3.0, vocab_size=2).apply(logits.clone()), logits)
    _same(EncoderRepetitionPenaltyStep(ids, 3.0, vocab_size=2, batch_size=1).apply(logits.clone()), logits)
    _same(apply_presence_penalty(logits, torch.tensor([[0, 1]]), 3.0, ignore_length=2), logits)
    step = CountPenaltyStep(ids, frequency_penalty=1.0, presence_penalty=1.0, vocab_size=2)
    _same(step.apply(logits.clone()), logits)


def test_the_table_grows_with_different_tokens_not_with_the_history() -> None:
    """1,000 steps over 10 tokens fill 10 slots, each counted 1,000 times over all."""
    seen = SeenTokens(torch.zeros(1, 0, dtype=torch.int64), 10)
    for i in range(1000):
        seen.advance(torch.tensor([i % 10]))
    assert seen.ids.shape == (1, 10)
    assert seen.counts.tolist() == [[100.0] * 10]


def test_tables_are_sorted_again_only_when_their_room_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 new tokens in a room of 100 columns: laid out once at the start and 2 or 3 times later, not 300 times."""
    monkeypatch.setattr(tables, "ROOM", 100)
    for kind in (SeenTokens, SeenSet):
        table, laid_out = kind(torch.zeros(1, 1, dtype=torch.int64), 1000), []
        lay_out = table._lay_out
        monkeypatch.setattr(table, "_lay_out", lambda *a, lay_out=lay_out, seen=laid_out: (seen.append(1), lay_out(*a)))
        for token in range(300):
            table.advance(torch.tensor([token]))
        assert 2 <= len(laid_out) <= 3


@pytest.mark.parametrize("device_path", [False, True])
def test_tables_equal_counting_along_a_walk(monkeypatch: pytest.MonkeyPatch, device_path: bool) -> None:
    """Counts and members against collections.Counter, the room used up often, rows dropped, repeated and exchanged.

    The path for devices, which reads nothing back, runs on the CPU here.
    """
    monkeypatch.setattr(tables, "ROOM", 4)
    rng = random.Random(5)
    for walk in range(60):
        rows, vocab_size = rng.randint(1, 4), rng.choice([3, 8, 40])
        draw = lambda: rng.randrange(vocab_size + (walk % 2))  # noqa: B023, E731 - every other walk leaves the vocabulary
        ids = [[draw() for _ in range(walk % 7)] for _ in range(rows)]
        ignored = [rng.choice([0, 0, walk % 7, 9]) for _ in range(rows)]
        start = torch.tensor(ids, dtype=torch.int64).reshape(rows, -1)
        counts, members = (kind(start, vocab_size, torch.tensor(ignored)) for kind in (SeenTokens, SeenSet))
        if device_path:
            counts._on_cpu = False
        for _ in range(25):
            step = [draw() for _ in ids]
            for table in (counts, members):
                table.advance(torch.tensor(step))
            ids = [[*row, token] for row, token in zip(ids, step, strict=True)]
            if rng.random() < 0.2:
                kept = [rng.randrange(len(ids)) for _ in range(rng.randint(1, 4))]
                ids, ignored = [ids[row] for row in kept], [ignored[row] for row in kept]
                for table in (counts, members):
                    table.select_rows(torch.tensor(kept))
            for row, (history, leading) in enumerate(zip(ids, ignored, strict=True)):
                expected = Counter(token for token in history[leading:] if token < vocab_size)
                pairs = set(zip(counts.ids[row].tolist(), counts.counts[row].tolist(), strict=True))
                assert pairs == (set(expected.items()) or {(0, 0.0)})
                assert int(counts.used[row]) == len(expected)
                assert bool(members.empty[row]) == (not expected)
                assert not expected or set(members.ids[row].tolist()) == set(expected)


# errors


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (0.0, "penalty must be a finite number > 0; got 0.0"),
        ([1.0, -1.0], "penalty must be a finite number > 0; got -1 in row 1"),
        ([1.0], "penalty must be a number or of shape [2], one per row; got [1]"),
    ],
)
def test_repetition_penalty_refuses(penalty: object, message: str) -> None:
    """The option and the row are named, by the function and by the step."""
    ids = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        apply_repetition_penalty(torch.zeros(2, 3), ids, penalty)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RepetitionPenaltyStep(ids, penalty, vocab_size=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("token_ids", "message"),
    [
        (torch.zeros(2, 1), "token_ids must be an int64 or int32 tensor of shape [B, T]; got torch.float32 [2, 1]"),
        (torch.zeros(3, 1).long(), "token_ids must have one row per row of logits, 2; got 3"),
        (torch.tensor([[1], [-4]]), "token_ids must be >= 0; got -4 in row 1"),
    ],
)
def test_a_bad_history_is_refused(token_ids: torch.Tensor, message: str) -> None:
    """Shape, type and negative ids."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        apply_repetition_penalty(torch.zeros(2, 3), token_ids, 1.2)


def test_a_history_must_be_a_tensor() -> None:
    """A list is a TypeError."""
    with pytest.raises(TypeError, match=r"^token_ids must be a tensor; got list$"):
        apply_presence_penalty(torch.zeros(1, 3), [[1]], 1.2)  # type: ignore[arg-type]


def test_encoder_rows_must_divide_the_batch() -> None:
    """Three inputs cannot have four rows of beams."""
    message = r"^encoder_token_ids must have a number of rows that divides 4; got 3$"
    with pytest.raises(ValueError, match=message):
        apply_encoder_repetition_penalty(torch.zeros(4, 3), torch.zeros(3, 1).long(), 2.0)
