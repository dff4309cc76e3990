"""The draw: golden values, properties, transformers' tokens and stream, errors before anything is drawn, statistics."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as library

from afterlogits.decoding import HistorySteps, Sampled, Sampler, SamplingParams, apply_chain, sample
from afterlogits.decoding.kernels import torch_stream
from afterlogits.decoding.kernels.counter_noise import counter_exponential, counter_keys, counter_uniform, row_key
from afterlogits.decoding.kernels.exponential_race import full_winner
from afterlogits.decoding.kernels.torch_stream import exponentials_at, row_exponentials, stream_is_known
from tests.builders.logits_cases import draw_logits, language_model
from tests.builders.versions import known_stream
from tests.decoding.sampling.chi_square import SHAPES, chi_square_seeded
from tests.oracles.race import library_draw, seeded_token, uniform
from tests.programs.draw_parity import Tally, compare_draw, processors_for

LARGE = 151_936


# golden


def test_greedy_rows_inside_a_sampling_batch() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    tokens = sample(logits, temperature=[0.0, 0.0, 1.0], top_k=[1, 2, 0], seeds=[1, 2, 3])
    assert tokens[:2].tolist() == [1, 0]


@pytest.mark.parametrize("seeds", [None, list(range(40))], ids=["stream", "seeds"])
def test_greedy_rows_choose_the_first_of_their_largest(seeds: list[int] | None) -> None:
    """Every other row is greedy, with one to five equal maxima anywhere; the others draw from flat logits."""
    rng = random.Random(5)
    logits = 0.1 * torch.randn(40, 500, generator=torch.Generator().manual_seed(5))
    for row in range(0, 40, 2):
        logits[row, rng.sample(range(500), 1 + row % 5)] = 1.0
    temperature = [float(row % 2) for row in range(40)]
    tokens = sample(logits, temperature=temperature, top_k=50, seeds=seeds)
    assert torch.equal(tokens[::2], logits[::2].argmax(-1))
    assert not torch.equal(tokens[1::2], logits[1::2].argmax(-1))


def test_all_greedy_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert sample(torch.tensor([[0.0, 3.0]]), temperature=0.0, generator=generator).tolist() == [1]
    assert torch.equal(generator.get_state(), before)


def test_counter_noise_is_splitmix64() -> None:
    seeds, tokens = [0, 1, -5, 2**62 + 3], [0, 1, 77, 151_935]
    ours = counter_uniform(counter_keys(torch.tensor(seeds), 9), torch.tensor(tokens))
    expected = [[uniform(seed, 9, token) for token in tokens] for seed in seeds]
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0)


def test_logprobs_are_of_the_logits_as_given() -> None:
    """log-softmax of log([0.5, 0.25, 0.25]) is itself; the temperature does not enter."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    drawn = sample(logits, temperature=0.0, logprobs=2)
    assert isinstance(drawn, Sampled)
    assert drawn.token_ids.tolist() == [0]
    torch.testing.assert_close(drawn.logprobs, torch.tensor([0.5]).log())
    torch.testing.assert_close(drawn.top_logprobs, torch.tensor([[0.5, 0.25]]).log())
    assert drawn.top_token_ids[0, 0] == 0


def test_history_options_take_part() -> None:
    """A repetition penalty of 2 halves 4.0 for the tokens seen; no-repeat bigram bans what followed them."""
    logits = torch.tensor([[4.0, 3.0, 1.0]])
    seen = torch.tensor([[1, 0, 1]])
    assert sample(logits, temperature=0.0, repetition_penalty=2.0, token_ids=seen).tolist() == [0]
    assert sample(logits, temperature=0.0, no_repeat_ngram_size=2, token_ids=seen).tolist() == [1]
    assert sample(logits, temperature=0.0, presence_penalty=[5.0], frequency_penalty=1.0, token_ids=seen).tolist() == [
        2
    ]
    assert logits.tolist() == [[4.0, 3.0, 1.0]]
    with pytest.raises(ValueError) as caught:
        sample(logits, dry_multiplier=1.0)
    assert str(caught.value) == "token_ids must be given for dry_multiplier; got None"


def test_history_steps_advance_with_the_rows() -> None:
    params = SamplingParams(repetition_penalty=2.0, frequency_penalty=[0.0, 1.0], dry_multiplier=0.5)
    steps = HistorySteps(params, torch.tensor([[0, 1], [2, 2]]), vocab_size=4)
    steps.select_rows(torch.tensor([1]))
    steps.advance(torch.tensor([3]))
    whole = HistorySteps(
        SamplingParams(repetition_penalty=2.0, frequency_penalty=1.0, dry_multiplier=0.5),
        torch.tensor([[2, 2, 3]]),
        vocab_size=4,
        prompt_length=2,
    )
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    torch.testing.assert_close(steps.apply(logits.clone()), whole.apply(logits.clone()), rtol=0, atol=0)


def test_xtc_decides_from_the_rows_own_counter() -> None:
    """The filtered scores show what the draw was made from: with and without the top choices, about half each."""
    logits = torch.tensor([[2.0, 1.9, 1.0, 0.0]]).expand(400, -1)
    params = SamplingParams(xtc_probability=0.5, xtc_threshold=0.1)
    sampler = Sampler(params, batch_size=400, vocab_size=4, device="cpu", seeds=list(range(400)))
    excluded = sampler.process(logits, step=3)[:, 0] == -math.inf
    assert 140 < excluded.sum() < 260  # 6 deviations of 10: a false failure once in 10^8
    tokens = sampler.select(logits, step=3)
    assert (tokens[excluded] >= 2).all()
    assert torch.equal(tokens[5:9], sampler.select(logits[5:9], step=3, rows=torch.arange(5, 9)))


# property


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_seeded_rows_do_not_depend_on_the_batch(seed: int) -> None:
    """A row alone, in any order, after others left, and with a step per row: the same token, and the oracle's."""
    rng = random.Random(seed)
    vocab_size = rng.choice([2, 7, 31, 257])
    logits = draw_logits(rng, vocab_size, 6, torch.float32)
    logits = logits[logits.amax(-1).isfinite()]
    rows = len(logits)
    if rows < 2:
        return
    seeds = [rng.randrange(2**40) for _ in range(rows)]
    temperatures = [rng.choice([0.5, 0.8, 1.7]) for _ in range(rows)]
    top_ks = [rng.choice([0, 1, 5]) for _ in range(rows)]
    params = SamplingParams(temperature=temperatures, top_k=top_ks)
    sampler = Sampler(params, batch_size=rows, vocab_size=vocab_size, device="cpu", seeds=seeds)
    tokens = sampler.select(logits, step=4)
    for i in range(rows):
        alone = sample(logits[i : i + 1], temperature=temperatures[i], top_k=top_ks[i], seeds=seeds[i : i + 1], step=4)
        assert alone[0] == tokens[i]
    order = torch.tensor(rng.sample(range(rows), rows - 1))
    assert torch.equal(sampler.select(logits[order], step=4, rows=order), tokens[order])
    assert torch.equal(sampler.select(logits, step=torch.full((rows,), 4)), tokens)
    kept = sampler.process(logits)
    for i in range(rows):
        row = torch.where(kept[i] > -math.inf, logits[i], -math.inf).tolist()
        assert seeded_token(row, temperatures[i], seeds[i], 4) == tokens[i]


UNLIKE = [
    {"top_k": [0, 50]},
    {"typical_p": [1.0, 0.5]},
    {"epsilon_cutoff": [0.0, 1e-3]},
    {"eta_cutoff": [0.0, 1e-3]},
    {"top_n_sigma": [0.0, 1.0]},
    {"xtc_probability": [0.0, 1.0]},
    {"dynamic_temperature": [0.0, 0.5]},
    {"mirostat_tau": [math.inf, 3.0]},
    {"adaptive_target": [-1.0, 0.3]},
    {"top_k": [0, 50], "top_p": [0.9, 0.5], "joint_top_k_top_p": True},
    {"top_k": torch.tensor([0, 50]), "temperature": [1.0, 0.0]},
]


@pytest.mark.parametrize("options", UNLIKE, ids=lambda options: "-".join(options))
def test_a_seeded_row_does_not_depend_on_what_is_on_in_others(options: dict) -> None:
    """A flat row, drawn by proposals when it is alone, beside one with a filter or a step that it has switched off."""
    g = torch.Generator().manual_seed(0)
    logits = torch.cat([torch.randn(1, 8192, generator=g) * 0.3, torch.randn(1, 8192, generator=g) * 3])
    own = [
        {k: v if isinstance(v, bool) else (float(v[i]) if k != "top_k" else int(v[i])) for k, v in options.items()}
        for i in range(2)
    ]
    for seed in range(8):
        seeds = [seed, seed]
        tokens = sample(logits, seeds=seeds, step=3, **options)
        for i in range(2):
            assert sample(logits[i : i + 1], seeds=[seed], step=3, **own[i])[0] == tokens[i]
        sampler = Sampler(SamplingParams(**options), batch_size=2, vocab_size=8192, device="cpu", seeds=seeds)
        for rows in ([0], [1], [1, 0]):
            step = torch.tensor([3, 3]) if rows == [1, 0] else 3
            assert torch.equal(sampler.select(logits[rows], step=step, rows=torch.tensor(rows)), tokens[rows])


def test_a_bad_row_is_named_among_rows_that_are_drawn_apart() -> None:
    """The row of the batch, not of the rows drawn with it."""
    logits = torch.zeros(3, 8)
    logits[2, 0] = math.nan
    with pytest.raises(ValueError, match="got NaN in row 2"):
        sample(logits, seeds=[1, 2, 3], top_k=[2, 0, 0])


def test_all_greedy_row_by_row_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    logits = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    assert sample(logits, temperature=[0.0, 0.0], generator=generator).tolist() == [1, 0]
    assert torch.equal(generator.get_state(), before)


def test_seeds_and_steps_of_any_kind_of_integer() -> None:
    """Lists, tuples, arrays and tensors; a step for all rows, or one per row."""
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    expected = sample(logits, seeds=[5, -1, 2**64 - 2], step=4)
    for seeds in ((5, -1, -2), torch.tensor([5, -1, -2]), np.array([5, -1, -2]), [np.int64(5), torch.tensor(-1), -2]):
        assert torch.equal(sample(logits, seeds=seeds, step=4), expected)
    assert torch.equal(sample(logits, seeds=np.array([5, 2**64 - 1, 2**64 - 2], dtype=np.uint64), step=4), expected)
    for step in (np.int64(4), torch.tensor(4), np.array(4), [4, 4, 4], (4, 4, 4), np.full(3, 4), torch.full((3,), 4)):
        assert torch.equal(sample(logits, seeds=[5, -1, -2], step=step), expected)
    apart = sample(logits, seeds=[5, -1, -2], step=[4, 9, 2**70])
    for i, step in enumerate((4, 9, 2**70)):
        assert torch.equal(sample(logits[i : i + 1], seeds=[[5, -1, -2][i]], step=step), apart[i : i + 1])


def test_nan_in_the_logits_is_not_blamed_on_the_steps() -> None:
    logits = torch.tensor([[0.0, math.nan]])
    with pytest.raises(ValueError, match=r"^logits must have no NaN"):
        sample(logits, suppress_tokens=[0])


@pytest.mark.parametrize(
    "options",
    [
        {"typical_p": 0.9, "temperature": 0.7},
        {"typical_p": 0.9},
        {"epsilon_cutoff": 1e-3, "temperature": [0.5 + i / 8 for i in range(12)]},
        {"dynamic_temperature": 0.5, "temperature": 0.9, "typical_p": 0.9},
    ],
)
def test_races_over_the_whole_vocabulary_are_the_oracles(options: dict) -> None:
    """Filters that no shortlist serves: the winner among what they keep, at each row's temperature."""
    logits = 3 * torch.randn(12, 300, generator=torch.Generator().manual_seed(2))
    seeds = [7**i for i in range(12)]
    temperature = options.get("temperature", 1.0)
    for step in range(5):
        sampler = Sampler(SamplingParams(**options), batch_size=12, vocab_size=300, device="cpu", seeds=seeds)
        tokens, kept = sampler.select(logits, step=step).tolist(), sampler.process(logits)
        for i, seed in enumerate(seeds):
            row = torch.where(kept[i] > -math.inf, logits[i], -math.inf).tolist()
            own = temperature[i] if isinstance(temperature, list) else temperature
            if "dynamic_temperature" in options:  # its temperature is in the filtered logits alone
                row, own = kept[i].tolist(), 1.0
            assert seeded_token(row, own, seed, step) == tokens[i]


def test_scores_too_close_for_two_devices_are_decided_in_python() -> None:
    """Logits that undo the noise leave scores of 0 up to rounding: the largest by Python's logarithms wins."""
    keys, token_ids = counter_keys(torch.tensor([3]), 0), torch.arange(50)
    level = counter_exponential(keys, token_ids).log()
    top = float(level.amax())
    score = [x - top - math.log(-math.log1p(-uniform(3, 0, i))) for i, x in enumerate(level[0].tolist())]
    expected = score.index(max(score))
    assert full_winner(level, level, keys, None).tolist() == [expected]
    nudged = level.clone()
    nudged[0, 7] += 1e-9
    assert full_winner(nudged, nudged, keys, None).tolist() == [7]


def test_no_token_has_the_least_noise_there_is_by_its_seed() -> None:
    """The hash takes 0 to 0: seed 0 at step 0, and other pairs that cancel, must not give token 0 every draw."""
    inverse = pow(0xC6A4A7935BD1E995, -1, 2**64)  # of the seed's factor: these seeds and their steps sum to 0
    pairs = [(0, 0)] + [(-step * 0x2545F4914F6CDD1D * inverse % 2**64, step) for step in (1, 2, 7)]
    for seed, step in pairs:
        wrapped = torch.tensor([seed - 2**64 if seed >= 2**63 else seed])
        assert counter_uniform(counter_keys(wrapped, step), torch.arange(8)).min() > 1e-4
        assert row_key(seed, step) == int(counter_keys(wrapped, step)) % 2**64
        assert row_key(seed, step) == int(counter_keys(wrapped, torch.tensor([step]))) % 2**64
    logits = torch.zeros(2, 1000)
    logits[0, 0] = logits[1, 0] = -8.0
    for rows in (1, 2):
        for options in ({}, {"top_k": 1000}, {"typical_p": 0.99}, {"epsilon_cutoff": 1e-9}):
            assert 0 not in sample(logits[:rows], seeds=[0, 0][:rows], **options).tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_torch_s_default_type_changes_no_token(dtype: torch.dtype) -> None:
    """Whenever it is set: before the first draw, which asks how torch's stream is made, or after it."""
    cases = [
        (torch.randn(rows, vocab, generator=torch.Generator().manual_seed(rows)) * spread, options, seeds)
        for spread in (0.05, 2.0)
        for rows, vocab in ((1, 300), (4, 5000), (9, 1000))
        for options in ({}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.01}, {"typical_p": 0.9}, {"xtc_probability": 0.5})
        for seeds in (None, list(range(rows)))
    ]

    def draws() -> list[tuple[list[int], int]]:
        found = []
        for logits, options, seeds in cases:
            generator = torch.Generator().manual_seed(7)
            tokens = sample(logits, seeds=seeds, generator=None if seeds else generator, **options)
            found.append((tokens.tolist(), int(generator.get_state().sum())))
        return found

    expected, default = draws(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        assert draws() == expected
        torch_stream.stream_is_known.cache_clear()
        assert draws() == expected
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize("level", [-3e38, -1e17, 1e17, 3e38])
def test_seeds_draw_from_logits_of_any_size(level: float) -> None:
    """Forty equal logits, whatever their size: the noise is not lost in them."""
    for options in ({}, {"top_k": 5}, {"top_p": 0.9}, {"typical_p": 0.9}, {"epsilon_cutoff": 1e-9}):
        many = sample(torch.full((40, 40), level), seeds=range(40), **options)
        alone = [int(sample(torch.full((1, 40), level), seeds=[seed], **options)) for seed in range(40)]
        assert many.tolist() == alone
        assert len(set(alone)) > 10


def test_inputs_are_unchanged() -> None:
    logits = language_model(3, 5000, torch.Generator().manual_seed(0))
    before = logits.clone()
    for options in ({"top_k": 5, "top_p": 0.9}, {"top_p": 0.9}, {"min_p": 0.1}, {}):
        sample(logits, temperature=0.7, seeds=[1, 2, 3], **options)
        sample(logits, temperature=0.7, **options)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("rows", [1, 3])
@known_stream
def test_rows_of_equal_logits_need_no_list(rows: int) -> None:
    """A whole vocabulary of equal logits is not listed: transformers' arithmetic draws, from the same stream."""
    logits = torch.zeros(rows, 150_001)
    one, two = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    sampler = Sampler(
        SamplingParams(top_k=50, top_p=0.9), batch_size=rows, vocab_size=150_001, device="cpu", generator=one
    )
    expected = library_draw(processors_for(1.0, 50, 0.9, None, 1), logits, two)
    assert torch.equal(sampler.select(logits), expected)
    assert torch.equal(one.get_state(), two.get_state())
    assert sampler.fallbacks == rows


def test_an_empty_batch_draws_nothing() -> None:
    assert sample(torch.empty(0, 5), top_k=2).shape == (0,)
    assert sample(torch.empty(0, 5), top_k=2, seeds=[]).shape == (0,)


def test_an_empty_batch_has_empty_logprobs() -> None:
    drawn = sample(torch.zeros(0, 5), logprobs=2)
    assert drawn.token_ids.shape == drawn.logprobs.shape == (0,)
    assert drawn.top_logprobs.shape[0] == drawn.top_token_ids.shape[0] == 0


def test_compacted_rows_keep_their_draws() -> None:
    """Rows that left still consume their part of the stream: the others' tokens stay the same."""
    logits = language_model(6, 5000, torch.Generator().manual_seed(0))
    for options in ({"top_k": 50, "top_p": 0.9}, {}, {"typical_p": 0.8}):
        params = SamplingParams(temperature=0.8, **options)
        one, two = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
        shape = {"batch_size": 6, "vocab_size": 5000, "device": "cpu"}
        everything = Sampler(params, **shape, generator=one).select(logits)
        rows = torch.tensor([1, 4, 5])
        some = Sampler(params, **shape, generator=two).select(logits[rows], rows=rows)
        assert torch.equal(some, everything[rows])
        assert torch.equal(one.get_state(), two.get_state())


@pytest.mark.parametrize("rows", [[0], [1, 0], [3], [2, 4]])
@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"typical_p": 0.8}, {"epsilon_cutoff": 1e-5}])
def test_rows_behind_the_last_one_drawn_move_the_stream_on(rows: list[int], options: dict[str, float]) -> None:
    """Of 40,000 tokens a row is a block of the noise by itself, and the blocks behind hold no row that is drawn."""
    logits, states = torch.randn(5, 40_000, generator=torch.Generator().manual_seed(1)), []
    for chosen in (None, torch.tensor(rows)):
        generator = torch.Generator().manual_seed(5)
        sampler = Sampler(SamplingParams(**options), batch_size=5, vocab_size=40_000, device="cpu", generator=generator)
        drawn = sampler.select(logits if chosen is None else logits[chosen], rows=chosen)
        states.append((generator.get_state(), drawn))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1][rows], states[1][1])


# parity


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None, derandomize=True)
@known_stream
def test_draws_equal_the_library(seed: int) -> None:
    """Tokens and generator state on adversarial logits, for the batch and per row (make fuzz runs many more)."""
    compare_draw(random.Random(seed), Tally())


@pytest.mark.parametrize(
    "options", [{"top_k": 50, "top_p": 0.95}, {"top_p": 0.9}, {"min_p": 0.05}, {}], ids=lambda o: "-".join(o) or "none"
)
def test_draws_equal_the_library_on_a_large_vocabulary(options: dict) -> None:
    """16 rows at V = 151,936, from torch's global stream; the fast path takes all of them."""
    logits = language_model(16, LARGE, torch.Generator().manual_seed(1))
    chain = processors_for(0.8, options.get("top_k", 0), options.get("top_p", 1.0), options.get("min_p"), 1)
    torch.manual_seed(11)
    expected = library_draw(chain, logits, None)
    after = torch.get_rng_state()
    torch.manual_seed(11)
    sampler = Sampler(SamplingParams(temperature=0.8, **options), batch_size=16, vocab_size=LARGE, device="cpu")
    assert torch.equal(sampler.select(logits), expected)
    assert torch.equal(torch.get_rng_state(), after)
    assert sampler.fallbacks == 0


@pytest.mark.parametrize("options", [{"top_k": 50, "top_p": 0.95}, {"top_p": 0.9}, {"min_p": 0.05}, {"top_k": 50}])
def test_seeded_draws_of_language_models_are_proven(options: dict) -> None:
    """Sixteen rows in each of twenty steps: none is drawn over the whole vocabulary."""
    logits = language_model(16, 5000, torch.Generator().manual_seed(1))
    shape = {"batch_size": 16, "vocab_size": 5000, "device": "cpu"}
    sampler = Sampler(SamplingParams(temperature=0.8, **options), **shape, seeds=list(range(16)))
    for step in range(20):
        sampler.select(logits, step=step)
    assert (sampler.drawn, sampler.fallbacks) == (320, 0)


@pytest.mark.parametrize("rows", [2, 12])
def test_rounding_decides_between_tokens_as_in_the_library(rows: int) -> None:
    """Logits that undo the noise: thirty tokens of equal probability / noise but for float32's rounding."""
    chain = processors_for(1.0, 50, 1.0, None, 1)
    for seed in range(40):
        noise = torch.empty(rows, 1000).exponential_(generator=torch.Generator().manual_seed(seed))
        logits = torch.full((rows, 1000), -30.0)
        logits[:, ::33] = noise[:, ::33].log()
        one, two = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        tokens = sample(logits, top_k=50, generator=one)
        assert torch.equal(tokens, library_draw(chain, logits, two))
        assert torch.equal(one.get_state(), two.get_state())


def test_every_warper_of_the_library_in_its_order() -> None:
    logits = language_model(4, 1000, torch.Generator().manual_seed(2))
    options = {"top_k": 200, "top_p": 0.99, "min_p": 1e-4, "typical_p": 0.9, "epsilon_cutoff": 1e-5, "eta_cutoff": 1e-4}
    chain = [
        library.TemperatureLogitsWarper(0.7),
        library.TopKLogitsWarper(200),
        library.TopPLogitsWarper(0.99),
        library.MinPLogitsWarper(1e-4),
        library.TypicalLogitsWarper(0.9),
        library.EpsilonLogitsWarper(1e-5),
        library.EtaLogitsWarper(1e-4),
    ]
    for seed in range(20):
        one, two = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        ours = sample(logits, temperature=0.7, generator=one, **options)
        assert torch.equal(ours, library_draw(chain, logits, two))
        assert torch.equal(one.get_state(), two.get_state())


@known_stream
def test_the_stream_at_chosen_places() -> None:
    assert stream_is_known()
    for rows, vocab_size in ((1, 200_000), (3, 5), (4, 70_001)):
        one, two = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
        torch.rand(3, generator=one), torch.rand(3, generator=two)
        expected = torch.empty(rows, vocab_size).exponential_(generator=one)
        places = torch.randint(rows * vocab_size, (200,))
        snapshots = {rows - 1: torch.empty(0)}
        ours = torch.from_numpy(exponentials_at(places.numpy(), rows, vocab_size, two, snapshots))
        assert torch.equal(ours, expected.flatten()[places].double())
        assert torch.equal(one.get_state(), two.get_state())
        assert torch.equal(row_exponentials(snapshots[rows - 1], vocab_size)[0], expected[-1])


@known_stream
def test_another_build_s_stream_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that differs in one place is told, so that torch's own exponentials are drawn instead."""
    ask = stream_is_known.__wrapped__
    assert ask()
    ours = torch_stream.exponentials_of_bits
    monkeypatch.setattr(torch_stream, "exponentials_of_bits", lambda bits: ours(bits) + (np.arange(len(bits)) == 700))
    assert not ask()


# errors


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"top_p": 1.5}, ValueError, "top_p must be in [0, 1]; got 1.5"),
        ({"top_p": [0.5, 2.0]}, ValueError, "top_p must be in [0, 1]; got 2 in row 1"),
        ({"temperature": -1.0}, ValueError, "temperature must be a finite number >= 0; got -1.0"),
        ({"top_k": torch.tensor([1, -2])}, ValueError, "top_k must be an integer >= 0; got -2 in row 1"),
        ({"top_k": [1, 2, 3]}, ValueError, "top_k must be a number or of shape [2], one per row; got [3]"),
        ({"seeds": [1]}, ValueError, "seeds must be of shape [2], one per row; got [1]"),
        ({"seeds": [1, 2.0]}, TypeError, "seeds must be ints, one per row; got 2.0 in row 1"),
        ({"seeds": 5}, TypeError, "seeds must be ints, one per row; got int"),
        ({"seeds": [True, 1]}, TypeError, "seeds must be ints, one per row; got True in row 0"),
        ({"seeds": [1, 2], "step": 1.5}, TypeError, "step must be an int, or ints, one per row; got 1.5"),
        ({"seeds": [1, 2], "step": True}, TypeError, "step must be an int, or ints, one per row; got True"),
        ({"seeds": [1, 2], "step": [0, "a"]}, TypeError, "step must be ints, one per row; got 'a' in row 1"),
        (
            {"seeds": [1, 2], "step": [1, 2, 3]},
            ValueError,
            "step must be an int or of shape [2], one per row; got [3]",
        ),
        (
            {"seeds": [1, 2], "step": torch.zeros(2)},
            TypeError,
            "step must be an int, or ints, one per row; got torch.float32",
        ),
        ({"generator": 5}, TypeError, "generator must be a torch.Generator; got int"),
        ({"params": {"top_k": 1}}, TypeError, "params must be SamplingParams; got dict"),
        ({"top_k": [True, 1]}, TypeError, "top_k must be a number, or numbers, one per row; got True in row 0"),
        ({"top_p": [0.5, None]}, TypeError, "top_p must be a number, or numbers, one per row; got None in row 1"),
        ({"top_p": "0.9"}, TypeError, "top_p must be a number, a sequence of numbers or a tensor; got str"),
        ({"validate": 1}, TypeError, "validate must be a bool; got 1"),
        ({"order": "top_k"}, TypeError, "order must be a sequence of names; got 'top_k'"),
        (
            {"suppress_tokens": [[], [*range(9)]]},
            ValueError,
            "logits after suppress_tokens must have no NaN, no +inf and a finite value in every row; "
            "got only -inf in row 1",
        ),
        ({"seeds": torch.tensor([1.0, 2.0])}, TypeError, "seeds must be integers; got torch.float32"),
        ({"top_q": 1}, TypeError, "sample got an unknown option 'top_q'; did you mean 'top_p'?"),
        ({"zzzzz": 1}, TypeError, "sample got an unknown option 'zzzzz'"),
        ({"logprobs": -1}, ValueError, "logprobs must be >= 0; got -1"),
    ],
)
def test_errors_leave_the_stream_alone(options: dict, error: type, text: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with pytest.raises(error) as caught:
        sample(torch.zeros(2, 9), **options)
    assert str(caught.value) == text
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.1}, {"typical_p": 0.5}])
@pytest.mark.parametrize(("bad", "found"), [(math.nan, "NaN"), (math.inf, "+inf"), (-math.inf, "only -inf")])
@pytest.mark.parametrize("vocab_size", [9, 5000])
def test_bad_rows_are_named_before_anything_is_drawn(options: dict, bad: float, found: str, vocab_size: int) -> None:
    logits = torch.randn(3, vocab_size, generator=torch.Generator().manual_seed(0))
    if bad == -math.inf:
        logits[2] = bad
    else:
        logits[2, vocab_size - 2] = bad
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for extra in ({}, {"seeds": [1, 2, 3]}):
        with pytest.raises(ValueError) as caught:
            sample(logits, **options, **extra)
        text = f"logits must have no NaN, no +inf and a finite value in every row; got {found} in row 2"
        assert str(caught.value) == text
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda s: s.select(torch.zeros(3, 5)), "logits must have 2 rows; got 3"),
        (lambda s: s.select(torch.zeros(2, 6)), "logits must have 5 columns; got 6"),
        (
            lambda s: s.select(torch.zeros(2, 5), rows=torch.tensor([0])),
            "rows must be of shape [2], one per row; got [1]",
        ),
        (lambda s: s.select(torch.zeros(1, 5), rows=torch.tensor([2])), "rows must be in [0, 2); got 2"),
        (lambda s: s.select(torch.zeros(1, 5), rows=torch.tensor([-1])), "rows must be in [0, 2); got -1"),
        (lambda s: s.select(torch.zeros(1, 5), rows=[0]), "rows must be an int64 tensor; got list"),
        (lambda s: s.select(torch.zeros(1, 5), rows=torch.ones(1)), "rows must be an int64 tensor; got torch.float32"),
    ],
)
def test_shapes_are_checked(call, text: str) -> None:
    sampler = Sampler(SamplingParams(), batch_size=2, vocab_size=5, device="cpu")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with pytest.raises((ValueError, TypeError)) as caught:
        call(sampler)
    assert str(caught.value) == text
    assert torch.equal(torch.get_rng_state(), before)


def test_a_chain_takes_compiled_options() -> None:
    with pytest.raises(TypeError, match=r"^params must be what SamplingParams.compiled returns; got SamplingParams$"):
        apply_chain(torch.zeros(1, 3), SamplingParams(top_k=1))


def test_the_order_must_name_every_filter() -> None:
    with pytest.raises(ValueError, match="order must be an arrangement of"):
        SamplingParams(order=("top_k",))


# statistics


def test_seeded_draws_follow_the_distribution() -> None:
    """Chi-square over 60,000 draws of each shape: a false failure once in 10^6 (make fuzz: 5 million draws)."""
    for shape in SHAPES:
        assert chi_square_seeded(shape, 60_000) > 1e-6


def test_noise_has_full_resolution() -> None:
    """The smallest of 2^22 uniforms lies below 2^-18 but for odds of exp(-16), and no two are equal in 2^63."""
    tokens = torch.arange(2**22)
    noise = counter_uniform(counter_keys(torch.tensor([5]), 0), tokens)[0]
    assert noise.min() < 2**-18
    assert len((noise * 2.0**53).long().unique()) == len(tokens)
