"""The ladder: its table as printed, the way that draws each kind of row, and how short a call is."""

import inspect

import numpy as np
import pytest
import torch

from afterlogits.benchmarks.workloads import adversarial, flat, peaked
from afterlogits.decoding import SamplingParams, sample
from afterlogits.decoding.kernels.counter_noise import counter_keys
from afterlogits.decoding.kernels.exponential_race import full_winner
from afterlogits.decoding.sampling import ladder
from afterlogits.decoding.sampling.batch import Batch
from afterlogits.decoding.sampling.ladder import LADDER
from afterlogits.decoding.sampling.plan import Plan
from tests.builders.versions import known_stream
from tests.programs.trace_sample import trace

V = 20_000


def few(rows: int) -> torch.Tensor:
    """1, 2, 4, ... tokens of each row are left, at most 128; the others are forbidden."""
    generator = torch.Generator().manual_seed(rows)
    logits = torch.full((rows, V), -torch.inf)
    for row in range(rows):
        tokens = torch.randperm(V, generator=generator)[: 2 ** (row % 8)]
        logits[row, tokens] = 3 * torch.randn(len(tokens), generator=generator)
    return logits


def ways_taken(logits: torch.Tensor, seeds: bool, **options) -> list[str]:
    """The ways that drew a row, in order."""
    rows, vocab_size = logits.shape
    plan = Plan(SamplingParams(**options), rows, vocab_size, torch.device("cpu"))
    batch = Batch(plan, logits, torch.arange(rows) if seeds else None, None, 1)
    names, taken = {way.draw: way.name for way in LADDER}, []
    for way, most_rows in plan.ways[seeds]:
        left = len(batch.left)
        if left and rows <= most_rows:
            with np.errstate(all="ignore"):
                way(batch)
            taken += [names[way]] if len(batch.left) < left else []
    assert not batch.left
    return taken


def test_the_docstring_prints_the_table() -> None:
    width = max(len(way.name) for way in LADDER)
    table = "\n".join(f"{way.name:{width}}  {way.when}" for way in LADDER)
    assert table in inspect.getdoc(ladder)


@pytest.mark.parametrize(
    ("rows", "seeds", "options", "ways"),
    [
        (peaked(16, V), True, {"temperature": 0.0}, ["greedy"]),
        (peaked(4, V), False, {"top_k": 50}, ["small batch"]),
        (peaked(16, V), True, {"top_k": 50, "top_p": 0.9}, ["largest logits"]),
        (peaked(16, V), False, {"top_p": 0.9, "temperature": 0.8}, ["largest logits"]),
        (flat(16, V), True, {"top_p": 0.9}, ["whole rows"]),
        (0.1 * flat(16, V), True, {"top_p": 0.9}, ["proposals"]),
        (0.1 * flat(16, V), False, {"top_p": 0.9}, ["whole rows"]),
        (flat(16, V), False, {}, ["whole rows"]),
        (few(16), False, {}, ["few tokens"]),
        (few(16), True, {"temperature": 0.7}, ["few tokens"]),
        (few(16), False, {"typical_p": 0.9}, ["whole rows"]),
        (torch.cat([flat(8, V), few(8)]), True, {}, ["few tokens", "whole rows"]),
        (torch.cat([flat(8, V), few(8)]), False, {}, ["few tokens", "whole rows"]),
        (flat(16, V), False, {"typical_p": 0.9}, ["whole rows"]),
        (flat(16, V), False, {"epsilon_cutoff": 1e-5}, ["filtered rows"]),
        (torch.zeros(12, V), False, {"top_k": 50, "top_p": 0.9}, ["transformers' operations"]),
        (adversarial(12, V).double(), False, {"top_p": 0.9}, ["transformers' operations"]),
        (torch.cat([flat(8, V), peaked(8, V)]), False, {"top_p": 0.9}, ["largest logits", "whole rows"]),
    ],
)
@known_stream
def test_each_kind_of_row_is_drawn_its_own_way(rows: torch.Tensor, seeds: bool, options: dict, ways: list) -> None:
    assert ways_taken(rows, seeds, **options) == ways


@known_stream
@pytest.mark.parametrize("vocab_size", [32_000, 151_936])
def test_a_call_passes_few_functions(vocab_size: int) -> None:
    """Top-p on rows of a language model: 25 functions of this package at most, of 8 files."""
    logits = peaked(16, vocab_size)
    sample(logits, top_p=0.9)
    passed = trace(lambda: sample(logits, top_p=0.9))
    assert len(passed) <= 25
    assert len({file for file, _ in passed}) <= 8


@known_stream
@pytest.mark.parametrize("temperature", [1.0, 0.3, [0.0, 0.7] * 11])
def test_few_tokens_are_drawn_as_whole_rows_are(temperature: object) -> None:
    """Beside rows that keep all tokens: with seeds the exact race's tokens, without them torch.multinomial's, and the
    stream is as far on."""
    logits = torch.cat([few(11), flat(5, V), few(6).round()])
    wide = torch.as_tensor(temperature, dtype=torch.float64).reshape(-1, 1).expand(22, 1)
    for seed in range(20):
        torch.manual_seed(seed)
        drawn, state = sample(logits, temperature=temperature), torch.get_rng_state()
        torch.manual_seed(seed)
        divided = logits / wide.where(wide > 0, 1.0).to(torch.float32)
        expected = torch.multinomial(divided.softmax(-1), 1)[:, 0]
        assert torch.equal(drawn, torch.where(wide[:, 0] > 0, expected, logits.argmax(-1)))
        assert torch.equal(state, torch.get_rng_state())
        seeds = torch.arange(22) + seed
        raced = full_winner(logits.double(), logits, counter_keys(seeds, 3), wide.where(wide > 0, 1.0))
        raced = torch.where(wide[:, 0] > 0, raced, logits.argmax(-1))
        some = [row for row in range(22) if not 11 <= row < 16]  # flat ones may be drawn by proposals
        assert torch.equal(sample(logits, temperature=temperature, seeds=seeds, step=3)[some], raced[some])


def test_rows_that_may_not_be_drawn_are_named_among_few_tokens() -> None:
    logits = few(4)
    logits[2] = -torch.inf
    with pytest.raises(ValueError, match="row 2"):
        sample(logits, seeds=[1, 2, 3, 4])
