"""The filters and steps that follow llama.cpp, against llama.cpp itself: survivors, logits, state after accept."""

import ctypes
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from afterlogits.decoding import (
    apply_dynamic_temperature,
    apply_min_p,
    apply_temperature,
    apply_top_k,
    apply_top_n_sigma,
    apply_top_p,
    apply_xtc,
)
from afterlogits.decoding.sampling.adaptive_p import AdaptivePStep
from afterlogits.decoding.sampling.mirostat import MirostatStep

llama_cpp: Any = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (constraints-peers.txt)")


@contextmanager
def sampler(name: str, *arguments: Any) -> Iterator[Any]:
    """``llama_sampler_init_<name>``, freed afterwards."""
    made = getattr(llama_cpp, f"llama_sampler_init_{name}")(*arguments)
    try:
        yield made
    finally:
        llama_cpp.llama_sampler_free(made)


def apply(made: Any, logits: list[float], *, drop: bool = True) -> tuple[list[float], int | None]:
    """The logits that a sampler leaves, -inf where it drops a token, and the token it has selected.

    drop: leave entries of -inf out of the candidates, as a sampler before this one would have done.
    """
    ids = [index for index, logit in enumerate(logits) if not (drop and logit == -math.inf)]
    data = (llama_cpp.llama_token_data * len(ids))()
    for place, index in enumerate(ids):
        data[place].id, data[place].logit, data[place].p = index, logits[index], 0.0
    candidates = llama_cpp.llama_token_data_array()
    candidates.data, candidates.size, candidates.selected, candidates.sorted = data, len(ids), -1, False
    llama_cpp.llama_sampler_apply(made, ctypes.byref(candidates))
    left = [-math.inf] * len(logits)
    for place in range(candidates.size):
        left[candidates.data[place].id] = candidates.data[place].logit
    chosen = candidates.data[candidates.selected].id if candidates.selected >= 0 else None
    return left, chosen


def accept(made: Any, token_id: int) -> None:
    """Tell the sampler which token was appended."""
    llama_cpp.llama_sampler_accept(made, token_id)


INF = math.inf
FIXED = [[1.0, 0.0], [30.0, 0.0], [0.0, 1.0], [200.0, 0.0, -1.0], [5.0, 4.9, -INF], [-3.0, -40.0], [0.0, 0.0, 0.0]]


def drawn_rows(count: int) -> list[list[float]]:
    """Rows of 2 to 40 logits of several spreads, some with entries of -inf."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index in range(count):
        width = int(torch.randint(2, 41, (1,), generator=generator))
        row = torch.randn(width, generator=generator) * [0.1, 1.0, 4.0, 20.0][index % 4]
        if index % 3 == 0:
            row[torch.rand(width, generator=generator) < 0.3] = -INF
            row[0] = 1.0
        rows.append(row.tolist())
    return rows


ROWS = [*FIXED, *drawn_rows(200)]
FILTERS: list[tuple[str, tuple[Any, ...], Callable[[Tensor], Tensor]]] = [
    ("top_k", (3,), lambda x: apply_top_k(x, 3)),
    ("top_p", (0.7, 1), lambda x: apply_top_p(x, 0.7)),
    ("min_p", (0.1, 1), lambda x: apply_min_p(x, 0.1)),
    ("temp", (0.7,), lambda x: apply_temperature(x, 0.7)),
    ("temp", (1e-30,), lambda x: apply_temperature(x, 1e-30)),
    ("temp_ext", (1.0, 0.5, 1.0), lambda x: apply_dynamic_temperature(x, 1.0, spread=0.5)),
    ("temp_ext", (1.0, 1.0, 5.0), lambda x: apply_dynamic_temperature(x, 1.0, spread=1.0, exponent=5.0)),
    ("temp_ext", (0.8, 2.0, 0.3), lambda x: apply_dynamic_temperature(x, 0.8, spread=2.0, exponent=0.3)),
    ("xtc", (1.0, 0.1, 1, 7), lambda x: apply_xtc(x, 0.1)),
    ("xtc", (1.0, 0.05, 3, 7), lambda x: apply_xtc(x, 0.05, min_tokens_to_keep=3)),
    ("top_n_sigma", (1.0,), lambda x: apply_top_n_sigma(x, 1.0)),
]


@pytest.mark.parametrize(("name", "arguments", "ours"), FILTERS, ids=lambda value: str(value)[:24])
def test_filters(name: str, arguments: tuple[Any, ...], ours: Callable[[Tensor], Tensor]) -> None:
    """The same survivors with the same logits, to 2e-6 relative: llama.cpp sums in another order.

    To 1e-2 under dynamic temperature: the entropy of a peaked row is a small difference, and then raised to a power.
    """
    near = 1e-2 if name == "temp_ext" else 2e-6
    with sampler(name, *arguments) as made:
        for row in ROWS:
            if name == "top_k" and len(set(row)) < len(row):
                continue  # among equals llama.cpp keeps three, transformers all
            left, _ = apply(made, row)
            found = ours(torch.tensor([row]))[0]
            if name == "temp_ext" and (left.count(-INF) == len(row) - 1 or INF in left):
                # Where its temperature underflows, one of equal largest logits stays there, all of them here; where
                # its quotients overflow, they are infinite there.
                assert found.max() == max(row) and (found > -INF).sum() == row.count(max(row)), row
                continue
            torch.testing.assert_close(found, torch.tensor(left), rtol=near, atol=1e-6, msg=lambda m, r=row: f"{r} {m}")


def steps_of(count: int, width: int) -> list[list[float]]:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(count, width, generator=generator) * 2).tolist()


@pytest.mark.parametrize(("tau", "eta"), [(2.0, 0.1), (5.0, 0.5), (0.5, 1.0), (8.0, 0.0)])
def test_mirostat_step_by_step(tau: float, eta: float) -> None:
    """The tokens that survive each step of fifty; both learn from what was drawn, whatever was appended."""
    ours = MirostatStep(batch_size=1, target_surprise=tau, learning_rate=eta)
    with sampler("mirostat_v2", 3, tau, eta) as made:
        for index, row in enumerate(steps_of(50, 30)):
            left, chosen = apply(made, row)
            found = ours.apply(torch.tensor([row]))[0]
            assert chosen is not None
            assert (found > -INF).tolist() == [logit > -INF for logit in left]
            forced = torch.tensor([(chosen + 1) % 30 if index % 3 == 0 else chosen])
            ours.advance(forced, drawn=torch.tensor([chosen]))


@pytest.mark.parametrize(("target", "decay"), [(0.5, 0.9), (0.1, 0.5), (1.0, 0.99), (0.0, 0.0)])
def test_adaptive_p_step_by_step(target: float, decay: float) -> None:
    """The reshaped logits of fifty steps; every third step another token is appended, from which neither learns."""
    ours = AdaptivePStep(batch_size=1, target=target, decay=decay)
    with sampler("adaptive_p", target, decay, 3) as made:
        for index, row in enumerate(steps_of(50, 12)):
            left, chosen = apply(made, row)
            assert chosen is not None
            found = ours.apply(torch.tensor([row]))[0]
            torch.testing.assert_close(found, torch.tensor(left), rtol=1e-5, atol=1e-4)
            appended = (chosen + 1) % 12 if index % 3 == 0 else chosen
            accept(made, appended)
            ours.advance(torch.tensor([appended]), drawn=torch.tensor([chosen]))


def test_where_it_is_not_llama_cpp() -> None:
    """The deviations that docs/semantics lists, each seen once on both sides."""
    row = [1.0, 0.5, 0.0, -INF]
    with sampler("temp_ext", 1.0, 0.5, 1.0) as made:
        # A masked entry that was left among the candidates counts in n there, and does not here.
        found = apply_dynamic_temperature(torch.tensor([row]), 1.0, spread=0.5)[0]
        dropped, kept = apply(made, row)[0], apply(made, row, drop=False)[0]
        torch.testing.assert_close(found, torch.tensor(dropped))
        assert kept != dropped
    with sampler("xtc", 1.0, 0.1, 2, 7) as made:
        masked = [2.0, 1.9, 1.0, -INF]
        assert apply_xtc(torch.tensor([masked]), 0.1, min_tokens_to_keep=2)[0].tolist() == torch.tensor(masked).tolist()
        assert apply(made, masked, drop=False)[0] == [-INF, -INF, 1.0, -INF]
    with sampler("adaptive_p", 1.5, 0.9, 1) as made:
        apply(made, [2.0, 1.0, 0.0])  # clamped there, but for its first average
    with pytest.raises(ValueError, match=r"target must be <= 1; got 1\.5"):
        AdaptivePStep(batch_size=1, target=1.5)
