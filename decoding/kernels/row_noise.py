"""The noise of whole rows, block by block: from torch's stream, from known places of it, or from the rows' counters.

Each source is an iterable of blocks, walked once: a block names the drawn rows it holds and gives their noise a range
of columns at a time, from the left. Of counters it gives the uniform numbers u instead, which are cheaper: the noise
-log(1 - u) is at least u, and a race needs the logarithm for the few tokens alone that may win.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .counter_noise import GOLDEN, MIX1, MIX2, counter_exponential, exponentials
from .torch_stream import exponentials_of_bits, row_exponentials

PIECE = 2**16  # numbers of a block at a time: half a megabyte of random bits
Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class NoiseBlock(Protocol):
    """Some of the drawn rows, in ascending order, and their noise."""

    @property
    def rows(self) -> Sequence[int]:
        """Places of the rows."""
        ...

    def least(self, left: int, right: int) -> Floats:
        """What the noise of the columns from ``left``, where the last call ended, to ``right`` is at least, up to the
        rounding to float32: [n, columns]."""
        ...


class StreamBlock:
    """Consecutive rows of torch's stream, [count, V].

    rows: places of the drawn ones, ascending; lines: where those are here, None if they are all in their order.
    """

    def __init__(
        self, generator: torch.Generator, count: int, vocab_size: int, rows: Sequence[int], lines: list[int] | None
    ):
        self.generator, self.count, self.vocab_size = generator, count, vocab_size
        self.rows, self.lines = rows, lines
        self.state = generator.get_state()
        self._done = 0

    def least(self, left: int, right: int) -> Floats:
        """The noise itself: torch's numbers are float32, and its logarithm takes no longer than to keep u."""
        noise = exponentials_of_bits(self._bits(right)).reshape(self.count, right - left)
        return noise if self.lines is None else noise[self.lines]

    def finish(self) -> None:
        """Move the stream to the end of the block."""
        while self._done < self.vocab_size:
            self._bits(min(self._done + PIECE, self.vocab_size))

    def again(self, row: int) -> Tensor:
        """The noise of a drawn row, [1, V] float32, whatever has been drawn since."""
        generator, line = torch.Generator(), self.rows.index(row)
        line = line if self.lines is None else self.lines[line]
        generator.set_state(self.state)
        return torch.empty(line + 1, self.vocab_size, dtype=torch.float32, device="cpu").exponential_(
            generator=generator
        )[line:]

    def _bits(self, right: int) -> Places:
        bits = torch.empty(self.count * (right - self._done), dtype=torch.int64, device="cpu").random_(
            generator=self.generator
        )
        self._done = right
        return bits.numpy()


class StreamNoise:
    """torch's stream for a batch of ``batch_size`` rows, of which the rows ``original`` (all if None) are drawn."""

    def __init__(
        self,
        batch_size: int,
        vocab_size: int,
        generator: torch.Generator | None,
        original: Sequence[int] | None = None,
    ):
        self.batch_size, self.vocab_size = batch_size, vocab_size
        self.generator = generator or torch.default_generator
        self.places = None if original is None else {row: place for place, row in enumerate(original)}
        self._passed: list[StreamBlock] = []

    def __iter__(self) -> Iterator[StreamBlock]:
        """The stream moves on by the whole batch, rows that are not drawn included."""
        height = max(PIECE // self.vocab_size, 1)
        for first in range(0, self.batch_size, height):
            rows: Sequence[int] = range(first, min(first + height, self.batch_size))
            count, lines = len(rows), None
            if self.places is not None:
                here = sorted((self.places[row], line) for line, row in enumerate(rows) if row in self.places)
                rows, lines = [place for place, _ in here], [line for _, line in here]
            block = StreamBlock(self.generator, count, self.vocab_size, rows, lines)
            if rows:
                self._passed.append(block)
                yield block
            block.finish()

    def again(self, row: int) -> Tensor:
        """The noise of a drawn row, [1, V] float32, once it has been passed."""
        return next(block for block in self._passed if row in block.rows).again(row)


class RestoredNoise:
    """Rows of torch's stream, drawn again from its states where they begin: ``states`` by place."""

    def __init__(self, vocab_size: int, states: Mapping[int, Tensor]):
        self.vocab_size, self.states = vocab_size, states

    def __iter__(self) -> Iterator[StreamBlock]:
        for row, state in self.states.items():
            generator = torch.Generator()
            generator.set_state(state)
            yield StreamBlock(generator, 1, self.vocab_size, [row], None)

    def again(self, row: int) -> Tensor:
        """The noise of a row, [1, V] float32."""
        return row_exponentials(self.states[row], self.vocab_size)


# SplitMix64's finaliser but for its last step, an exclusive or with the number itself 31 bits lower: the 30 bits of u
# from 33 up are there without it, and the others are cleared.
_ROUNDS = [(np.uint64(shift), np.uint64(factor % 2**64)) for shift, factor in ((30, MIX1), (27, MIX2))]
_HIGH_30 = np.uint64((2**30 - 1) << 33)
_FEW = 6  # up to so many tokens are hashed in Python


class CounterBlock:
    """Rows with counters: keys [n, 1] int64. Its numbers are in units of 2**-63.

    slack: how far u may lie above what ``least`` says, beside the rounding.
    """

    unit, slack = 2.0**-63, 2.0**-30

    def __init__(self, keys: NDArray[np.int64], rows: Sequence[int]):
        self.keys, self.rows = keys.view(np.uint64), rows

    def least(self, left: int, right: int) -> Floats:
        """The first 30 bits of the numbers of ``counter_uniform``, of which the least is 1/2."""
        z = (self.keys + np.uint64(left * GOLDEN % 2**64) if left else self.keys) + _counters(right - left)
        shifted = np.empty_like(z)
        for shift, factor in _ROUNDS:
            z ^= np.right_shift(z, shift, out=shifted)
            z *= factor
        z &= _HIGH_30
        # At most 63 bits are set, so as a signed number it is the same.
        uniform: Floats = z.view(np.int64).astype(np.float32)
        # A zero would win every race: the half that ``counter_uniform`` adds is put in where it matters.
        np.maximum(uniform, np.float32(0.5), out=uniform)
        return uniform

    def exact(self, lines: Places, token_ids: Places) -> NDArray[np.float64]:
        """The noise of tokens, the j-th of line ``lines[j]``, [M]: ``counter_exponential`` but for its last place."""
        if len(lines) <= _FEW:
            asked = zip(self.keys[lines, 0].tolist(), token_ids.tolist(), strict=True)
            return np.array([exponentials(key, (token,))[0] * 2.0**63 for key, token in asked])
        noise: NDArray[np.float64] = counter_exponential(self.keys.view(np.int64)[lines], token_ids[:, None])[:, 0]
        noise *= 2.0**63
        return noise


class CounterNoise:
    """The noise of rows with counters, keys [N, 1]; only ``rows`` of them, if given."""

    def __init__(self, keys: NDArray[np.int64], vocab_size: int, rows: Sequence[int] | None = None):
        self.keys, self.height = keys, max(PIECE // vocab_size, 1)
        self.rows = range(len(keys)) if rows is None else rows

    def __iter__(self) -> Iterator[CounterBlock]:
        for first in range(0, len(self.rows), self.height):
            rows = self.rows[first : first + self.height]
            yield CounterBlock(self.keys if len(rows) == len(self.keys) else self.keys[np.array(rows)], rows)


@lru_cache(maxsize=8)
def _counters(size: int) -> NDArray[np.uint64]:
    counters: NDArray[np.uint64] = np.arange(size, dtype=np.uint64) * np.uint64(GOLDEN % 2**64)
    return counters
