"""Every option at its limits, on rows with large gaps, ties and -inf: one token a row, or an error naming the row."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from afterlogits import sample
from afterlogits.decoding import apply_dynamic_temperature
from afterlogits.decoding.sampling.adaptive_p import AdaptivePStep
from afterlogits.decoding.sampling.mirostat import MirostatStep

INF = math.inf
DENORMAL, TINY, HUGE, NEAR_ONE = 1e-45, 1e-30, 1e30, 1 - 1e-7
LIMITS: dict[str, list[float]] = {
    "temperature": [DENORMAL, 1e-38, TINY, 1e-6, 1.0, HUGE, 3e38, 0.0],
    "top_k": [1, 2, 10**9],
    "top_p": [0.0, DENORMAL, 1e-7, 0.5, NEAR_ONE, 1.0],
    "min_p": [0.0, DENORMAL, 0.5, 1.0],
    "typical_p": [TINY, 0.5, 1.0],
    "epsilon_cutoff": [0.0, TINY, 0.5, NEAR_ONE],
    "eta_cutoff": [0.0, TINY, 0.5, NEAR_ONE],
    "top_h": [TINY, 0.5, 1.0],
    "top_n_sigma": [0.0, DENORMAL, 1.0, HUGE],
    "xtc_probability": [0.0, 1.0],
    "xtc_threshold": [0.0, DENORMAL, 0.5, 1.0],
    "dynamic_temperature": [0.0, DENORMAL, 1.0, HUGE],
    "dynamic_exponent": [TINY, 1.0, 1e3],
    "mirostat_tau": [TINY, 5.0, HUGE],
    "mirostat_eta": [0.0, HUGE],
    "adaptive_target": [0.0, DENORMAL, 0.5, 1.0],
    "adaptive_decay": [0.0, 0.99],
}
PAIRS: list[dict[str, Any]] = [
    {"dynamic_temperature": spread, "dynamic_exponent": power, "temperature": middle}
    for spread in (1.0, 1e-3)
    for power in (0.1, 5.0, 50.0)
    for middle in (1.0, 1e-3)
] + [
    {"temperature": temperature, name: values[1]}
    for temperature in (DENORMAL, TINY, HUGE)
    for name, values in LIMITS.items()
    if name != "temperature"
]
CASES: list[dict[str, Any]] = [{name: value} for name, values in LIMITS.items() for value in values] + PAIRS


def rows_of(vocab_size: int) -> Tensor:
    """One logit among equal others, with gaps from 1e-40 to 1e38 and -inf; random ones, wide and narrow and masked."""
    generator = torch.Generator().manual_seed(0)
    pairs = [
        *((1.0, 0.0), (30.0, 0.0), (0.0, 1.0), (200.0, 0.0), (HUGE, -HUGE), (0.0, 0.0), (5.0, -INF), (3.4e38, 0.0)),
        *((-3.4e38, -3.4e38), (1e-40, 0.0), (-30.0, -31.0), (-1.0, -INF), (0.0, -0.0)),
    ]
    rows = torch.tensor([rest for _, rest in pairs])[:, None].repeat(1, vocab_size)
    where = torch.randint(vocab_size, (len(pairs),), generator=generator)
    rows[torch.arange(len(pairs)), where] = torch.tensor([one for one, _ in pairs])
    random = torch.randn(3, vocab_size, generator=generator) * torch.tensor([[100.0], [1e-3], [1.0]])
    random[2, ::2] = -INF
    return torch.cat((rows, random))


@pytest.mark.parametrize(("vocab_size", "batch_size"), [(2, 1), (2, 16), (40, 3), (3000, 1), (3000, 16)])
def test_a_draw_is_one_token_a_row_or_a_named_error(vocab_size: int, batch_size: int) -> None:
    """4,000 draws, with torch's stream and with seeds; no token is drawn whose logit is -inf."""
    rows = rows_of(vocab_size)
    for options in CASES:
        for first in range(0, len(rows), batch_size):
            logits = rows[first : first + batch_size]
            for seeds in (None, list(range(len(logits)))):
                torch.manual_seed(first)
                try:
                    tokens = sample(logits, **options, seeds=seeds)
                except ValueError as error:
                    assert " in row " in str(error), (options, error)
                    continue
                assert tokens.shape == (len(logits),), (options, first)
                assert bool((logits.gather(1, tokens[:, None]) > -INF).all()), (options, first)


def test_dynamic_temperature_that_underflows() -> None:
    """The entropy of [30, 0] to the fifth power is 0 in float32: llama.cpp keeps [30, -inf]."""
    rows = torch.tensor([[1.0, 0.0], [30.0, 0.0], [0.0, 1.0]])
    found = apply_dynamic_temperature(rows, 1.0, spread=1.0, exponent=5.0)
    assert found[1].tolist() == [30.0, -INF]
    torch.testing.assert_close(found[0], torch.tensor([1.1959825, 0.0]))
    options = {"temperature": 1.0, "dynamic_temperature": 1.0, "dynamic_exponent": 5.0}
    assert sample(rows, **options, seeds=[1, 2, 3]).shape == (3,)
    torch.manual_seed(0)
    assert sample(rows, **options)[1] == 0


def test_an_overflow_is_named() -> None:
    """As transformers raises where the quotient by the temperature is infinite; the row and what is on are named."""
    for seeds in (None, [1, 2]):
        with pytest.raises(ValueError) as caught:
            sample(torch.tensor([[0.0, -INF], [30.0, 0.0]]), temperature=DENORMAL, typical_p=0.5, seeds=seeds)
        assert "temperature, typical_p must leave a finite logit to draw; got" in str(caught.value)


def test_adaptive_p_learns_from_draws_alone() -> None:
    """A forced token, which was masked or which the draw did not give, leaves the average where it was."""
    logits = torch.tensor([[1.0, 0.0, -INF], [1.0, 0.0, -INF]])
    for step in (
        AdaptivePStep(batch_size=2, target=0.5, decay=0.5),
        MirostatStep(batch_size=2, target_surprise=1.0, learning_rate=0.5),
    ):
        state = "weighted_sum" if isinstance(step, AdaptivePStep) else "max_surprise"
        before = getattr(step, state).clone()
        step.apply(logits)
        step.advance(torch.tensor([2, 1]))
        after = getattr(step, state)
        assert after[0] == before[0] and after[1] != before[1]
    step = AdaptivePStep(batch_size=2, target=0.5, decay=0.5)
    step.apply(logits)
    step.advance(torch.tensor([1, 1]), drawn=torch.tensor([0, 1]))
    assert step.weighted_sum[0] == 1.0 and step.total_weight.tolist() == [2.0, 2.0]
    assert step.weighted_sum[1] == pytest.approx(0.2689414 + 0.5)
