"""Mirostat v2 and adaptive-p, which steer by the tokens that were drawn: golden values, oracles, errors."""

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import AdaptivePStep, MirostatStep, apply_adaptive_p, apply_mirostat
from tests.oracles import history as oracle

INF = math.inf
row = st.lists(st.one_of(st.floats(-20, 20, width=32), st.just(-INF)), min_size=2, max_size=8).filter(
    lambda x: max(x) > -INF
)


def _kept(logits: torch.Tensor) -> set[int]:
    return set((~logits[0].isneginf()).nonzero()[:, 0].tolist())


# golden


def test_mirostat_keeps_up_to_the_limit_and_always_the_best() -> None:
    """Probabilities 1/2, 1/4, 1/8, 1/8 surprise by 1, 2, 3, 3 bits."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log2() * math.log(2)
    assert _kept(apply_mirostat(logits, 2.5)) == {0, 1}
    assert _kept(apply_mirostat(logits, 0.5)) == {0}
    assert _kept(apply_mirostat(logits, INF)) == {0, 1, 2, 3}


def test_mirostat_learns_from_the_token_drawn() -> None:
    """Two equal tokens: surprise 1; mu = 2 * 3 - 0.5 * (1 - 3) = 7. A token that was not kept teaches nothing."""
    step = MirostatStep(batch_size=2, target_surprise=3.0, learning_rate=0.5)
    step.apply(torch.tensor([[0.0, 0.0, -INF], [0.0, 0.0, -INF]]))
    step.advance(torch.tensor([1, 2]))
    assert step.max_surprise.tolist() == [7.0, 6.0]


def test_mirostat_settings_and_limits_follow_their_rows() -> None:
    """Limits 4 and 8 change places between the mask and the draw; an infinite target is off."""
    step = MirostatStep(batch_size=2, target_surprise=[2.0, 4.0], learning_rate=[0.5, 1.0])
    step.apply(torch.zeros(2, 2))
    step.select_rows(torch.tensor([1, 0]))
    step.advance(torch.tensor([0, 0]))  # surprise 1: 8 - 1 * (1 - 4) and 4 - 0.5 * (1 - 2)
    assert step.max_surprise.tolist() == [11.0, 4.5]
    off = MirostatStep(batch_size=1, target_surprise=INF)
    assert torch.equal(off.apply(torch.tensor([[0.0, -50.0]])), torch.tensor([[0.0, -50.0]]))
    off.advance(torch.tensor([1]))
    assert off.max_surprise.tolist() == [INF]


def test_adaptive_p_prefers_the_target() -> None:
    """p = 1/2 is the target: 5. For p = 1/4 and a target of 0.55, d = 1: 5 - 10 / 2 = 0."""
    logits = torch.tensor([[0.0, 0.0]])
    torch.testing.assert_close(apply_adaptive_p(logits, 0.5), torch.tensor([[5.0, 5.0]]))
    torch.testing.assert_close(apply_adaptive_p(torch.zeros(1, 4), 0.55), torch.zeros(1, 4), rtol=0, atol=1e-5)
    assert torch.equal(apply_adaptive_p(logits, -1.0), logits)


def test_adaptive_p_aims_against_the_average() -> None:
    """Target 0.5, decay 0.5: weight 2, sum 1. After p = 1: sum 1.5, weight 2; aim 1 - 0.75 = 0.25."""
    step = AdaptivePStep(batch_size=1, target=0.5, decay=0.5)
    assert step.aim().tolist() == [0.5]
    step.apply(torch.tensor([[0.0, -INF]]))
    step.advance(torch.tensor([0]))
    assert step.aim().tolist() == [0.25]


def test_adaptive_p_rows_keep_their_state_and_a_negative_target_is_off() -> None:
    """Row 0 steers, row 1 does not; after exchanging them the unchanged row is row 0."""
    step = AdaptivePStep(batch_size=2, target=[0.5, -1.0], decay=[0.5, 0.9])
    logits = torch.tensor([[0.0, -INF], [1.0, 2.0]])
    step.apply(logits)
    step.select_rows(torch.tensor([1, 0]))
    step.advance(torch.tensor([0, 0]))
    assert step.aim().tolist() == [-1.0, 0.25]
    got = step.apply(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
    assert got[0].tolist() == [1.0, 2.0]
    assert got[1, 0] == got[1, 1]
    step.select_rows(torch.tensor([0]))
    assert step.weighted_sum.shape == (1,)


# property


@settings(derandomize=True, max_examples=80, deadline=None)
@given(row, st.floats(0.1, 12))
def test_mirostat_keeps_what_the_algorithm_keeps(logits: list[float], limit: float) -> None:
    """Limits closer than 1e-4 bits to a surprise are left out: float32 decides them."""
    kept = oracle.mirostat_kept(logits, limit)
    if kept == oracle.mirostat_kept(logits, limit + 1e-4) == oracle.mirostat_kept(logits, limit - 1e-4):
        got = _kept(apply_mirostat(torch.tensor([logits]), limit))
        best = {i for i, x in enumerate(logits) if x == max(logits)}
        assert got == kept or (len(kept) == 1 and kept <= best and got == {min(best)})


@settings(derandomize=True, max_examples=80, deadline=None)
@given(row, st.floats(0, 1))
def test_adaptive_p_equals_its_formula(logits: list[float], target: float) -> None:
    """In float64, to the precision of float32."""
    expected = torch.tensor([oracle.adaptive_p(logits, target)])
    torch.testing.assert_close(apply_adaptive_p(torch.tensor([logits]), target), expected, rtol=1e-4, atol=1e-4)


# statistics


def test_mirostat_reaches_its_target() -> None:
    """Over 600 draws from a broad distribution the mean surprise of the tokens comes within 0.3 bits of 3.

    A draw's surprise has a standard deviation below 1.2 here, that of 500 draws' mean is below 0.06.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2000, generator=generator) * 2
    step = MirostatStep(batch_size=1, target_surprise=3.0, learning_rate=0.2)
    seen = []
    for _ in range(600):
        probs = step.apply(logits.clone()).softmax(-1)
        token = torch.multinomial(probs, 1, generator=generator)[:, 0]
        seen.append(-float(probs[0, token].log2()))
        step.advance(token)
    assert abs(sum(seen[100:]) / 500 - 3.0) < 0.3


# errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: MirostatStep(batch_size=2, target_surprise=[1.0, 0.0]),
            ValueError,
            "target_surprise must be > 0; got 0 in row 1",
        ),
        (
            lambda: MirostatStep(batch_size=1, learning_rate=INF),
            ValueError,
            "learning_rate must be a finite number; got inf",
        ),
        (lambda: apply_mirostat(torch.zeros(1, 2), math.nan), ValueError, "max_surprise must be a number; got nan"),
        (lambda: AdaptivePStep(batch_size=1, target=1.5), ValueError, "target must be <= 1; got 1.5"),
        (lambda: AdaptivePStep(batch_size=1, target=0.5, decay=1.0), ValueError, "decay must be in [0, 0.99]; got 1.0"),
        (
            lambda: MirostatStep(batch_size=1).advance(torch.tensor([0])),
            RuntimeError,
            "MirostatStep.advance must follow apply; got no apply in this step",
        ),
        (
            lambda: AdaptivePStep(batch_size=1, target=0.5).advance(torch.tensor([0])),
            RuntimeError,
            "AdaptivePStep.advance must follow apply; got no apply in this step",
        ),
    ],
)
def test_bad_options_are_refused(call: Any, error: type[Exception], message: str) -> None:
    """The argument, what it must be, what it is, and the row where there is one."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
