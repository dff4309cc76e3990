"""torch's own random stream, drawn whole but transformed only where it is needed.

``torch.multinomial(probs, 1)`` is the argmax of ``probs / q``, q exponential of the shape of ``probs``. On the CPU the
float32 q of the n-th element is -log1p(-u) rounded to float32, u being the low 53 bits of the n-th 64-bit draw of the
generator. Drawing the 64 bits alone is ten times cheaper than the exponentials, and leaves the same state.
"""

from functools import cache

import torch
from torch import Tensor

_PIECE = 2**16  # draws at a time: 512 KiB, in cache
_LOW_53 = 2**53 - 1


@cache
def stream_is_known() -> bool:
    """Whether this build of torch draws float32 exponentials as described; asked once, with a generator of our own."""
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    expected = torch.empty(1024).exponential_(generator=theirs)
    bits = torch.empty(1024, dtype=torch.int64).random_(generator=ours)
    same = torch.equal(_exponential(bits).to(torch.float32), expected)
    return same and torch.equal(ours.get_state(), theirs.get_state())


def _exponential(bits: Tensor) -> Tensor:
    return -torch.log1p((bits & _LOW_53).to(torch.float64) * -(2.0**-53))


def exponentials_at(
    positions: Tensor, rows: int, vocab_size: int, generator: torch.Generator | None, snapshots: dict[int, Tensor]
) -> Tensor:
    """The noise that ``torch.empty(rows, vocab_size).exponential_()`` has at ``positions``, and the stream moved on.

    positions: [P] int64, row * vocab_size + token id, in any order. Returns [P] float64 holding float32 values.
    snapshots: filled with the generator's state before each of the rows that are its keys.
    """
    generator = generator or torch.default_generator
    ordered, order = positions.sort()
    pieces = max(-(-vocab_size // min(_PIECE, max(rows * vocab_size // 16, 1024))), 1)
    width = -(-vocab_size // pieces)
    starts = [row * vocab_size + left for row in range(rows) for left in range(0, vocab_size, width)]
    bounds = [*torch.searchsorted(ordered, torch.tensor(starts)).tolist(), len(ordered)] if starts else []
    bits = torch.empty(width, dtype=torch.int64)
    found = torch.empty_like(ordered)
    for i, start in enumerate(starts):
        row, left = divmod(start, vocab_size)
        if left == 0 and row in snapshots:
            snapshots[row] = generator.get_state()
        some = bits[: min(width, vocab_size - left)].random_(generator=generator)
        if bounds[i] < bounds[i + 1]:
            found[bounds[i] : bounds[i + 1]] = some[ordered[bounds[i] : bounds[i + 1]] - start]
    noise = torch.empty(len(positions), dtype=torch.float64)
    noise[order] = _exponential(found).to(torch.float32).to(torch.float64)
    return noise


def row_exponentials(snapshot: Tensor, vocab_size: int) -> Tensor:
    """The noise of the whole row that begins at a state, [1, V] float32."""
    generator = torch.Generator()
    generator.set_state(snapshot)
    return torch.empty(1, vocab_size).exponential_(generator=generator)
