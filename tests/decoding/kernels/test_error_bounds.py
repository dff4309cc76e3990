"""Each bound of rounding, full and halved: what its derivation allows is left open, and with half of it a proof errs.

A case puts two sides of a comparison as far apart as the derivation says that rounding may bring them. The proof must
not decide there; with the bound halved it does, and the arithmetic that the derivation allows contradicts it.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from afterlogits.decoding import SamplingParams
from afterlogits.decoding.kernels import (
    decision,
    error_bounds,
    exponential_race,
    few_largest,
    large_logits,
    nucleus,
    rejection,
    threshold_masks,
    whole_rows,
)
from afterlogits.decoding.kernels.decision import RowFilters, keep, nucleus_ends
from afterlogits.decoding.kernels.error_bounds import UNIT, scaled_error, typical_error
from afterlogits.decoding.kernels.exponential_race import race
from afterlogits.decoding.kernels.large_logits import GroupMaxima, LargeLogits
from afterlogits.decoding.kernels.row_noise import CounterBlock
from afterlogits.decoding.kernels.whole_rows import Block
from afterlogits.decoding.sampling import small_batch
from afterlogits.decoding.sampling.small_batch import FewRows, Prefix

MODULES = (
    decision,
    exponential_race,
    few_largest,
    large_logits,
    nucleus,
    rejection,
    threshold_masks,
    whole_rows,
    small_batch,
)


def listed(weights: list[float]) -> LargeLogits:
    """Every token of a row, by its weight."""
    values = np.log(np.array([weights])).astype(np.float32)
    return LargeLogits(values, np.arange(len(weights))[None], np.full((1, 1), -np.inf, dtype=np.float32))


def min_p_is_open() -> bool:
    """A weight above min-p by 0.9 of what two probabilities may be off by, 2 * 42 * 2 * UNIT."""
    weight = 0.25 * (1 + 0.9 * 168 * UNIT)
    kept = keep(listed([1.0, weight]), RowFilters(min_p=0.25), 2)
    return bool(kept.possible[0, 1]) and not bool(kept.certain[0, 1])


def nucleus_is_open() -> bool:
    """1,000 flat tokens in any order: the running sum off by 0.9 of what their 125 additions a lane may make it."""
    sure, limit = nucleus_ends(0.1, 1000.0, 1000.0, 0.0, 1000)
    off = 0.9 * 0.1 * 1000 * UNIT * (40 + 125)
    return sure < 900 - off and limit > 900 + off


def listed_nucleus_is_open() -> bool:
    """The same of 1,000 listed tokens alone, at most 2 * 125 additions each."""
    sure, limit = nucleus_ends(0.1, 1000.0, 1000.0, 0.0, 1000, 1000, 0.0)
    off = 0.9 * 0.1 * 1000 * UNIT * (40 + 250)
    return sure < 900 - off and limit > 900 + off


class Noise:
    """Known noise of one row, [1, V]."""

    rows = (0,)

    def __init__(self, noise: np.ndarray):
        self.noise = noise.astype(np.float32)

    def least(self, left: int, right: int) -> np.ndarray:
        return self.noise[:, left:right].copy()


class Counters(CounterBlock):
    """The same where what is known are uniform numbers, and what they are said to be at least."""

    slack = 0.0

    def __init__(self, uniform: np.ndarray, least: np.ndarray):
        self.uniform, self.said = uniform, (least * 2.0**63).astype(np.float32)

    def least(self, left: int, right: int) -> np.ndarray:
        return self.said[:, left:right].copy()

    def exact(self, lines: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
        return -np.log1p(-self.uniform[lines, token_ids]) * 2.0**63


def certain(weights: list[float], border: float) -> bool:
    """Whether the race of a row is certain where the second token wins: its noise is the smallest by far."""
    scaled = np.log(np.array([weights])).astype(np.float32)
    noise = np.ones(scaled.shape)
    noise[0, 1] = 1e-6
    return bool(Block(scaled, scaled[:, :1], RowFilters(border=border), Noise(noise)).winners(0.0)[1][0])


def mass_is_open() -> bool:
    """A token inside by 0.9 of what exponentials and additions may make two sums of 100 differ."""
    weights = [1.0, 0.5, *([1e-3] * 98_500)]
    running = error_bounds.EXP_ERROR + UNIT * (40 + len(weights) / 8)
    border = (1 - 1 / 100 - 0.9 * 2 * (16 + 30) * UNIT) / (1 + 1.01 * running)
    return not certain(weights, border)


def equal_weights_are_open() -> bool:
    """Two tokens whose weights differ by 0.9 of what the same logit's may, half a nucleus each: neither is inside."""
    return not certain([1 - 0.9 * (2 * error_bounds.EXP_ERROR + 4 * UNIT), 1.0], 0.6)


def race_is_open() -> bool:
    ratio = np.array([[1.0, 1 - 0.9 * (2 * error_bounds.EXP_ERROR + 4 * UNIT)]])
    return not race(ratio, np.ones((1, 2)), exponential_race.RACE_MARGIN, np.arange(1))[1].item()


def least_noise_is_open() -> bool:
    """The second token wins; roundings make the quotient of the first larger by 2 units, and its own smaller by 2."""
    uniform, zeros = np.array([[2.0**-40, 2.0**-40 * (1 - 1e-9)]]), np.zeros((1, 2), dtype=np.float32)
    noise = Counters(uniform, uniform[:, :1] * [[1 - UNIT, 1 + 2 * UNIT]])
    return Block(zeros, zeros[:, :1], RowFilters(), noise).winners(0.0)[0].tolist() == [1]


def seeded_race_is_open() -> bool:
    ratio = np.array([[1.0, 1 - 0.9 * 4096 * 2.0**-52]])
    return not race(ratio, np.ones((1, 2)), exponential_race.SEEDED_MARGIN, np.arange(1))[1].item()


def python_race_is_open() -> bool:
    """Two times closer than the general way decides, for logits of 366 temperatures."""
    closeness = 0.9 * error_bounds.SEEDED_MARGIN * (46 + 366)
    return Prefix([5, 6], [1.0, 1.0], 2, 0.0).winner([1.0, 1 + closeness], small_batch.PYTHON_MARGIN) is None


def group_bound_holds() -> bool:
    """64 equal logits a group: their weight is the bound but for 0.9 of what rounding may take from it."""
    read = GroupMaxima(torch.cat([torch.tensor([5.0]), torch.zeros(4095)])[None], 1)
    large = read.listed(read.floor()).weighed(1.0, read.logits, among=())
    exact = 64 * (63 * math.exp(-5) + math.exp(large.bound.item() - 5))
    return bool(large.most[0, 0] >= exact * (1 + 0.9 * (1.4e-4 + scaled_error(5.0))))


def largest_sum_holds() -> bool:
    """A row's mass in Python between bounds as far apart as its parts' rounding."""
    few = FewRows(1.0, 0, 0.9, None)
    row = torch.randn(1, 131_072, generator=torch.Generator().manual_seed(1))
    row[0, ::1000] = 4.0
    ((_, _, _, mass),) = few.reader.read(row)
    assert mass is not None
    return mass[1] / mass[0] - 1 >= 2 * 0.9 * 50 * 3 * UNIT


def sums_in_float64_are_open() -> bool:
    """8,192 listed tokens whose two sums are off by 0.9 of an error of each addition, for a border of almost 0."""
    row = keep(listed([1.0] * 2 + [1e-3] * 100), RowFilters(border=0.0), 102)
    sure, limit = nucleus_ends(0.0, 8192.0, 8192.0, decision.FLOAT64_UNIT * 8193, 8192, 8192, 0.0)
    off = 0.9 * 8192 * 2 * 8192 * 2.0**-53
    return bool(row.possible.all()) and sure <= 8192 - off and limit >= 8192 + off


CASES: list[tuple[str, Callable[[], bool]]] = [
    ("EXP_ERROR", min_p_is_open),
    ("LANES", nucleus_is_open),
    ("LANES", listed_nucleus_is_open),
    ("MASS_ERROR", mass_is_open),
    ("NEAR", equal_weights_are_open),
    ("RACE_MARGIN", race_is_open),
    ("LEAST_NOISE_ERROR", least_noise_is_open),
    ("SEEDED_MARGIN", seeded_race_is_open),
    ("PYTHON_MARGIN", python_race_is_open),
    ("GROUP_ROOM", group_bound_holds),
    ("LARGEST_SUM_ERROR", largest_sum_holds),
    ("FLOAT64_UNIT", sums_in_float64_are_open),
]


@pytest.mark.parametrize(("name", "left_open"), CASES, ids=[f"{name}-{case.__name__}" for name, case in CASES])
def test_what_a_bound_s_derivation_allows_is_left_open_and_half_of_it_is_not(
    name: str, left_open: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert left_open()
    full = getattr(error_bounds, name)
    # More lanes are fewer additions; what is multiplied by is one and a bound.
    half = full * 2 if name == "LANES" else 1 + (full - 1) / 2 if name == "GROUP_ROOM" else full / 2
    for module in MODULES:
        if hasattr(module, name):
            monkeypatch.setattr(module, name, half)
    if name == "LANES":  # the constant beside it is small, and halved with it
        monkeypatch.setattr(decision, "EXP_ERROR", 0.0)
        monkeypatch.setattr(decision, "FEW_ADDITIONS", 20)
    assert not left_open()


def test_logits_that_a_division_makes_equal_are_within_the_bound() -> None:
    """Neighbours of neighbours are made equal, more than half of the bound apart; none further apart than it."""
    values = torch.rand(400_000, generator=torch.Generator().manual_seed(1)).sort().values + 0.5
    furthest = 0.0
    for step in (1, 2, 3, 4):
        larger = (values.view(torch.int32) + step).view(torch.float32)
        for temperature in (0.7, 1.3, 1.9, 0.51):
            equal = values / temperature == larger / temperature
            apart = ((larger - values).double() / larger.double())[equal]
            furthest = max(furthest, float(apart.amax()) if len(apart) else 0.0)
    assert error_bounds.EQUAL_DIVIDED / 2 < furthest < error_bounds.EQUAL_DIVIDED


def test_products_with_the_reciprocal_are_within_the_bound_of_quotients() -> None:
    """The largest difference of 10^7 products from transformers' quotients: within the bound, beyond half of it."""
    generator = torch.Generator().manual_seed(2)
    worst = 0.0
    for temperature in torch.linspace(0.5, 1.0, 100, dtype=torch.float64).tolist():
        values = 1e4 * (1 + torch.rand(100_000, generator=generator))
        quotient, product = values / temperature, values * np.float32(1 / temperature)
        off = (quotient.double() - product.double()).abs() / scaled_error(quotient.double())
        worst = max(worst, float(off.max()))
    assert 0.5 < worst < 1.0


def test_entropies_are_within_the_bound() -> None:
    """transformers' distances from its entropy against float64's, for flat, normal and peaked rows."""
    for spread in (0.01, 1.0, 4.0):
        row = torch.randn(4, 150_000, generator=torch.Generator().manual_seed(3)) * spread
        logprobs = row.log_softmax(-1)
        distance = (-logprobs + (logprobs * logprobs.exp()).nansum(-1, keepdim=True)).abs().double()
        exact = row.double().log_softmax(-1)
        entropy = -(exact * exact.exp()).sum(-1, keepdim=True)
        assert ((distance - (-exact - entropy).abs()).abs() <= typical_error(entropy)).all()


def test_options_beyond_the_bounds_of_few_rows_are_not_drawn_there() -> None:
    """Logits of more than 366 temperatures: ``scaled_error`` is above what ``PYTHON_MARGIN`` is derived from."""
    few = small_batch.few_rows(SamplingParams(top_k=2).compiled(1, torch.device("cpu")), torch.device("cpu"))
    assert few is not None
    assert few.prefixes(torch.tensor([[370.0, 3.0, 2.0, 0.0]])) is None
    assert few.prefixes(torch.tensor([[360.0, 3.0, 2.0, 0.0]])) is not None
