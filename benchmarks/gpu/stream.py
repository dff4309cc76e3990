"""Does torch on this device do what the kernels take for granted: its stream, its state, argmax, log-softmax."""

from __future__ import annotations

import numpy as np
import torch

from afterlogits.benchmarks.gpu.findings import Check
from afterlogits.decoding.triton_kernels.language import HAS_TRITON
from afterlogits.decoding.triton_kernels.stream_noise import stream_exponentials, stream_is_known
from afterlogits.decoding.triton_kernels.stream_state import (
    StreamDraw,
    draw_threads,
    exponentials_at,
    offset_after,
    uniforms_at,
)

H100 = (132, 2048)


def described_draw(check: Check, seed: int, elements: int) -> StreamDraw:
    """The draw of a fresh generator, by the formula for this device's processors."""
    processors, threads = H100
    if check.device.type == "cuda":
        properties = torch.cuda.get_device_properties(check.device)
        processors, threads = properties.multi_processor_count, properties.max_threads_per_multi_processor
    return StreamDraw(seed, 0, draw_threads(elements, processors, threads), hardware=check.device.type == "cuda")


def formula(check: Check) -> None:
    """``rand`` and ``exponential_`` at places on both sides of G, 4 G and at the end, against the formula."""
    elements = 3_000_001 if not check.dry else 3001
    for seed in (0, 42, 2**40 + 9):
        draw = described_draw(check, seed, elements)
        turns = [place for place in (0, 1, draw.threads, 4 * draw.threads + 7, elements - 1) if place < elements]
        places = np.array(turns)
        generator = torch.Generator(check.device).manual_seed(seed)
        uniform = torch.rand(elements, generator=generator, device=check.device)[places.tolist()].cpu().numpy()
        check.equal(f"rand, seed {seed}", bool((uniforms_at(places, draw) % 1.0 == uniform).all()), str(uniform))
        noise = torch.empty(elements, device=check.device)
        noise = noise.exponential_(generator=generator.manual_seed(seed))
        off = float(np.abs(exponentials_at(places, draw) - noise[places.tolist()].cpu().numpy()).max())
        check.add(f"exponential_, seed {seed}", f"off by {off:.1e}", "1e-6", off <= 1e-6)
        if check.device.type == "cuda" and HAS_TRITON:
            every = torch.arange(elements, device=check.device)
            check.equal(f"our kernel's exponential, seed {seed}", torch.equal(stream_exponentials(every, draw), noise))
    check.add("the stream is known", stream_is_known(check.device), "True", stream_is_known(check.device))


def state(check: Check) -> None:
    """The generator's offset after ``multinomial`` of 1, 8 and 64 rows."""
    if check.dry:
        check.add("left out", "a CPU generator has no offset")
        return
    for rows in (1, 8, 64):
        elements = rows * 151_936
        draw = described_draw(check, 5, elements)
        generator = torch.Generator(check.device).manual_seed(5)
        torch.multinomial(torch.rand(rows, 151_936, device=check.device), 1, generator=generator)
        expected = offset_after(0, elements, draw.threads)
        check.equal(
            f"offset after multinomial, B={rows}", generator.get_offset() == expected, f"{generator.get_offset()}"
        )


def rules_of_torch(check: Check) -> None:
    """argmax takes the first of equals; log_softmax subtracts the maximum, then the log-sum; softmax's exponential."""
    random = torch.Generator().manual_seed(0)
    ties = torch.randint(0, 5, (8, 50_001), generator=random).float()
    check.equal("argmax: first of equals", torch.equal(ties.to(check.device).argmax(1).cpu(), ties.argmax(1)))
    logits = (torch.randn(8, 50_001, generator=random) * 5).to(check.device)
    log_probs = logits.log_softmax(1)
    top, at = logits.max(1, keepdim=True)
    check.equal("log_softmax: (x - max) - log sum", torch.equal(log_probs, logits - top + log_probs.gather(1, at)))
    ordered = ties.to(check.device).sort(1)
    stable = bool((ordered.indices.diff(dim=1)[ordered.values.diff(dim=1) == 0] > 0).all())
    check.equal("sort: equals in the order of their ids", stable)
