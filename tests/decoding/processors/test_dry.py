"""DRY: golden values, llama.cpp's algorithm written out, a sliding window, errors."""

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import DryStep, apply_dry
from tests.oracles import history as oracle

tokens = st.lists(st.integers(0, 4), max_size=24)
breakers = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), max_size=3)


def _same(got: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(got, torch.tensor([expected], dtype=torch.float32), rtol=0, atol=0)


# golden


def test_the_penalty_grows_with_the_repetition() -> None:
    """a b c ... a b: c extends 2 tokens, 0.8 * 1.75 ** 0; after a b c, d extends 3, 0.8 * 1.75."""
    zeros = torch.zeros(1, 5)
    _same(apply_dry(zeros, torch.tensor([[0, 1, 2, 3, 0, 1]]), 0.8), [0, 0, -0.8, 0, 0])
    _same(apply_dry(zeros, torch.tensor([[0, 1, 2, 3, 0, 1, 2]]), 0.8), [0, 0, 0, -1.4, 0])


def test_the_example_of_llama_cpp() -> None:
    """a b c c b c y a b c: c would extend 3, b 1 and y 2; base 2, from 1 on: 4, 1, 2."""
    a, b, c, y = 0, 1, 2, 3
    ids = torch.tensor([[a, b, c, c, b, c, y, a, b, c]])
    _same(apply_dry(torch.zeros(1, 4), ids, 1.0, base=2.0, allowed_length=1), [0, -1, -4, -2])


def test_a_repetition_stops_at_a_breaker_and_a_breaker_is_not_penalised() -> None:
    """0 1 2 0 1: with 1 as breaker nothing follows it; with 0, one token does; with 2, token 2 itself is spared."""
    ids = torch.tensor([[0, 1, 2, 0, 1]])
    for breaker, expected in ((1, 0.0), (0, 0.0), (2, 0.0), (4, -1.0)):
        _same(apply_dry(torch.zeros(1, 3), ids, 1.0, sequence_breakers=[breaker]), [0, 0, expected])


def test_off() -> None:
    """A multiplier of 0, a window of 0, and a history no longer than what is allowed."""
    zeros, ids = torch.zeros(1, 3), torch.tensor([[0, 1, 0, 1, 0, 1]])
    for options in ({"multiplier": 0.0}, {"penalty_last_n": 0}, {"allowed_length": 6}):
        _same(apply_dry(zeros, ids, **{"multiplier": 1.0, **options}), [0, 0, 0])


# property


@settings(derandomize=True, max_examples=120, deadline=None)
@given(
    tokens,
    st.sampled_from([0.0, 0.8, 2.0]),
    st.sampled_from([1.0, 1.1, 1.75, 1e6]),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(0, 26)),
    breakers,
    st.integers(0, 24),
)
def test_function_and_step_equal_the_algorithm(
    ids: list[int], multiplier: float, base: float, allowed: int, last_n: int | None, cut: Any, start: int
) -> None:
    """A vocabulary of 4 tokens, so that id 4 is outside it."""
    expected = oracle.dry([0.5] * 4, ids, multiplier, base, allowed, last_n, cut)
    history = torch.tensor([ids], dtype=torch.int64)
    options = {"base": base, "allowed_length": allowed, "penalty_last_n": last_n, "sequence_breakers": cut}
    _same(apply_dry(torch.full((1, 4), 0.5), history, multiplier, **options), expected)  # type: ignore[arg-type]
    step = DryStep(history[:, :start], multiplier, **options)  # type: ignore[arg-type]
    for token in ids[start:]:
        step.advance(torch.tensor([token]))
    _same(step.apply(torch.full((1, 4), 0.5)), expected)


def test_logits_that_are_not_contiguous_take_the_other_way() -> None:
    """A transposed batch goes through the path that devices use, with the same result."""
    generator = torch.Generator().manual_seed(2)
    logits, ids = torch.randn(6, 4, generator=generator), torch.randint(0, 5, (4, 30), generator=generator)
    step = DryStep(ids, [0.0, 0.8, 1.0, 2.0], allowed_length=1, sequence_breakers=[0])
    expected = step.apply(logits.T.contiguous())
    torch.testing.assert_close(step.apply(logits.clone().T), expected, rtol=0, atol=0)


def test_a_window_bounds_what_a_step_holds() -> None:
    """500 steps with a window of 8 hold at most the buffer's room, not 500 tokens."""
    step = DryStep(torch.zeros(2, 3, dtype=torch.int64), 1.0, penalty_last_n=8)
    for i in range(500):
        step.advance(torch.tensor([i % 3, i % 5]))
    assert step._stop - step._start == 8
    assert step._ids.shape[1] < 100


@pytest.mark.parametrize("allowed", [0, 2])
@pytest.mark.parametrize("last_n", [None, 6])
def test_the_path_for_devices_equals_the_one_for_the_cpu(allowed: int, last_n: int | None) -> None:
    """It compares whole histories and reads nothing back; here it runs on the CPU, along a walk with rows changing."""
    generator = torch.Generator().manual_seed(4)
    start = torch.randint(0, 3, (3, 5), generator=generator)
    options: Any = {"allowed_length": allowed, "penalty_last_n": last_n, "sequence_breakers": [(2, 2)]}
    here, there = DryStep(start, 0.8, **options), DryStep(start, 0.8, **options)
    there._on_cpu, there._matches = False, None
    for step in range(60):
        logits = torch.randn(3, 4, generator=generator)
        torch.testing.assert_close(there.apply(logits.clone()), here.apply(logits.clone()), rtol=0, atol=0)
        token = torch.randint(0, 3, (3,), generator=generator)
        for one in (here, there):
            one.advance(token)
            if step % 20 == 9:
                one.select_rows(torch.tensor([1, 1, 0]))


# errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multiplier": -1.0}, "multiplier must be a finite number >= 0; got -1.0"),
        ({"base": [1.0, 0.5]}, "base must be a finite number >= 1; got 0.5 in row 1"),
        ({"allowed_length": -1}, "allowed_length must be an integer >= 0; got -1"),
        ({"penalty_last_n": -1}, "penalty_last_n must be an integer >= 0; got -1"),
        (
            {"sequence_breakers": [[]]},
            "sequence_breakers must be token ids or sequences of at least one; got an empty sequence",
        ),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    """The argument, what it must be, what it is."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        apply_dry(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.int64), **{"multiplier": 1.0, **options})
