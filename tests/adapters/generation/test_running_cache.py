"""The cache of a running batch against lists: what each row's columns hold, whatever joined, left and moved."""

from __future__ import annotations

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache

from afterlogits.adapters.generation.running_cache import RunningCache

HEADS, KEY, VALUE = 2, 3, 5


def states(rows: int, length: int, number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return (
        torch.randn(rows, HEADS, length, KEY, generator=generator),
        torch.randn(rows, HEADS, length, VALUE, generator=generator),
    )


def check(cache: RunningCache, oracle: list[list[Tensor]]) -> None:
    """Every row's own columns are the last ones; those before its first are zeros."""
    for number, layer in enumerate(cache.layers if oracle else []):
        assert layer.get_seq_length() == cache.width
        for row, own in enumerate(oracle):
            held = torch.cat((layer.keys, layer.values), dim=-1)[row]
            expected = torch.cat([column[number] for column in own], dim=1)
            assert cache.end - cache.first[row] == expected.shape[1]
            assert torch.equal(held[:, cache.width - expected.shape[1] :], expected)
            assert not held[:, : cache.width - expected.shape[1]].any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_rows_hold_what_they_were_given(seed: int) -> None:
    """Drawn sequences of prompts that join, steps and rows that leave, over several moves of the buffer."""
    rng = random.Random(seed)
    cache, oracle, number = RunningCache(max_rows=5), list[list[list[Tensor]]](), 0
    for _ in range(rng.randint(1, 12)):
        free = 5 - len(oracle)
        if (free and rng.random() < 0.6) or not oracle:
            lengths = [rng.randint(1, rng.choice([3, 20, 150])) for _ in range(rng.randint(1, free))]
            prefilled = DynamicCache()
            for layer in range(2):
                number += 1
                prefilled.update(*states(len(lengths), max(lengths), number), layer)
            for row, length in enumerate(lengths):
                both = [torch.cat((one.keys, one.values), -1)[row, :, -length:] for one in prefilled.layers]
                oracle.append([both])
            cache.join(prefilled.layers, lengths)
        for _ in range(rng.choice([0, 1, 7, 90])):
            cache.make_room()
            column: list[Tensor] = []
            for layer in range(2):
                number += 1
                keys, values = states(len(oracle), 1, number)
                shown = cache.update(keys, values, layer)
                assert shown[0].shape[2] == cache.width + 1
                column.append(torch.cat((keys, values), -1))
            cache.advance()
            for row, own in enumerate(oracle):
                own.append([one[row] for one in column])
        check(cache, oracle)
        if rng.random() < 0.6:
            staying = rng.sample(range(len(oracle)), rng.randint(0, len(oracle)))
            cache.keep(torch.tensor(staying, dtype=torch.int64))
            oracle = [oracle[row] for row in staying]
            check(cache, oracle)


def test_memory_follows_the_longest_row_and_not_the_time() -> None:
    """Two rows of 10 columns that take turns for 2,000 steps: never more than a few times what they hold."""
    cache = RunningCache(max_rows=2)
    for turn in range(200):
        prefilled = DynamicCache()
        prefilled.update(*states(1, 2, turn), 0)
        cache.join(prefilled.layers, [2])
        for step in range(10):
            cache.make_room()
            cache.update(*states(len(cache.first), 1, step), 0)
            cache.advance()
        if len(cache.first) == 2:
            cache.keep(torch.tensor([1]))
        assert cache.width <= 24
        assert cache.layers[0].buffers[0].shape[2] <= 2 * 24 + 64


def test_what_is_held_can_shrink_again() -> None:
    """A prompt of 1,000 columns makes a wide buffer; once it has left, a move makes it small."""
    cache = RunningCache(max_rows=2)
    for length in (1000, 3):
        prefilled = DynamicCache()
        prefilled.update(*states(1, length, 0), 0)
        cache.join(prefilled.layers, [length])
    cache.keep(torch.tensor([1]))
    for step in range(1200):
        cache.make_room()
        cache.update(*states(1, 1, step), 0)
        cache.advance()
        cache.keep(torch.tensor([0]))
        cache.first = [cache.end - 3]
    assert cache.layers[0].buffers[0].shape[2] < 200
