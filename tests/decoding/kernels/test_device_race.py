"""Noise of a device's seeded draws: that of the counter, bit for bit, whichever steps and rows are asked for."""

import random

import numpy as np
import torch

from afterlogits.decoding.kernels.counter_noise import counter_exponential, counter_keys, counter_uniform
from afterlogits.decoding.kernels.device_race import StepNoise
from afterlogits.decoding.kernels.rejection import FIRST, PROPOSALS

VOCAB_SIZE = 300
SEEDS = torch.tensor([0, 7, -3, 2**63 - 1])


def test_noise_is_the_counter_s() -> None:
    """40 drawn steps, forward, back and far, of all rows and of some: race, proposals and coins."""
    drawn, noise = random.Random(0), StepNoise(SEEDS, VOCAB_SIZE, proposals=True)
    some = torch.tensor([3, 0])
    places = torch.cat((torch.arange(VOCAB_SIZE), torch.arange(FIRST, FIRST - 2 * PROPOSALS, -1)))
    for _ in range(40):
        step = drawn.choice([0, drawn.randrange(200), 10**6, 2**62 + 5])
        rows = drawn.choice([None, some])
        keys = counter_keys(SEEDS if rows is None else SEEDS[rows], step)
        assert torch.equal(noise.keys(step, rows), keys)
        found = noise.of(step, rows)
        chances = counter_uniform(keys, places[VOCAB_SIZE:])
        assert torch.equal(found.uniforms, -counter_uniform(keys, places[:VOCAB_SIZE]))
        assert torch.equal(found.race(), counter_exponential(keys, places[:VOCAB_SIZE]).log())
        assert torch.equal(found.token_ids, (chances[:, ::2] * VOCAB_SIZE).long().clamp(max=VOCAB_SIZE - 1))
        assert torch.equal(found.coins[:, 1:], chances[:, 1::2]) and (found.coins[:, 0] == torch.inf).all()


def test_steps_of_a_tensor() -> None:
    """A step that a graph moves on, and one a row."""
    noise = StepNoise(SEEDS, VOCAB_SIZE, proposals=False)
    rows = torch.tensor([2, 1])
    assert torch.equal(noise.keys(torch.tensor(9)), counter_keys(SEEDS, 9))
    assert torch.equal(noise.keys(torch.tensor([5, 6, 7, 8]), rows), counter_keys(SEEDS[rows], torch.tensor([7, 6])))
    race = noise.of(torch.tensor(9)).race()
    assert torch.equal(race, StepNoise(SEEDS, VOCAB_SIZE, proposals=False, ahead=False).of(9).race())


def test_counters_of_several_steps_at_once() -> None:
    """[1, N] seeds beside [S, 1] steps, as tensors and as arrays; the only counter of 0 is moved off it."""
    steps = torch.arange(3)[:, None]
    together = counter_keys(SEEDS[None], steps)
    assert together.shape == (3, 4, 1)
    assert torch.equal(together, torch.stack([counter_keys(SEEDS, step) for step in range(3)]))
    assert np.array_equal(counter_keys(SEEDS.numpy()[None], steps.numpy()), together.numpy())
    assert together[0, 0, 0] != 0
