"""When Whisper's tokens were spoken: cross-attentions of a few heads, smoothed, averaged and aligned with the frames.

transformers keeps the attentions of all layers and heads for every step; here those that are asked for are copied out
as the steps go by, and the smoothing goes through them in pieces that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .dtw import warp

VALUES_AT_ONCE = 1 << 16  # numbers of one piece of the median filter


class AlignmentAttentions:
    """The cross-attentions of the alignment heads, collected step by step."""

    def __init__(self, heads: Sequence[tuple[int, int]], *, capacity: int = 64) -> None:
        """heads: (layer, head) pairs, in the order of the average. capacity: tokens to make room for at first."""
        self.heads, self.capacity, self.count = [(int(layer), int(head)) for layer, head in heads], capacity, 0
        self._kept: Tensor | None = None  # [H, B, capacity, F]

    def append(self, layers: Sequence[Tensor]) -> None:
        """Copy out one step. layers: [B, heads, q, F] of every layer, q query positions (one after the prompt)."""
        batch_size, _, steps, frames = layers[self.heads[0][0]].shape
        if self._kept is None or self.count + steps > self._kept.shape[2]:
            self.capacity = max(2 * self.capacity if self._kept is not None else self.capacity, self.count + steps)
            grown = layers[self.heads[0][0]].new_empty(len(self.heads), batch_size, self.capacity, frames)
            if self._kept is not None:
                grown[:, :, : self.count] = self._kept[:, :, : self.count]
            self._kept = grown
        for place, (layer, head) in enumerate(self.heads):
            self._kept[place, :, self.count : self.count + steps] = layers[layer][:, head]
        self.count += steps

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order (finished rows leave, beams move)."""
        if self._kept is not None:
            self._kept = self._kept.index_select(1, rows)

    def weights(self) -> Tensor:
        """[B, H, T, F] of all steps so far, a view."""
        if self._kept is None:
            raise ValueError("append must be called before weights; got no step")
        return self._kept[:, :, : self.count].permute(1, 0, 2, 3)


def select_heads(steps: Sequence[Sequence[Tensor]], heads: Sequence[tuple[int, int]]) -> Tensor:
    """[B, H, T, F] of a finished generation. steps: for each step the [B, heads, q, F] of every layer."""
    count = sum(step[0].shape[2] for step in steps)
    collected = AlignmentAttentions(heads, capacity=count)
    for step in steps:
        collected.append(step)
    return collected.weights()


def follow_beams(weights: Tensor, beam_indices: Tensor, num_input_ids: int) -> Tensor:
    """The attentions of each returned sequence from those of the beams it went through.

    weights: [R, H, T, F] by beam. beam_indices: [S, n] int64, the beam of each generated token, -1 after the end.
    num_input_ids: tokens of the prompt, which the first step read at once. Returns [S, H, t, F], t the longest of them.
    """
    length = int((beam_indices != -1).sum(-1).max())
    beams = beam_indices[:, :length]
    if num_input_ids > 1:
        beams = torch.cat((beams[:, :1].expand(-1, num_input_ids - 1), beams), dim=1)
    beams = beams.clamp_min(0)
    place = torch.arange(beams.shape[1], device=beams.device)
    return weights.permute(0, 2, 1, 3)[beams, place].permute(0, 2, 1, 3)


def token_times(
    weights: Tensor,
    *,
    num_input_ids: int = 0,
    frames: int | Sequence[int] | None = None,
    time_precision: float = 0.02,
    filter_width: int = 7,
) -> Tensor:
    """The time at which each token ends, from the cross-attentions of its alignment heads.

    weights: [B, H, T, F] float; row t is the attention while token t + 1 is predicted. num_input_ids: tokens given, not
    predicted: they have time 0 and are not aligned. frames: attention positions that hold sound, one number or [B];
    None means F. time_precision: seconds a position. Returns [B, T + 1] float32: the last token has no attention of its
    own and repeats the time before it. As transformers' ``_extract_token_timestamps``, with ``frames`` in positions
    (its ``num_frames`` counts two to a position). Cost: one pass over the weights and one alignment of the batch.
    """
    if weights.dim() != 4:
        raise ValueError(f"weights must be [B, H, T, F]; got shape {list(weights.shape)}")
    batch_size, _, length, available = weights.shape
    times = torch.zeros(batch_size, length + 1, dtype=torch.float32, device=weights.device)
    if length <= num_input_ids or batch_size == 0:
        return times
    if isinstance(frames, Sequence) and len(frames) != batch_size:
        raise ValueError(f"frames must be one number or [{batch_size}]; got {len(frames)} numbers")
    matrices = smooth_attentions(weights[:, :, num_input_ids:], frames=frames, filter_width=filter_width)
    ends = warp(matrices.neg_(), frames=_counts(frames, batch_size, available)).starts
    predicted = (ends.double() * time_precision).to(times)
    times[:, num_input_ids:-1] = predicted
    times[:, -1] = predicted[:, -1]
    return times


def _counts(frames: int | Sequence[int] | None, batch_size: int, available: int) -> list[int]:
    each = frames if isinstance(frames, Sequence) else [available if frames is None else frames] * batch_size
    return [min(int(count), available) for count in each]


def smooth_attentions(weights: Tensor, *, frames: int | Sequence[int] | None = None, filter_width: int = 7) -> Tensor:
    """Attentions standardised over the tokens, median-filtered over the frames and averaged over the heads.

    weights: [B, H, T, F] float. frames: positions of all rows, or of each, that count; those past it are 0 in the
    result. Returns [B, T, F], bit for bit what transformers has (which takes rows one by one where each has its own
    ``frames``, and so does this: torch's order of a sum depends on the shape).
    """
    batch_size, _, length, available = weights.shape
    counts = _counts(frames, batch_size, available)
    out = weights.new_zeros(batch_size, length, available)
    together = 1 if isinstance(frames, Sequence) else max(1, batch_size)
    for row in range(0, batch_size, together):
        rows, count = slice(row, row + together), counts[row]
        out[rows, :, :count] = _smooth(weights[rows, :, :, :count], filter_width)
    return out


def _smooth(weights: Tensor, filter_width: int) -> Tensor:
    """[B, H, T, F] into [B, T, F].

    transformers averages a view of sorted windows, numbers that lie apart; torch sums such in another order than
    neighbours, and another one for the last few of them. So the filtered numbers lie apart here too, by two, and torch
    averages them in the shape it has there.
    """
    mean, std = weights.mean(dim=-2, keepdim=True), weights.std(dim=-2, keepdim=True, unbiased=False)
    batch_size, heads, length, frames = weights.shape
    if frames <= filter_width // 2:  # too few to filter: neighbours stay neighbours
        return ((weights - mean) / std).mean(dim=1)
    if frames < filter_width:  # torch.sort lays out its result along the longer of frames and window
        filtered = weights.new_empty(batch_size, heads, length, 2, frames)[..., 0, :]
    else:
        filtered = weights.new_empty(batch_size, heads, length, frames, 2)[..., 0]
    step = max(1, VALUES_AT_ONCE // max(1, heads * frames))
    for first in range(0, length, step):
        rows = slice(first, first + step)
        filtered[:, :, rows] = median_filter((weights[:, :, rows] - mean).div_(std), filter_width)
    return filtered.mean(dim=1)


def median_filter(values: Tensor, width: int) -> Tensor:
    """The median of ``width`` neighbours along the last axis, the ends reflected.

    values: [..., F] float. width: odd; rows of ``width // 2`` values or fewer stay as they are. NaN counts as the
    largest. Width 7 takes 18 minima and maxima, other widths sort.
    >>> median_filter(torch.tensor([[9.0, 1, 5, 2]]), 3)
    tensor([[1., 5., 2., 5.]])
    """
    if width <= 0 or width % 2 != 1:
        raise ValueError(f"width must be odd and positive; got {width}")
    reach = width // 2
    if values.shape[-1] <= reach:
        return values
    shape, rows = values.shape, values.reshape(-1, values.shape[-1])
    out = torch.empty_like(rows)
    step = max(1, VALUES_AT_ONCE // rows.shape[1])
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        padded = torch.nn.functional.pad(part[None], (reach, reach), mode="reflect")[0]
        if width == 7 and not bool(torch.isnan(padded.sum())):
            _median_of_seven(padded, out[first : first + step])
        else:
            out[first : first + step] = padded.unfold(-1, width, 1).sort()[0][..., reach]
    return out.reshape(shape)


def _median_of_seven(padded: Tensor, out: Tensor) -> None:
    """Of every seven neighbours: the two middle values of two sorted triples, which every window shares, and the last.

    The third and fourth of six sorted values s3 <= s4 bound the median of seven: max(s3, min(s4, seventh)).
    """
    n = out.shape[-1]
    low, high = torch.minimum(padded[:, :-1], padded[:, 1:]), torch.maximum(padded[:, :-1], padded[:, 1:])
    third, low, high = padded[:, 2:], low[:, :-1], high[:, :-1]
    middle = torch.maximum(low, torch.minimum(high, third))
    low, high = torch.minimum(low, third), torch.maximum(high, third)
    a1, a2, a3 = low[:, :n], middle[:, :n], high[:, :n]
    b1, b2, b3 = low[:, 3 : n + 3], middle[:, 3 : n + 3], high[:, 3 : n + 3]
    one, two = torch.maximum(a1, b2), torch.maximum(a2, b1)
    torch.minimum(one, two, out=one)
    torch.minimum(one, torch.minimum(a3, b3), out=one)  # s3
    four = torch.maximum(a2, b2)
    torch.minimum(four, torch.maximum(a3, b1), out=four)
    torch.minimum(four, torch.maximum(a1, b3), out=four)  # s4
    torch.minimum(four, padded[:, 6:], out=four)
    torch.maximum(one, four, out=out)
