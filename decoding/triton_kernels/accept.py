"""Speculation's bookkeeping on the device: which drafts are accepted, what is written, who is finished.

Words as in ``speculation``: the accepted tokens are the leading drafts that the model chose too; the model's own choice
follows them (the recovered or the bonus token).
"""

from torch import Tensor

from .language import LAUNCH, jit, on_its_device, tl


@on_its_device
def accept(
    chosen: Tensor,
    drafts: Tensor,
    counts: Tensor,
    token_ids: Tensor,
    lengths: Tensor,
    limits: Tensor,
    finished: Tensor,
    ends: Tensor,
) -> Tensor:
    """Append each row's accepted tokens to its history in place; return how many [N] int64 count for the model.

    chosen: [N, T + 1] int64, the model's choice at every position. drafts: [N, T] int64, of which ``counts`` [N] count.
    token_ids: [N, W] int64, of which ``lengths`` [N] are known; both are written. limits: [N], the length at which a
    row ends. finished: [N] int8, written; a finished row takes nothing and counts nothing. ends: [E] int64, tokens that
    end a row, which is written up to the first of them. Reads nothing on the host. T is at most 63.
    """
    rows, width = chosen.shape
    taken = lengths.new_empty(rows)
    accept_kernel[(rows,)](
        chosen, drafts, counts, token_ids, token_ids.stride(0), token_ids.shape[1], lengths, limits, finished, ends,
        ends.numel(), taken, width, PLACES=64, **LAUNCH,
    )  # fmt: skip
    return taken


def accept_twin(
    chosen: Tensor,
    drafts: Tensor,
    counts: Tensor,
    token_ids: Tensor,
    lengths: Tensor,
    limits: Tensor,
    finished: Tensor,
    ends: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the kernel does, in plain Python: (how many count, token ids, lengths, finished), on copies."""
    token_ids, lengths, finished, taken = token_ids.clone(), lengths.clone(), finished.clone(), lengths * 0
    for row in range(chosen.shape[0]):
        if finished[row]:
            continue
        right = 0
        while right < counts[row] and chosen[row, right] == drafts[row, right]:
            right += 1
        for token in chosen[row, : right + 1].tolist():
            if not finished[row] and lengths[row] < token_ids.shape[1]:
                token_ids[row, lengths[row]] = token
                lengths[row] += 1
                taken[row] += 1
                finished[row] = bool(token in ends.tolist() or lengths[row] >= limits[row])
        if finished[row]:
            taken[row] = 0
    return taken, token_ids, lengths, finished


@jit
def accept_kernel(
    chosen, drafts, counts, token_ids, id_stride, id_width, lengths, limits, finished, ends, num_ends, taken, width,
    PLACES: tl.constexpr,
):  # fmt: skip
    """A row: program (row)."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, PLACES)
    count, length = tl.load(counts + row), tl.load(lengths + row)
    done = tl.load(finished + row).to(tl.int32)
    # Unlike in what stands for nothing: behind the end no draft equals a choice.
    new = tl.load(chosen + row * width + place, mask=place < width, other=-1)
    draft = tl.load(drafts + row * (width - 1) + place, mask=place < width - 1, other=-2)
    wrong = (new != draft) | (place >= count)
    kept = tl.min(tl.where(wrong, place, PLACES)) + 1
    # The token at a place ends the row where it is an end or fills the row's last place.
    is_end = (length + place + 1 >= tl.load(limits + row)).to(tl.int32)
    for which in range(num_ends):
        is_end = is_end | (new == tl.load(ends + which)).to(tl.int32)
    first_end = tl.min(tl.where((is_end > 0) & (place < width), place, PLACES))
    kept = tl.minimum(kept, first_end + 1)
    kept = tl.where(done > 0, 0, kept)
    # Never past the history's room, whatever the limits say.
    kept = tl.minimum(kept, tl.maximum(id_width - length, 0).to(tl.int32))
    ended = (done == 0) & (first_end < kept)
    tl.store(token_ids + row * id_stride + length + place, new, mask=place < kept)
    tl.store(lengths + row, length + kept)
    done = tl.where(ended, 1, done)
    tl.store(finished + row, done.to(tl.int8))
    tl.store(taken + row, tl.where(done > 0, 0, kept).to(tl.int64))
