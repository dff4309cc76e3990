"""The one read of the logits: maxima of groups of 64, and of each chunk its maximum, its mass and whether it is bad."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .language import LAUNCH, jit, on_its_device, tl

GROUP, GROUPS = 64, 64
CHUNK = GROUP * GROUPS
"""Logits to a chunk, which a program reads: small enough that a few rows of a large vocabulary fill a device."""


@dataclass(frozen=True)
class RowStats:
    """What one read tells of logits [B, V]: C chunks a row, 64 C groups.

    maxima: [B, 64 C] float32, the largest logit of each group; -inf where there is none, NaN passed over.
    tops: [B, C] float32, the largest of each chunk. masses: [B, C] float32, sum of exp((x - top) / T) over the chunk; 0
    where nothing is above -inf. bad: [B, C] int8, whether a chunk holds NaN or +inf.
    """

    maxima: Tensor
    tops: Tensor
    masses: Tensor
    bad: Tensor


def chunks(vocab_size: int) -> int:
    """How many chunks a row has."""
    return -(-vocab_size // CHUNK)


def empty_stats(logits: Tensor) -> RowStats:
    """Room for the stats of logits [B, V]; may be written at every step."""
    rows, device = logits.shape[0], logits.device
    count = chunks(logits.shape[1])
    tops, masses = (torch.empty(rows, count, device=device) for _ in range(2))
    maxima = torch.empty(rows, count * GROUPS, device=device)
    return RowStats(maxima, tops, masses, torch.empty(rows, count, dtype=torch.int8, device=device))


@on_its_device
def row_stats(logits: Tensor, temperature: Tensor, out: RowStats) -> RowStats:
    """The stats of logits [B, V] float32, bfloat16 or float16, written into ``out``; rows may lie apart in memory.

    temperature: [B] float64, above 0. Cost: one read of the logits. Source: group maxima bound what is not looked at
    (Fagin, Lotem and Naor 2003); the mass in chunks is the online softmax (Milakov and Gimelshein 2018).
    """
    rows, vocab_size = logits.shape
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    row_stats_kernel[(rows, chunks(vocab_size))](
        logits, logits.stride(0), vocab_size, temperature, out.maxima, out.tops, out.masses, out.bad, **LAUNCH
    )
    return out


def row_stats_twin(logits: Tensor, temperature: Tensor) -> RowStats:
    """What the kernel does, in torch."""
    rows, vocab_size = logits.shape
    wide = torch.nn.functional.pad(logits.float(), (0, -vocab_size % CHUNK), value=-torch.inf).view(rows, -1, CHUNK)
    bad = (wide.isnan() | (wide == torch.inf)).any(2)
    wide = wide.nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    tops = wide.amax(2)
    gaps = (wide - tops[..., None]) / temperature[:, None, None].float()
    masses = torch.where(tops == -torch.inf, 0.0, gaps.exp().sum(2))
    return RowStats(wide.view(rows, -1, GROUP).amax(2), tops, masses, bad.to(torch.int8))


@jit
def row_stats_kernel(logits, row_stride, vocab_size, temperature, maxima, tops, masses, bad):
    """A chunk of a row: program (row, chunk)."""
    row, chunk, chunks = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    group = tl.arange(0, 64)
    columns = chunk * 4096 + group[:, None] * 64 + tl.arange(0, 64)[None, :]
    x = tl.load(logits + row * row_stride + columns, mask=columns < vocab_size, other=-float("inf")).to(tl.float32)
    spoiled = tl.max(((x != x) | (x == float("inf"))).to(tl.int32))
    # NaN is told by ``bad`` alone: a maximum of the device may pass it over or not.
    x = tl.where(x != x, -float("inf"), x)
    largest = tl.max(x, axis=1)
    top = tl.max(largest)
    # A product for a quotient: MASS_ERROR and the room of each nucleus count it.
    inverse = (1.0 / tl.load(temperature + row)).to(tl.float32)
    weights = tl.where(x > -float("inf"), tl.exp((x - top) * inverse), 0.0)
    tl.store(maxima + (row * chunks + chunk) * 64 + group, largest)
    place = row * chunks + chunk
    tl.store(tops + place, top)
    tl.store(masses + place, tl.sum(tl.sum(weights, axis=1)))
    tl.store(bad + place, spoiled.to(tl.int8))
