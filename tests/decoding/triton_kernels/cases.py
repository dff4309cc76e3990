"""Drawn logits and options for the kernels' tests: every shape of row that takes another way through them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afterlogits.decoding import SamplingParams
from afterlogits.decoding.kernels.counter_noise import counter_keys
from afterlogits.decoding.triton_kernels.language import HAS_TRITON, INTERPRETED
from afterlogits.decoding.triton_kernels.row_options import RowOptions

CPU = torch.device("cpu")
KINDS = ("peaked", "wide", "flat", "ties", "one value", "mostly -inf", "few", "huge", "tiny differences")


def interpreted(test):
    """Mark a test that runs kernels in Triton's interpreter.

    It reads one-element arrays as numbers, and numpy warns of arithmetic with infinities that a device does silently.
    """
    reason = "needs triton and TRITON_INTERPRET=1: make test-triton"
    test = pytest.mark.skipif(not (HAS_TRITON and INTERPRETED), reason=reason)(test)
    for silent in ("ignore:Conversion of an array with ndim:DeprecationWarning", "ignore::RuntimeWarning"):
        test = pytest.mark.filterwarnings(silent)(test)
    return test


def row_of(kind: str, vocab_size: int, random: np.random.Generator) -> np.ndarray:
    """One row of logits, float32."""
    x = random.standard_normal(vocab_size)
    if kind == "peaked":
        x = x * 2 - 4
        x[random.choice(vocab_size, 40)] += 9 + 3 * random.random(40)
    elif kind == "wide":
        x *= 3
    elif kind == "ties":
        x = np.round(x * 4) / 2
    elif kind == "one value":
        x[:] = 1.25
    elif kind == "mostly -inf":
        x[random.random(vocab_size) < 0.98] = -np.inf
    elif kind == "few":
        kept = random.choice(vocab_size, 3, replace=False)
        x[np.setdiff1d(np.arange(vocab_size), kept)] = -np.inf
    elif kind == "huge":
        x *= 200
    elif kind == "tiny differences":
        x = 7 + x * 1e-6
    return x.astype(np.float32)


def batch_of(kinds, vocab_size: int, seed: int, dtype: torch.dtype = torch.float32, apart: int = 0) -> torch.Tensor:
    """Logits with a row of each kind; rows ``apart`` numbers apart in memory."""
    random = np.random.default_rng(seed)
    rows = torch.from_numpy(np.stack([row_of(kind, vocab_size, random) for kind in kinds])).to(dtype)
    room = torch.full((len(rows), vocab_size + apart), float("nan"), dtype=dtype)
    room[:, :vocab_size] = rows
    return room[:, :vocab_size]


def compiled(options: dict, rows: int, vocab_size: int) -> RowOptions:
    """The kernels' options of a call of ``sample``."""
    found = RowOptions.of(SamplingParams(**options).compiled(rows, CPU), rows, vocab_size, CPU)
    assert found is not None
    return found


def keys_of(seeds: list[int], step: int) -> torch.Tensor:
    """The rows' counters, [B]."""
    return counter_keys(torch.tensor(seeds), step)[:, 0]


def fitting(options: dict, rows: int) -> dict:
    """Options with lists cut or repeated to so many rows."""
    return {name: (value * rows)[:rows] if isinstance(value, list) else value for name, value in options.items()}


OPTIONS = (
    {"temperature": 0.8, "top_k": 50, "top_p": 0.95},
    {"top_p": 0.9},
    {"temperature": 1.3},
    {"top_k": 20},
    {"min_p": 0.05},
    {"temperature": 0.7, "top_k": 100, "top_p": 0.8, "min_p": 0.02},
    {"top_k": 1},
    {"temperature": 0.05},
    {"top_k": 700, "top_p": 0.6},
    {"top_p": 0.3},
    {"temperature": [0.0, 0.5, 1.0, 2.0], "top_p": [1.0, 0.7, 0.95], "top_k": [0, 0, 40, 5, 900]},
)
