"""The grid: one sampling call against transformers' over vocabularies, batches, spreads, filters, noise and dtypes.

A cell is one combination. transformers' side is its processors, softmax and multinomial; ours is ``sample``. Both run
by turns in one process, answers first: with torch's stream the tokens are equal, with seeds each must be one that
transformers' filters leave. A ratio is the least time of the one over the least time of the other.

All 4,320 cells with both kinds of noise take hours. The bounded form measures every vocabulary x filter x spread, with
and without seeds, and lets the batch and the dtype rotate over them; the thin form is for the regression gate.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from afterlogits.benchmarks import library, workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.page import figure
from afterlogits.decoding import sample

VOCABULARIES = (1_000, 32_000, 50_257, 128_256, 151_936, 262_144)
BATCHES = (1, 4, 8, 16, 64)
SPREADS: tuple[float | str, ...] = (0.1, 0.3, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, "model")
"""Deviations of normal logits; "model" is ``workloads.peaked``."""
FILTERS: dict[str, tuple[dict[str, float], ...]] = {
    "none": ({},),
    "top-k 50": ({"top_k": 50},),
    "top-p .9": ({"top_p": 0.9},),
    "top-p .99": ({"top_p": 0.99},),
    "min-p .05": ({"min_p": 0.05},),
    "top-k + top-p": ({"top_k": 50, "top_p": 0.95},),
    "typical-p .9": ({"typical_p": 0.9},),
    "mixed rows": (
        {"top_k": 50},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"temperature": 0.7, "top_k": 40, "top_p": 0.95},
    ),
}
"""The options of a batch; several are dealt out to its rows in turn."""
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
LARGEST = 2_500_000
"""Logits of a batch in the bounded form; every vocabulary takes part with several batch sizes all the same."""
NOISES = {"stream": 1.5, "seeds": 3.0}
"""torch's stream and seeds, with the median asked of each."""
FLOOR = 0.95
"""No cell may be slower than this share of transformers' speed."""


@dataclass(frozen=True)
class Cell:
    """One combination, but for the noise: both kinds are timed on the same logits."""

    vocab_size: int
    batch_size: int
    spread: float | str
    filter: str
    dtype: str

    def logits(self) -> Tensor:
        dtype = getattr(torch, self.dtype)
        if self.spread == "model":
            return workloads.peaked(self.batch_size, self.vocab_size, dtype=dtype)
        generator = torch.Generator().manual_seed(self.vocab_size + self.batch_size)
        drawn = torch.randn(self.batch_size, self.vocab_size, generator=generator)
        return (drawn * float(self.spread)).to(dtype)

    def options(self) -> dict[str, Any]:
        """What ``sample`` takes: numbers, or lists of one for each row."""
        dealt = FILTERS[self.filter]
        if len(dealt) == 1:
            return dict(dealt[0])
        names = dict.fromkeys(name for options in dealt for name in options)
        each = [dealt[row % len(dealt)] for row in range(self.batch_size)]
        return {name: [options.get(name, OFF[name]) for options in each] for name in names}

    def warp(self) -> Callable[[Tensor], Tensor]:
        """transformers' processors; rows of unlike options go through theirs apart."""
        chains = [library.warpers(**options) if options else torch.Tensor.float for options in FILTERS[self.filter]]
        if len(chains) == 1:
            return lambda logits: chains[0](logits.to(torch.float32))

        def mixed(logits: Tensor) -> Tensor:
            logits = logits.to(torch.float32)
            warped = torch.empty_like(logits)
            for first, chain in enumerate(chains[: len(logits)]):
                warped[first :: len(chains)] = chain(logits[first :: len(chains)])
            return warped

        return mixed


def every_cell() -> Iterator[Cell]:
    """All of them."""
    for vocab_size, batch_size, dtype in itertools.product(VOCABULARIES, BATCHES, ("float32", "bfloat16")):
        for spread, name in itertools.product(SPREADS, FILTERS):
            yield Cell(vocab_size, batch_size, spread, name, dtype)


def bounded_cells() -> Iterator[Cell]:
    """Every vocabulary x spread x filter once: batches and dtypes rotate, so that each pair of values meets."""
    for v, vocab_size in enumerate(VOCABULARIES):
        batches = [size for size in BATCHES if size * vocab_size <= LARGEST]
        for s, spread in enumerate(SPREADS):
            for f, name in enumerate(FILTERS):
                yield Cell(
                    vocab_size,
                    batches[(v + s + 2 * f) % len(batches)],
                    spread,
                    name,
                    "bfloat16" if (v + s + f) % 3 == 2 else "float32",
                )


def thin_cells() -> Iterator[Cell]:
    """A dozen kinds of rows that were slow once, at one vocabulary of each size."""
    for vocab_size, batch_size in ((1_000, 16), (32_000, 1), (32_000, 16), (151_936, 4)):
        spreads: tuple[float | str, ...] = (0.3, 1.0, 2.0, "model")
        for spread, name in itertools.product(spreads, ("none", "top-p .9", "min-p .05")):
            yield Cell(vocab_size, batch_size, spread, name, "float32")


Sides: TypeAlias = dict[str, Callable[[], Tensor]]


def check(cell: Cell) -> Sides:
    """Raise unless the answers agree; returns the three sides, ready to be timed."""
    logits, options, warp = cell.logits(), cell.options(), cell.warp()
    seeds = list(range(cell.batch_size))
    sides: Sides = {
        "transformers": lambda: library.draw(warp, logits),
        "stream": lambda: sample(logits, **options),
        "seeds": lambda: sample(logits, seeds=seeds, **options),
    }
    torch.manual_seed(0)
    expected = sides["transformers"]()
    torch.manual_seed(0)
    require_same(sides["stream"](), expected)
    library.in_support(warp, logits.to(torch.float32))(sides["seeds"](), expected)
    return sides


def measure(cell: Cell, *, rounds: int = 3, least_seconds: float = 0.002) -> dict[str, Any]:
    """Check the answers, then time the three sides by turns: a record with the ratio of each kind of noise."""
    sides = check(cell)
    times: dict[str, list[float]] = {side: [] for side in sides}
    spent, turn = 0.0, 0
    while turn < rounds or (spent < least_seconds and turn < 50 * rounds):
        for side, run in sides.items():
            start = time.perf_counter()
            run()
            times[side].append(time.perf_counter() - start)
        spent, turn = spent + sum(values[-1] for values in times.values()), turn + 1
    least = {side: min(values) for side, values in times.items()}
    return asdict(cell) | {
        "threads": torch.get_num_threads(),
        "milliseconds": least["transformers"] * 1e3,
        "stream": least["transformers"] / least["stream"],
        "seeds": least["transformers"] / least["seeds"],
    }


def measure_all(cells: Sequence[Cell], *, rounds: int = 3) -> list[dict[str, Any]]:
    """``measure`` of each; a cell below the floor is measured again with more rounds, for the machine may be shared."""
    found = []
    for cell in cells:
        record = measure(cell, rounds=rounds)
        for _ in range(2):
            if below([record]):
                again = measure(cell, rounds=2 * rounds)
                record |= {noise: max(record[noise], again[noise]) for noise in NOISES}
        found.append(record)
    return found


def below(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is slower than the floor, a line for each cell and kind of noise."""
    return [
        f"{record['filter']}, {noise}, V={record['vocab_size']:,}, B={record['batch_size']}, {record['dtype']}, "
        f"spread {record['spread']}: {figure(record[noise])} x transformers' speed, the floor is {FLOOR}"
        for record in records
        for noise in NOISES
        if record[noise] < FLOOR
    ]


def lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Medians, extremes and what is below the floor, as text."""
    said = []
    for noise, wanted in NOISES.items():
        ratios = [record[noise] for record in records]
        said.append(
            f"{noise}: {len(ratios)} cells, median {figure(statistics.median(ratios))} x faster (asked {wanted:g}), "
            f"least {figure(min(ratios))} (asked {FLOOR}), most {figure(max(ratios))}"
        )
    return [*said, *below(records)]
