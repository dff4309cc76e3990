"""The best continuations of a step's beams from their group maxima: each beam's best, then the item's best of those.

No log-softmax of the vocabulary is formed: a row's order is that of its logits, and only its maximum and its log-sum
are needed to put rows side by side. Equal candidates, and those closer than the log-sum is known, are flagged, because
there transformers' order is that of the internals of its operations.
"""

import torch
from torch import Tensor

from .decide_and_draw import LISTED, best_groups, whole_mass
from .language import LAUNCH, jit, on_its_device, tl
from .row_stats import GROUPS, RowStats, chunks

MOST = 3 * LISTED // 4 - 1
"""The most candidates of an item: a beam's list is sure to hold one more."""


@on_its_device
def beam_select(logits: Tensor, stats: RowStats, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``count`` best continuations of each item, best first: scores, parent beams and tokens [N, C]; and [N] flags.

    logits: [N * K, V] raw. stats: their ``row_stats`` with a temperature of 1. scores: [N, K] float32 of the beams.
    A flag [N] int8 says that two of the C + 1 best are equal, or closer than 1e-6 and of different beams, that a row
    has no C + 1 candidates, or is no distribution (NaN, +inf, nothing above -inf, a score of NaN): such an item goes
    through ``torch.topk``. count: at most ``MOST``.
    """
    rows, vocab_size = logits.shape
    items, beams = scores.shape
    device, width = logits.device, chunks(vocab_size)
    values = torch.empty(rows, count + 1, device=device)
    token_ids = torch.empty(rows, count + 1, dtype=torch.int64, device=device)
    beam_rows_kernel[(rows,)](
        logits,
        logits.stride(0),
        vocab_size,
        width,
        stats.maxima,
        stats.tops,
        stats.masses,
        stats.bad,
        scores,
        torch.empty(rows, LISTED, dtype=torch.int32, device=device),
        values,
        token_ids,
        count + 1,
        WIDTH=1 << (width * GROUPS - 1).bit_length(),
        CHUNKS=1 << (width - 1).bit_length(),
        num_warps=8,
        **LAUNCH,
    )
    best = torch.empty(items, count, device=device)
    parent, token = (torch.empty(items, count, dtype=torch.int64, device=device) for _ in range(2))
    tied = torch.empty(items, dtype=torch.int8, device=device)
    size = 1 << (beams * (count + 1) - 1).bit_length()
    merge_beams_kernel[(items,)](
        values, token_ids, beams * (count + 1), count, best, parent, token, tied, SIZE=size, **LAUNCH
    )
    return best, parent, token, tied


def beam_select_twin(logits: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the kernels do, in torch; of equal candidates the first beam's lowest id stands first."""
    beams, vocab_size = scores.shape[1], logits.shape[1]
    total = torch.log_softmax(logits.float(), dim=1).view(-1, beams, vocab_size) + scores[:, :, None]
    best, where = total.flatten(1).sort(dim=1, descending=True, stable=True)
    best, where = best[:, :count], where[:, :count]
    return best, where // vocab_size, where % vocab_size


@jit
def beam_rows_kernel(
    logits, row_stride, vocab_size, chunks, maxima, tops, masses, bad, scores, scratch, values, token_ids, count,
    WIDTH: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """The ``count`` best tokens of a beam, best first, -inf behind their end: program (row)."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    groups = tl.arange(0, WIDTH)
    its_maxima = tl.load(maxima + row * chunks * 64 + groups, mask=groups < chunks * 64, other=-float("inf"))
    top = tl.max(its_maxima)
    mass = whole_mass(tops, masses, row * chunks, chunks, top, tl.full((), 1.0, tl.float64), CHUNKS)
    log_sum = tl.log(mass).to(tl.float32)
    score = tl.load(scores + row)
    x, token, least, found = best_groups(logits, vocab_size, its_maxima, groups, scratch + row * 64)
    cut = (found < count) & (least > -float("inf"))  # equal groups did not fit: nothing is known of the row
    chunk = tl.arange(0, CHUNKS)
    spoiled = tl.max(tl.load(bad + row * chunks + chunk, mask=chunk < chunks, other=0).to(tl.int32)) > 0
    # No distribution: transformers' log-softmax is NaN there, which its topk takes for the largest.
    cut = cut | spoiled | (tl.abs(top) == float("inf")) | (score != score)
    # One after the other: a beam needs a dozen of 4,096, far fewer than a sort would put in order.
    for rank in range(count):
        best = tl.max(x)
        best_id = tl.min(tl.where(x == best, token, 2**40))
        value = tl.where(best > -float("inf"), (best - top - log_sum) + score, best)
        tl.store(values + row * count + rank, tl.where(cut, float("inf"), value))
        tl.store(token_ids + row * count + rank, tl.minimum(best_id, vocab_size - 1))
        x = tl.where(token == best_id, -float("inf"), x)


@jit
def merge_beams_kernel(
    values, token_ids, size, count, best, parent, token, tied, SIZE: tl.constexpr
):  # fmt: skip
    """The ``count`` best of an item's beams: program (item)."""
    item = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, SIZE)
    x = tl.load(values + item * size + place, mask=place < size, other=-float("inf"))
    last, last_beam = tl.full((), float("inf"), tl.float32), tl.full((), -1, tl.int32)
    close = tl.full((), 0, tl.int32)
    for rank in range(count + 1):
        value = tl.max(x)
        at = tl.min(tl.where(x == value, place, SIZE - 1))
        beam = at // (count + 1)
        # Within one beam the log-sum is common and only equal logits are close; between beams its rounding counts.
        near = last - value <= tl.where(beam == last_beam, 0.0, 1e-6 * (1.0 + tl.abs(value)))
        close = close | (near | (tl.abs(value) == float("inf")) | (value != value)).to(tl.int32)
        if rank < count:
            tl.store(best + item * count + rank, value)
            tl.store(parent + item * count + rank, beam.to(tl.int64))
            tl.store(token + item * count + rank, tl.load(token_ids + item * size + at))
        x = tl.where(place == at, -float("inf"), x)
        last, last_beam = value, beam
    tl.store(tied + item, close.to(tl.int8))
