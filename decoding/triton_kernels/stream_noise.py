"""torch's CUDA noise at some places, by a kernel; and whether this device draws it as described."""

from functools import cache

import torch
from torch import Tensor

from .language import HAS_TRITON, INTERPRETED, LAUNCH, kernel, on_its_device, tl
from .noise import stream_exponential, stream_uniform
from .stream_state import StreamDraw, take_draw

_BLOCK = 256


@on_its_device
def stream_exponentials(elements: Tensor, draw: StreamDraw) -> Tensor:
    """``torch.empty(n, device="cuda").exponential_()`` at ``elements`` [P] int64 of a draw: [P] float32."""
    noise = torch.empty(elements.shape, device=elements.device)
    count = elements.numel()
    stream_noise_kernel[(-(-count // _BLOCK),)](
        elements, noise, count, draw.signed_seed, draw.offset, draw.threads, HARDWARE=draw.hardware, **LAUNCH
    )
    return noise


def stream_is_known(device: torch.device) -> bool:
    """Whether this device and build of torch draw float32 exponentials as described, bit for bit; asked once."""
    if not HAS_TRITON or INTERPRETED or device.type != "cuda" or torch.cuda.is_current_stream_capturing():
        return False
    return _draws_as_described(device)


@cache
def _draws_as_described(device: torch.device) -> bool:
    """Elements on both sides of the number of threads, with a generator of our own."""
    ours, theirs = (torch.Generator(device).manual_seed(1) for _ in range(2))
    size = 2_000_003
    draw = take_draw(ours, device, size)
    expected = torch.empty(size, device=device).exponential_(generator=theirs)
    if draw is None or ours.get_offset() != theirs.get_offset():
        return False
    # The threads' first turn and their last, which takes another word or block of Philox.
    elements = torch.cat([torch.arange(4096, device=device), torch.arange(size - 4096, size, device=device)])
    return torch.equal(stream_exponentials(elements, draw), expected[elements])


@kernel
def stream_noise_kernel(elements, noise, count, seed: tl.int64, offset: tl.int64, threads, HARDWARE: tl.constexpr):
    """256 places: program (block)."""
    place = tl.program_id(0).to(tl.int64) * 256 + tl.arange(0, 256)
    element = tl.load(elements + place, mask=place < count, other=0)
    uniform = stream_uniform(seed, offset, element, threads)
    tl.store(noise + place, stream_exponential(uniform, HARDWARE), mask=place < count)
