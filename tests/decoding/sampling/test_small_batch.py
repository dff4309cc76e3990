"""Draws of few rows in Python: what they keep against transformers' masks, their tokens against the general path."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.decoding import Sampler, SamplingParams, apply_top_p, sample
from afterlogits.decoding.kernels.counter_noise import (
    counter_exponential,
    counter_keys,
    counter_uniform,
    exponentials,
    row_key,
)
from afterlogits.decoding.kernels.rejection import flat_rows
from afterlogits.decoding.sampling.small_batch import MOST_ROWS, FewRows, Prefix, few_rows
from tests.builders.logits_cases import draw_logits, draw_share, draw_top_k, language_model
from tests.oracles.race import counter_of

CPU = torch.device("cpu")
# Short rows, rows of whole groups, some with logits left over, and one whose weight is bounded by its groups.
SIZES = (2, 31, 1000, 5003, 8192, 16_384, 24_576, 32_000, 32_001, 50_257, 65_600)
SETTINGS = ({"top_k": 50, "top_p": 0.95}, {"top_p": 0.9}, {"min_p": 0.05})


def sampler_of(params: SamplingParams, rows: int, vocab_size: int, **options) -> Sampler:
    return Sampler(params, batch_size=rows, vocab_size=vocab_size, device="cpu", **options)


def draw_case(rng: random.Random) -> tuple[SamplingParams, torch.Tensor]:
    """Options that are one number each, and a few rows of adversarial or language-model-like logits."""
    vocab_size = rng.choice(SIZES)
    rows = rng.choice([1, 1, 2, 3, MOST_ROWS if vocab_size < 10_000 else 4])
    if rng.random() < 0.3:
        logits = language_model(rows, vocab_size, torch.Generator().manual_seed(rng.randrange(2**31)))
    else:
        logits = draw_logits(rng, vocab_size, rows, torch.float32)
    params = SamplingParams(
        temperature=rng.choice([0.8, 1.0, 0.5, 1.3, 0.1]),
        top_k=rng.choice([0, 0, 50, draw_top_k(rng, vocab_size)]),
        top_p=rng.choice([1.0, 0.9, draw_share(rng)]),
        min_p=rng.choice([0.0, 0.05, draw_share(rng) * rng.choice([1, 0.1, 0.01])]),
    )
    return params, logits[logits.amax(1).isfinite()]


# golden


def test_noise_in_integers_is_the_noise_of_the_counter() -> None:
    seeds, tokens = [0, 1, -5, 2**62 + 3, -(2**63)], [0, 1, 77, 151_935]
    for step in (0, 9, 10**12):
        expected = counter_exponential(counter_keys(np.array(seeds), step), np.array(tokens))
        found = [exponentials(row_key(seed, step), tokens) for seed in seeds]
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_small_uniforms_have_all_their_bits() -> None:
    """Hashes of few or single bits, the top one left out: the uniform is the hash and a half, of 2**63."""
    words = [0, 1, 2, 3, 2**31 + 1, 2**40 + 1, 2**63 + 2]
    expected = [((word & (2**63 - 1)) + 0.5) * 2.0**-63 for word in words]
    counters = [counter_of(word) for word in words]
    signed = torch.tensor([counter - (counter >> 63 << 64) for counter in counters])[:, None]
    assert counter_uniform(signed, torch.tensor([0]))[:, 0].tolist() == expected
    # -log1p(-u) is u here, but for u**2 / 2.
    np.testing.assert_allclose([exponentials(counter, [0])[0] for counter in counters], expected, rtol=1e-6)


def test_the_largest_uniform_never_wins() -> None:
    """The counter that hashes to 2**64 - 1: its uniform rounds to 1, its noise is infinite."""
    assert exponentials(counter_of(2**64 - 1), [0]) == [math.inf]


def test_equal_logits_at_the_last_place_are_left_to_the_general_path() -> None:
    """Two tokens share the second place: top-k 2 keeps three."""
    params = SamplingParams(top_k=2)
    few = few_rows(params.compiled(1, CPU), CPU)
    assert few is not None
    assert few.prefixes(torch.tensor([[1.0, 3.0, 2.0, 2.0]])) is None
    (prefix,) = few.prefixes(torch.tensor([[1.0, 3.0, 2.0, 0.0]])) or []
    assert (list(prefix.token_ids), prefix.sure) == ([1, 2], 2)
    assert prefix.weights == [1.0, math.exp(-1)]


def test_the_end_of_a_nucleus() -> None:
    """Shares 1/2, 1/4, 1/8, 1/8: a nucleus of 0.7 holds two; of 0.8 three or four, one of two equal tokens."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    for top_p, sure, possible in ((0.7, 2, 2), (0.8, 2, 4)):
        few = FewRows(1.0, 0, top_p, None)
        (prefix,) = few.prefixes(logits) or []
        assert (prefix.sure, len(prefix.token_ids)) == (sure, possible)


def test_a_winner_is_sure_and_alone() -> None:
    prefix = Prefix([5, 6], [0.5, 1.0], 1, 0.0)
    assert prefix.winner([0.1, 1.0], 1e-8) == 5
    assert prefix.winner([1.0, 0.1], 1e-8) is None  # 6 may be dropped
    assert prefix.winner([0.5, 1.0 + 1e-10], 1e-8) is None
    assert prefix.winner([0.5, 1.0 + 1e-10], 1e-12) == 5


def test_flat_rows_are_not_drawn_here() -> None:
    """Ten tokens at 0, the others at -1: min-p 0.5 keeps the ten, yet most of the row lies within two temperatures."""
    logits = torch.full((1, 8192), -1.0)
    logits[0, :10] = 0.0
    few = few_rows(SamplingParams(min_p=0.5).compiled(1, CPU), CPU)
    assert few is not None
    assert few.prefixes(logits) is None
    assert flat_rows(logits, SamplingParams(min_p=0.5).compiled(1, CPU))[0] == [0]


def test_the_weight_of_a_row_lies_within_its_bounds() -> None:
    """Formed of the largest groups, or of all of them where the bound of the others is loose."""
    few = FewRows(0.8, 0, 0.9, None)
    for height, bounded in ((12.0, True), (4.0, False)):
        row = torch.randn(1, 131_072, generator=torch.Generator().manual_seed(1))
        row[0, ::1000] = height
        (largest,) = few.reader.read(row)
        assert largest is not None and largest.mass is not None
        least, most = largest.mass
        exact = ((row.double() - row.max().double()) / 0.8).exp().sum().item()
        assert least <= exact <= most
        assert (most > least * (1 + 3e-5)) == bounded
        assert most < 1.02 * least


def test_options_that_are_not_drawn_here() -> None:
    for options in (
        {"top_k": [2, 3]},
        {"top_p": 0.05},
        {"top_k": 1000},
        {"min_p": 0.95},
        {"top_k": 5, "temperature": 0.0},
        {"top_k": 5, "temperature": 1e-5},
        {"top_k": 5, "min_tokens_to_keep": 2},
        {"temperature": 0.7},
        {"typical_p": 0.5},
        {"top_k": 5, "top_p": 0.5, "joint_top_k_top_p": True},
    ):
        assert few_rows(SamplingParams(**options).compiled(2, CPU), CPU) is None


def test_it_is_no_longer_tried_where_it_always_fails() -> None:
    params = SamplingParams(top_k=2)
    sampler = sampler_of(params, 1, 4, seeds=[1])
    for step in range(20):
        sampler.select(torch.tensor([[1.0, 3.0, 2.0, 2.0]]), step=step)
    assert sampler.plan.few is not None
    assert sampler.plan.few.failed == 8


# property


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_what_is_kept_lies_between_sure_and_possible(seed: int) -> None:
    """Of transformers' own filters: every sure token, and no other than the possible ones unless it weighs nothing."""
    rng = random.Random(seed)
    params, logits = draw_case(rng)
    few = few_rows(params.compiled(len(logits), CPU), CPU)
    if few is None:
        return
    kept = sampler_of(params, len(logits), logits.shape[1]).process(logits) > -torch.inf
    for i, row in enumerate(logits):
        (prefix,) = few.prefixes(row[None]) or [None]
        if prefix is None:
            continue
        best = int(row.argmax())
        found = set(kept[i].nonzero()[:, 0].tolist())
        assert {*prefix.token_ids[: prefix.sure]} <= found, f"{params} {row.shape}"
        weightless = (row - row[best]) / params.temperature < -600
        assert {x for x in found if not weightless[x]} <= {*prefix.token_ids}, f"{params} {row.shape}"
        # Largest first, and unlike the sums the weights themselves are exact.
        assert sorted(prefix.weights, reverse=True) == list(prefix.weights)
        gaps = (row[list(prefix.token_ids)].double() - row[best].double()) / params.temperature
        np.testing.assert_allclose(prefix.weights, gaps.exp().numpy(), rtol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_tokens_are_those_of_the_general_path(seed: int) -> None:
    """With seeds and with torch's stream, whose state is the same afterwards; rows may have left the batch."""
    rng = random.Random(seed)
    params, logits = draw_case(rng)
    if not len(logits):
        return
    rows = torch.tensor(sorted(rng.sample(range(len(logits)), rng.randint(1, len(logits)))))
    seeds = [rng.randrange(-(2**63), 2**63) for _ in range(len(logits))]
    for options in ({"seeds": seeds}, {}):
        tokens, states = [], []
        for without in (False, True):
            generator = torch.Generator().manual_seed(seed)
            sampler = sampler_of(params, len(logits), logits.shape[1], generator=generator, **options)
            if without:
                sampler.plan.few = None
            drawn = [sampler.select(logits, step=3), sampler.select(logits[rows], step=4, rows=rows)]
            assert all(token.dtype == torch.int64 for token in drawn)
            tokens.append([token.tolist() for token in drawn])
            states.append(generator.get_state())
        assert tokens[0] == tokens[1], f"{params} {logits.shape}"
        assert torch.equal(*states)


@pytest.mark.parametrize("options", SETTINGS)
def test_language_models_are_drawn_here(options: dict) -> None:
    """The draw is not there for nothing: of 40 rows at a vocabulary of 151,936 at most two are left to the others."""
    logits = language_model(40, 151_936, torch.Generator().manual_seed(2))
    few = few_rows(SamplingParams(temperature=0.8, **options).compiled(1, CPU), CPU)
    assert few is not None
    drawn = [few.seeded(row[None], [i], 0) is not None for i, row in enumerate(logits)]
    assert sum(drawn) >= 38


@pytest.mark.parametrize("options", SETTINGS[::2])
@pytest.mark.parametrize("vocab_size", [32_000, 32_001, 50_257, 128_257])
def test_several_rows_and_odd_vocabularies_are_drawn_here(options: dict, vocab_size: int) -> None:
    """Also the logits that no group holds: largest in two of five rows, which lie apart as in [B, T, V]."""
    logits = language_model(10, vocab_size, torch.Generator().manual_seed(3)).view(5, 2, -1)[:, -1]
    logits[2, -1] = logits[3, -1] = 40.0
    sampler = sampler_of(SamplingParams(**options), 5, vocab_size, seeds=range(5))
    tokens = sampler.select(logits)
    assert sampler.plan.few is not None and sampler.plan.few.failed == 0
    assert tokens[2:4].tolist() == [vocab_size - 1] * 2
    alone = [sampler.select(logits[i : i + 1], rows=torch.tensor([i])).item() for i in range(5)]
    assert sampler.plan.few.failed == 0
    sampler.plan.few = None
    assert tokens.tolist() == alone == sampler.select(logits).tolist()


# errors


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("rows", [3, 4])
@pytest.mark.parametrize("vocab_size", [100, 32_000, 32_001])
@pytest.mark.parametrize("options", SETTINGS)
def test_bad_rows_raise_what_they_raise_elsewhere(options: dict, vocab_size: int, rows: int, bad: float) -> None:
    logits = torch.randn(rows, vocab_size)
    logits[1, -1 if vocab_size == 32_001 else vocab_size // 2] = bad
    found = "NaN" if math.isnan(bad) else "+inf"
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    for seeds in (range(rows), None):
        sampler = sampler_of(SamplingParams(**options), rows, vocab_size, seeds=seeds, generator=generator)
        with pytest.raises(ValueError, match="row 1") as caught:
            sampler.select(logits)
        assert found in str(caught.value)
    assert torch.equal(generator.get_state(), before)


def test_a_row_left_over_keeps_its_place_in_the_stream() -> None:
    """Where the end of a nucleus lies between equal logits and one of them wins, the general path draws the row from
    where it stands in torch's stream, not from where the others left it."""
    logits = torch.randn(6, 4999, generator=torch.Generator().manual_seed(1))
    logits[:, ::97] += 7.0
    logits = (logits[:2] * 2.0).bfloat16().float()  # the second and third largest of the second row are equal
    for seed in range(40):
        torch.manual_seed(seed)
        kept = apply_top_p(logits, 0.3)
        expected, state = torch.multinomial(kept.softmax(-1), 1)[:, 0], torch.get_rng_state()
        torch.manual_seed(seed)
        assert sample(logits, top_p=0.3).tolist() == expected.tolist(), seed
        assert torch.equal(torch.get_rng_state(), state)
