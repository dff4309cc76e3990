"""torch's own random stream, drawn whole but transformed only where it is needed.

``torch.multinomial(probs, 1)`` is the argmax of ``probs / q``, q exponential of the shape of ``probs``. On the CPU the
float32 q of the n-th element is -log1p(-u) rounded to float32, u being the low 53 bits of the n-th 64-bit draw of the
generator. Drawing the 64 bits alone is ten times cheaper than the exponentials, and leaves the same state.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PIECE = 2**16  # draws at a time: 512 KiB, in cache
_LOW_53 = 2**53 - 1


@cache
def stream_is_known() -> bool:
    """Whether this build of torch draws float32 exponentials and tokens as described; asked once, by own generators.

    Every fast draw from the stream asks first; where the answer is no, torch's own operations draw.
    """
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    expected = torch.empty(64, 16, dtype=torch.float32, device="cpu").exponential_(generator=theirs)
    bits = torch.empty(64 * 16, dtype=torch.int64, device="cpu").random_(generator=ours)
    noise = exponentials_of_bits(bits.numpy()).reshape(64, 16)
    if not np.array_equal(noise, expected.numpy()) or not torch.equal(ours.get_state(), theirs.get_state()):
        return False
    probs = torch.linspace(-2, 2, 64 * 16, dtype=torch.float32, device="cpu").reshape(64, 16).softmax(-1)
    drawn = torch.multinomial(probs, 1, generator=torch.Generator().manual_seed(1))[:, 0]
    return bool(torch.equal(drawn, (probs / torch.from_numpy(noise)).argmax(-1)))


def exponentials_of_bits(bits: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 exponentials of 64-bit draws, which are overwritten."""
    np.bitwise_and(bits, _LOW_53, out=bits)
    # u = bits / 2**53 is exact in float64; ATen takes log1p of -u there and rounds once, to float32.
    noise: NDArray[np.float64] = np.multiply(bits, -(2.0**-53), dtype=np.float64)
    np.log1p(noise, out=noise)
    rounded = noise.astype(np.float32)
    return np.negative(rounded, out=rounded)


def exponentials_at(
    positions: NDArray[np.int64],
    rows: int,
    vocab_size: int,
    generator: torch.Generator | None,
    snapshots: dict[int, Tensor],
) -> NDArray[np.float64]:
    """The noise that ``torch.empty(rows, vocab_size).exponential_()`` has at ``positions``, and the stream moved on.

    positions: [P] int64, row * vocab_size + token id, in any order. Returns [P] float64 holding float32 values.
    snapshots: filled with the generator's state before each of the rows that are its keys.
    """
    generator = generator or torch.default_generator
    order = positions.argsort()
    ordered = positions.take(order)
    # The bits of a row pass through one buffer: a whole row of them would leave the cache.
    pieces = max(-(-vocab_size // min(_PIECE, max(rows * vocab_size // 16, 1024))), 1)
    width = -(-vocab_size // pieces)
    bits = torch.empty(width, dtype=torch.int64, device="cpu")
    drawn = bits.numpy()
    found = np.empty_like(ordered)
    done = 0
    for row in range(rows):
        if row in snapshots:
            snapshots[row] = generator.get_state()
        for left in range(0, vocab_size, width):
            start, right = row * vocab_size + left, min(left + width, vocab_size)
            bits[: right - left].random_(generator=generator)
            upto = int(ordered.searchsorted(row * vocab_size + right))
            if done < upto:
                found[done:upto] = drawn.take(ordered[done:upto] - start)
                done = upto
    noise = np.empty(len(positions))
    noise[order] = exponentials_of_bits(found)
    return noise


def exponentials_of(
    places: Sequence[NDArray[np.int64]],
    rows: int,
    vocab_size: int,
    generator: torch.Generator | None,
    snapshots: dict[int, Tensor],
) -> list[NDArray[np.float64]]:
    """``exponentials_at`` for several arrays of positions at once: an array for each, of its shape."""
    flat = np.concatenate([each.ravel() for each in places]) if places else np.empty(0, dtype=np.int64)
    noise = exponentials_at(flat, rows, vocab_size, generator, snapshots)
    pieces = np.split(noise, np.cumsum([each.size for each in places])[:-1]) if places else []
    return [piece.reshape(each.shape) for piece, each in zip(pieces, places, strict=True)]


def skip_rows(rows: int, vocab_size: int, generator: torch.Generator | None = None) -> None:
    """Move the stream on by what a draw of ``rows`` rows takes, as where their tokens were known without it.

    Holds where ``stream_is_known()``, for float32 logits on the CPU.
    """
    exponentials_at(np.empty(0, dtype=np.int64), rows, vocab_size, generator, {})


def row_exponentials(snapshot: Tensor, vocab_size: int) -> Tensor:
    """The noise of the whole row that begins at a state, [1, V] float32."""
    generator = torch.Generator()
    generator.set_state(snapshot)
    return torch.empty(1, vocab_size, dtype=torch.float32, device="cpu").exponential_(generator=generator)


def drawn(probs: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One draw of each row of ``probs`` [N, V], [N]: ``torch.multinomial``; on a device without its checks."""
    if probs.device.type == "cpu":
        return torch.multinomial(probs, 1, generator=generator)[:, 0]
    return (probs / torch.empty_like(probs).exponential_(generator=generator)).argmax(-1)
