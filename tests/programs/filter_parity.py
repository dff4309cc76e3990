"""Every filter beside the processor of transformers that it replaces, and one drawn comparison of them."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.generation import logits_process as library

from afterlogits import decoding
from tests.builders.logits_cases import DTYPES, SIZES, draw_logits, draw_share, draw_top_k


@dataclass(frozen=True)
class Filter:
    function: str
    draw: Callable[[random.Random, int], Any]
    processor: Callable[[Any, int], Any] | None


def _inside(rng: random.Random) -> float:
    return min(max(draw_share(rng), 1e-7), 1 - 1e-7)


def _temperature(rng: random.Random, _: int) -> float:
    return rng.choice([0.1, 0.5, 0.7, 0.8, 1.0, 1.3, 2.0, 10.0, rng.uniform(0.01, 3)])


FILTERS = {
    "temperature": Filter("apply_temperature", _temperature, lambda x, keep: library.TemperatureLogitsWarper(float(x))),
    "top_k": Filter("apply_top_k", draw_top_k, lambda x, keep: library.TopKLogitsWarper(x, min_tokens_to_keep=keep)),
    "top_p": Filter(
        "apply_top_p",
        lambda rng, v: min(draw_share(rng), 1 - 1e-7),
        lambda x, keep: library.TopPLogitsWarper(x, min_tokens_to_keep=keep),
    ),
    "min_p": Filter(
        "apply_min_p",
        lambda rng, v: draw_share(rng),
        lambda x, keep: library.MinPLogitsWarper(x, min_tokens_to_keep=keep),
    ),
    "typical_p": Filter(
        "apply_typical_p",
        lambda rng, v: _inside(rng),
        lambda x, keep: library.TypicalLogitsWarper(x, min_tokens_to_keep=keep),
    ),
    "epsilon": Filter(
        "apply_epsilon",
        lambda rng, v: _inside(rng) * rng.choice([1, 1e-2, 1e-4]),
        lambda x, keep: library.EpsilonLogitsWarper(x, min_tokens_to_keep=keep),
    ),
    "eta": Filter(
        "apply_eta",
        lambda rng, v: _inside(rng) * rng.choice([1, 1e-2, 1e-4]),
        lambda x, keep: library.EtaLogitsWarper(x, min_tokens_to_keep=keep),
    ),
}
if hasattr(library, "TopHLogitsWarper"):  # transformers 5
    FILTERS["top_h"] = Filter(
        "apply_top_h", lambda rng, v: max(draw_share(rng), 1e-7), lambda x, keep: library.TopHLogitsWarper(x)
    )


def compare_case(rng: random.Random, *, vocab_size: int | None = None, rows: int | None = None) -> int:
    """Draw one batch and compare every filter on it, one value for the batch and one per row; returns comparisons."""
    vocab_size = vocab_size or rng.choice(SIZES)
    rows = rows or rng.choice([1, 1, 2, 3, 5])
    logits = draw_logits(rng, vocab_size, rows, rng.choice(DTYPES))
    compared = 0
    for name, case in FILTERS.items():
        keep = rng.choice([1, 1, 2, 3])
        options = {"min_tokens_to_keep": keep} if name not in ("temperature", "top_h") else {}
        ours = getattr(decoding, case.function)
        values = [case.draw(rng, vocab_size) for _ in range(rows)]
        expected = [case.processor(value, keep)(None, logits) for value in values]
        for i, value in enumerate(values[:1]):
            _same(ours(logits, value, **options), expected[i], name, value)
        per_row = values if rng.random() < 0.5 else torch.tensor(values, dtype=torch.float64)
        _same(ours(logits, per_row, **options), torch.stack([e[i] for i, e in enumerate(expected)]), name, values)
        compared += 1 + rows
    return compared


def _same(ours: torch.Tensor, expected: torch.Tensor, name: str, value: Any) -> None:
    torch.testing.assert_close(
        ours,
        expected,
        rtol=0,
        atol=0,
        equal_nan=True,
        msg=lambda m: f"{name}={value} on {tuple(ours.shape)} {ours.dtype}: {m}",
    )
