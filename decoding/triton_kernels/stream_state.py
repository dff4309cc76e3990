"""torch's CUDA stream as numbers: what a draw over n elements uses of it, and its uniforms by the formula.

The generator's seed and offset are host values: reading and moving them waits for nothing. Under graph capture the
offset lives on the device; then there are no numbers, and the whole draw is made with ``exponential_``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK, WORDS = 256, 4  # threads of a block in ATen's distribution kernels; numbers of a Philox block
_LARGEST = 2**31  # bytes: above, torch splits the tensor and draws the offset again
_MULTIPLIERS, _WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)


@dataclass(frozen=True)
class StreamDraw:
    """One draw of torch's CUDA stream: the generator's seed, its offset before, how many threads the draw runs.

    hardware: whether the logarithm is the device's own instruction, as torch's is; the interpreter has none.
    """

    seed: int
    offset: int
    threads: int
    hardware: bool = True

    @property
    def signed_seed(self) -> int:
        """The seed's 64 bits as the kernels take them, int64."""
        return (self.seed + 2**63) % 2**64 - 2**63

    @classmethod
    def none(cls, device: torch.device) -> StreamDraw:
        """For seeded draws, which use none."""
        return cls(0, 0, BLOCK, hardware=device.type == "cuda")


def draw_threads(elements: int, processors: int, threads_per_processor: int) -> int:
    """G: how many threads ``exponential_`` runs over so many elements."""
    return BLOCK * min(processors * (threads_per_processor // BLOCK), -(-elements // BLOCK))


def offset_after(offset: int, elements: int, threads: int) -> int:
    """The generator's offset after a draw of so many elements."""
    return offset + WORDS * -(-elements // (WORDS * threads))


def take_draw(generator: torch.Generator | None, device: torch.device, elements: int) -> StreamDraw | None:
    """The draw of ``torch.empty(n, device=device).exponential_()``; the generator moves on as after it.

    None, with the generator as it was, where the numbers are not to be had: under graph capture, or for a tensor so
    large that torch splits it.
    """
    if torch.cuda.is_current_stream_capturing() or 4 * elements >= _LARGEST:
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = generator or torch.cuda.default_generators[index]
    properties = torch.cuda.get_device_properties(index)
    # ATen asks for as many blocks as the device holds at once; the count of threads decides which thread draws what.
    threads = draw_threads(elements, properties.multi_processor_count, properties.max_threads_per_multi_processor)
    draw = StreamDraw(generator.initial_seed(), generator.get_offset(), threads)
    generator.set_offset(offset_after(draw.offset, elements, threads))
    return draw


def uniforms_at(elements: NDArray[np.int64], draw: StreamDraw) -> NDArray[np.float32]:
    """torch's uniforms of some elements of a draw, float32 in (0, 1]: what the kernels form, in numpy.

    >>> found = uniforms_at(np.arange(3), StreamDraw(0, 0, 256))
    >>> [f"{x:.4f}" for x in found]  # torch.manual_seed(0); torch.rand(3, device="cuda")
    ['0.3990', '0.5167', '0.0249']
    """
    turn, thread = np.divmod(elements.astype(np.uint64), np.uint64(draw.threads))
    counter = np.uint64(draw.offset // WORDS) + turn // np.uint64(WORDS)
    words = _philox(counter, thread, draw.seed)
    chosen = np.take_along_axis(words, (turn % np.uint64(WORDS)).astype(np.int64)[None], axis=0)[0]
    uniform: NDArray[np.float32] = chosen.astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    return uniform


def exponentials_at(elements: NDArray[np.int64], draw: StreamDraw) -> NDArray[np.float32]:
    """torch's exponentials of some elements, but for the last places of its fast logarithm."""
    uniform = uniforms_at(elements, draw)
    noise: NDArray[np.float32] = np.where(uniform >= np.float32(1 - 2.0**-24), np.float32(2.0**-24), -np.log(uniform))
    return noise


def _philox(counter: NDArray[np.uint64], thread: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Philox4x32-10 (Salmon et al. 2011): four words for each counter, [4, n], 32 bits each."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = counter & low, counter >> shift, thread & low, thread >> shift
    keys = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    for _ in range(10):
        left, right = a * np.uint64(_MULTIPLIERS[0]), c * np.uint64(_MULTIPLIERS[1])
        a, b, c, d = (
            right >> shift ^ b ^ np.uint64(keys[0]),
            right & low,
            left >> shift ^ d ^ np.uint64(keys[1]),
            left & low,
        )
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, _WEYL, strict=True)]
    return np.stack([a, b, c, d])


def put_back(generator: torch.Generator | None, device: torch.device, draw: StreamDraw) -> None:
    """The generator as it was before ``take_draw``, or at ``here``."""
    _of(generator, device).set_offset(draw.offset)


def here(generator: torch.Generator | None, device: torch.device) -> StreamDraw:
    """Where the generator is, for ``put_back``."""
    found = _of(generator, device)
    return StreamDraw(found.initial_seed(), found.get_offset(), BLOCK)


def _of(generator: torch.Generator | None, device: torch.device) -> torch.Generator:
    index = torch.cuda.current_device() if device.index is None else device.index
    return generator or torch.cuda.default_generators[index]
