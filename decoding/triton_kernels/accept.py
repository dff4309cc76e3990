"""Speculation's count on the device: how many of each row's new tokens count, in one launch.

Words as in ``speculation``: the accepted tokens are the leading drafts that the model chose too; the model's own choice
follows them (the recovered or the bonus token). What follows from the counts (ends, limits, histories) is the host's,
which reads them once a round.
"""

import torch
from torch import Tensor

from .language import LAUNCH, jit, on_its_device, tl

MOST = 63
"""The most drafts of a row."""


@on_its_device
def accept(chosen: Tensor, drafts: Tensor, counts: Tensor) -> Tensor:
    """How many of each row's choices count, [N] int64: the leading ones that were drafted, and one more.

    chosen: [N, T + 1] int64, the model's choice at every position. drafts: [N, T] int64, of which the first
    ``counts[i]`` of row i count; rows and counts may lie apart in memory. T is at most ``MOST``. Reads nothing on the
    host.
    """
    rows, width = chosen.shape
    chosen, drafts = (each if each.stride(1) == 1 else each.contiguous() for each in (chosen, drafts))
    taken = torch.empty(rows, dtype=torch.int64, device=chosen.device)
    accept_kernel[(rows,)](
        chosen, chosen.stride(0), drafts, drafts.stride(0), counts, counts.stride(0), taken, width,
        PLACES=MOST + 1, **LAUNCH,
    )  # fmt: skip
    return taken


def accept_twin(chosen: Tensor, drafts: Tensor, counts: Tensor) -> Tensor:
    """What the kernel does, in torch."""
    counted = torch.arange(drafts.shape[1], device=counts.device) < counts[:, None]
    return ((chosen[:, :-1] == drafts) & counted).long().cumprod(dim=1).sum(dim=1) + 1


@jit
def accept_kernel(
    chosen, chosen_stride, drafts, draft_stride, counts, count_stride, taken, width, PLACES: tl.constexpr
):  # fmt: skip
    """A row: program (row)."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, PLACES)
    count = tl.load(counts + row * count_stride)
    # Unlike in what stands for nothing: behind the end no draft equals a choice.
    new = tl.load(chosen + row * chosen_stride + place, mask=place < width, other=-1)
    draft = tl.load(drafts + row * draft_stride + place, mask=place < width - 1, other=-2)
    wrong = (new != draft) | (place >= count)
    tl.store(taken + row, tl.min(tl.where(wrong, place, PLACES)).to(tl.int64) + 1)
