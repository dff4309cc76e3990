"""Dynamic time warping by anti-diagonals, against transformers' cell by cell."""

import random

import numpy as np
import pytest
import torch
from transformers.models.whisper.generation_whisper import _dynamic_time_warping

from afterlogits.postprocess.audio import warp


def draw_costs(seed):
    """Plain, tied, of half precision and with NaN."""
    generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    shape = draw.randint(1, 4), draw.randint(1, 12), draw.randint(1, 20)
    costs = torch.randn(shape, generator=generator)
    kind = seed % 4
    if kind == 1:
        costs = costs.round()
    elif kind == 2:
        costs = (costs * 100).half()
    elif kind == 3 and seed % 8 == 3:
        costs[torch.rand(shape, generator=generator) < 0.1] = torch.nan
    return costs.double() if seed % 16 == 0 else costs


def assert_same_as_transformers(costs, found, tokens=None, frames=None):
    for window, matrix in enumerate(costs.double()):
        n = matrix.shape[0] if tokens is None else tokens[window]
        m = matrix.shape[1] if frames is None else frames[window]
        text, time = _dynamic_time_warping(matrix[:n, :m].numpy())
        assert [column.tolist() for column in found.paths[window]] == [text.tolist(), time.tolist()]
        jumps = np.pad(np.diff(text), (1, 0), constant_values=1).astype(bool)
        assert found.starts[window, :n].tolist() == time[jumps].tolist()


def test_the_cheapest_path():
    """Costs 0 along (0, 0), (0, 1), (1, 2): token 1 begins at frame 2."""
    found = warp(torch.tensor([[[0.0, 0, 9], [9, 9, 0]]]))
    assert found.starts.tolist() == [[0, 2]]
    assert [column.tolist() for column in found.paths[0]] == [[0, 0, 1], [0, 1, 2]]


def test_same_as_transformers():
    """2,000 drawn batches of matrices."""
    for seed in range(2000):
        costs = draw_costs(seed)
        assert_same_as_transformers(costs, warp(costs))


def test_parts_of_matrices():
    """Windows of their own lengths in one batch are what they are alone."""
    draw = random.Random(0)
    for seed in range(300):
        costs = draw_costs(4 * seed)
        tokens = [draw.randint(1, costs.shape[1]) for _ in costs]
        frames = [draw.randint(1, costs.shape[2]) for _ in costs]
        assert_same_as_transformers(costs, warp(costs, tokens=tokens, frames=frames), tokens, frames)


def test_many_windows_go_in_groups(monkeypatch):
    costs = torch.randn(7, 6, 9, generator=torch.Generator().manual_seed(0))
    whole = warp(costs)
    monkeypatch.setattr("afterlogits.postprocess.audio.dtw.CELLS_AT_ONCE", 2 * 7 * 10)
    assert torch.equal(warp(costs).starts, whole.starts)


def test_real_size():
    """One window of 60 tokens and 700 frames."""
    costs = torch.randn(2, 60, 700, generator=torch.Generator().manual_seed(0))
    assert_same_as_transformers(costs, warp(costs))


def test_shape():
    with pytest.raises(ValueError) as caught:
        warp(torch.zeros(3, 4))
    assert str(caught.value) == "costs must be [W, N, M]; got shape [3, 4]"
