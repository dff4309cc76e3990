"""Races over whole rows and their noise, against transformers' operations and the exact race of seeds."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.benchmarks import library
from afterlogits.decoding import SamplingParams
from afterlogits.decoding.kernels import row_noise, whole_rows
from afterlogits.decoding.kernels.counter_noise import counter_exponential, counter_keys, counter_uniform
from afterlogits.decoding.kernels.decision import RowFilters
from afterlogits.decoding.kernels.error_bounds import UNIT
from afterlogits.decoding.kernels.exponential_race import full_winner
from afterlogits.decoding.kernels.row_noise import CounterNoise, RestoredNoise, StreamNoise
from afterlogits.decoding.kernels.whole_rows import whole_row_winners
from afterlogits.decoding.sampling.chain import apply_chain
from tests.builders.logits_cases import draw_logits
from tests.builders.versions import known_stream

OPTIONS = (
    {},
    {"temperature": 0.7},
    {"top_p": 0.9},
    {"top_p": 0.99, "temperature": 1.7},
    {"min_p": 0.05},
    {"top_k": 5},
    {"top_k": 300, "top_p": 0.5, "min_p": 0.01},
    {"typical_p": 0.9},
    {"typical_p": 0.3, "temperature": 0.6},
)


def filters_of(options: dict, rows: int) -> RowFilters:
    filters = RowFilters.of(SamplingParams(**options).compiled(rows, torch.device("cpu")))
    assert filters is not None
    return filters


# property


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=120, deadline=None, derandomize=True)
@known_stream
def test_certain_winners_are_those_of_transformers_and_of_the_exact_race(seed: int) -> None:
    """Adversarial and normal logits, rows in blocks and rows in pieces; what is not certain is not asked."""
    rng = random.Random(seed)
    vocab_size, rows = rng.choice([2, 31, 257, 1000, 5003]), rng.choice([1, 3, 8])
    if rng.random() < 0.5:
        logits = draw_logits(rng, vocab_size, rows, rng.choice([torch.float32, torch.bfloat16]))
        logits = logits[logits.amax(1).isfinite()]
    else:
        logits = torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(seed)) * rng.choice([0.1, 1, 4])
    if not len(logits):
        return
    options, top = rng.choice(OPTIONS), logits.amax(1, keepdim=True).float().numpy()
    filters, wide = filters_of(options, len(logits)), logits.float()
    kept = apply_chain(wide, SamplingParams(**options).compiled(len(logits), torch.device("cpu")))
    ours, theirs = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    keys = counter_keys(np.arange(len(logits)) + seed, 3)
    piece, before = rng.choice([2**16, 100]), row_noise.PIECE
    row_noise.PIECE = whole_rows.PIECE = piece
    try:
        with np.errstate(all="ignore"):
            noise = StreamNoise(len(logits), vocab_size, ours)
            tokens, certain = whole_row_winners(logits, top, filters, noise, False)
            seeded, sure = whole_row_winners(logits, top, filters, CounterNoise(keys, vocab_size), True)
    finally:
        row_noise.PIECE = whole_rows.PIECE = before
    expected = torch.multinomial(kept.softmax(-1), 1, generator=theirs)[:, 0].numpy()
    np.testing.assert_array_equal(tokens[certain], expected[certain], err_msg=f"{options} {logits.shape}")
    assert torch.equal(ours.get_state(), theirs.get_state())
    exact = full_winner(wide, kept, torch.from_numpy(keys), options.get("temperature", 1.0)).numpy()
    np.testing.assert_array_equal(seeded[sure], exact[sure], err_msg=f"{options} {logits.shape}")


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "none")
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_rows_of_normal_logits_are_certain(options: dict, spread: float) -> None:
    """The race is not there for nothing: of 64 rows of 20,000 at most two are left to transformers' operations."""
    logits = torch.randn(64, 20_000, generator=torch.Generator().manual_seed(1)) * spread
    noise, filters = CounterNoise(counter_keys(np.arange(64), 0), 20_000), filters_of(options, 64)
    assert whole_row_winners(logits, logits.amax(1, keepdim=True).numpy(), filters, noise, True)[1].sum() >= 62


# the noise


@known_stream
def test_the_stream_s_noise_is_torch_s_whatever_rows_are_drawn() -> None:
    """Blocks of several rows and pieces of one; rows that have left; in another order; once more afterwards."""
    for vocab_size, batch_size in ((10, 7), (40_000, 5), (70_000, 3)):
        for original in (None, [1], [2, 0], [*range(batch_size)]):
            ours, theirs = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
            expected = torch.empty(batch_size, vocab_size).exponential_(generator=theirs)
            noise = StreamNoise(batch_size, vocab_size, ours, original)
            rows = [*range(batch_size)] if original is None else original
            for block in noise:
                parts = [block.least(left, min(left + 2**16, vocab_size)) for left in range(0, vocab_size, 2**16)]
                wanted = expected[[rows[place] for place in block.rows]].numpy()
                np.testing.assert_array_equal(np.concatenate(parts, 1), wanted)
            assert torch.equal(ours.get_state(), theirs.get_state())
            for place, row in enumerate(rows):
                assert torch.equal(noise.again(place)[0], expected[row])


@known_stream
def test_restored_noise_is_that_of_the_states() -> None:
    generator = torch.Generator().manual_seed(9)
    state, expected = generator.get_state(), torch.empty(1, 300).exponential_(generator=generator)
    noise = RestoredNoise(300, {5: state})
    (block,) = noise
    assert list(block.rows) == [5]
    np.testing.assert_array_equal(block.least(0, 300), expected.numpy())
    assert torch.equal(noise.again(5), expected)


@pytest.mark.parametrize("asked", [2, 3000])
def test_counter_noise_is_the_counter_s(asked: int) -> None:
    """Rows chosen and in pieces, few tokens and many; the counter whose hash is 0 gives a number as well."""
    keys = np.append(counter_keys(np.array([3, -7, 2**62]), 5), [[0]], 0)
    (block,) = CounterNoise(keys, 1000, [0, 1, 3])
    least = np.concatenate([block.least(0, 300), block.least(300, 1000)], 1) * 2.0**-63
    uniform, noise = (f(keys[[0, 1, 3]], np.arange(1000)) for f in (counter_uniform, counter_exponential))
    np.testing.assert_allclose(least, uniform, rtol=2 * UNIT, atol=2.0**-30)
    assert (least > 0).all()
    assert (least <= noise * (1 + 2 * UNIT)).all()
    for places in np.split(np.indices((3, 1000)).reshape(2, -1), 3000 // asked, 1)[-2:]:
        np.testing.assert_allclose(block.exact(*places) * 2.0**-63, noise[tuple(places)], rtol=1e-15)


def test_typical_p_keeps_the_tokens_closest_to_the_entropy() -> None:
    """Shares 1/2, 1/4, 1/8, 1/8: the entropy is 1.75 bits, so 1/4 is closest (2 bits), then 1/2 (1 bit), then 1/8."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    for typical_p, kept in ((0.2, [1]), (0.7, [0, 1]), (0.8, [0, 1, 2, 3])):
        noise = CounterNoise(counter_keys(np.arange(400), 0), 4)
        rows = logits.expand(400, -1)
        tokens, certain = whole_row_winners(
            rows, rows.amax(1, keepdim=True).numpy(), filters_of({"typical_p": typical_p}, 400), noise, True
        )
        assert certain.all()
        assert sorted(set(tokens.tolist())) == kept
        assert library.warpers(typical_p=typical_p)(logits).isfinite().nonzero()[:, 1].tolist() == kept
