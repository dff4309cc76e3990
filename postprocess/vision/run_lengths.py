"""Masks as run lengths and back: COCO's column-major counts, plain and compressed, and Mask2Former's row-major form.

COCO counts alternate background and foreground down the columns and begin with background, so that a mask which begins
with foreground begins with a count of 0. Its compressed strings are pycocotools' own. The row-major form lists, for
each id of a map, where each of its runs starts (counted from 1) and how long it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..transfers import received

Counts = np.ndarray[Any, np.dtype[np.int64]]
CHANGES_A_COLUMN = 4  # of a mask, mostly: room for so many is read from a device
SHORT_RUNS = 24  # pixels: below that mean length, runs are written by index rather than one by one


@dataclass(frozen=True)
class RunLengths:
    """COCO run lengths of K masks of one size, in one array."""

    counts: Counts  # [N] of all masks
    bounds: Counts  # [K + 1]: mask k has counts[bounds[k]:bounds[k + 1]]
    size: tuple[int, int]  # height, width

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def lists(self) -> list[list[int]]:
        """The counts of each mask as Python integers."""
        counts, bounds = self.counts.tolist(), self.bounds.tolist()
        return [counts[first:last] for first, last in itertools.pairwise(bounds)]

    def records(self) -> list[dict[str, Any]]:
        """One ``{size: [height, width], counts: [...]}`` per mask: COCO's uncompressed form, and transformers'."""
        return [{"size": list(self.size), "counts": counts} for counts in self.lists()]

    def compressed(self) -> list[dict[str, Any]]:
        """One ``{size, counts}`` per mask with COCO's compressed counts, a string."""
        return [{"size": list(self.size), "counts": counts} for counts in compress(self.counts, self.bounds)]

    def select(self, index: Sequence[int]) -> RunLengths:
        """Chosen masks, in that order."""
        parts = [self.counts[self.bounds[k] : self.bounds[k + 1]] for k in index]
        return RunLengths(_joined(parts), _bounds_of([len(part) for part in parts]), self.size)

    def areas(self) -> Tensor:
        """Foreground pixels of each mask, [K] int64."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.bounds))
        foreground = (np.arange(len(self.counts)) - self.bounds[owner]) % 2 == 1
        sums = np.bincount(owner[foreground], self.counts[foreground], minlength=len(self))
        return torch.from_numpy(sums.astype(np.int64))

    def decode(self) -> Tensor:
        """The masks, [K, H, W] bool; a view of column-major memory."""
        height, width = self.size
        flat = np.zeros((len(self), height * width), dtype=np.bool_)
        for mask, first, last in zip(flat, self.bounds[:-1], self.bounds[1:], strict=True):
            _paint(mask, self.counts[first:last])
        return torch.from_numpy(flat).view(len(self), width, height).transpose(1, 2)


def _paint(mask: np.ndarray[Any, np.dtype[np.bool_]], counts: Counts) -> None:
    """Set the ones of COCO's counts in a flat mask: run by run where runs are long, else all pixels at once."""
    ends = np.cumsum(counts)
    last = ends[1::2]
    first = last - counts[1::2]
    if len(ends) and ends[-1] > SHORT_RUNS * len(counts):
        for start, end in zip(first.tolist(), last.tolist(), strict=True):
            mask[start:end] = True
        return
    lengths = last - first
    before = np.cumsum(lengths) - lengths
    mask[np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))] = True


def encode_masks(masks: Tensor) -> RunLengths:
    """COCO run lengths of masks.

    masks: [K, H, W] bool, or numbers of which all but 0 count. Columns are compared where they lie; the masks are not
    transposed. Cost: one comparison of neighbours, and a sort of the places where they differ. On another device the
    comparison is made there, and the host waits once, for the places and not for the masks.
    >>> encode_masks(torch.tensor([[[0, 1], [1, 1]], [[1, 1], [1, 1]]])).lists()
    [[1, 3], [0, 4]]
    """
    if masks.dim() != 3:
        raise ValueError(f"masks must be [K, H, W]; got shape {list(masks.shape)}")
    there = masks if masks.dtype == torch.bool else masks != 0
    count, height, width = there.shape
    if height * width == 0:
        raise ValueError(f"masks must have at least one pixel; got shape {list(masks.shape)}")
    if there.device.type != "cpu":
        changes = MaskChanges.of(there.detach())
        return changes.runs(received(*changes.tensors()))
    pixels = there.detach().contiguous().numpy().view(np.uint8)
    first = pixels[:, 0, 0].astype(np.int64)
    differ = pixels[:, 1:] ^ pixels[:, :-1]
    inside = np.flatnonzero(differ.view(np.bool_))  # of bytes numpy looks at every value, of bools at eight at once
    owner, rest = np.divmod(inside, max((height - 1) * width, 1))
    row, column = np.divmod(rest, width)
    across, edge = np.nonzero(pixels[:, 0, 1:] ^ pixels[:, -1, :-1])
    keys = np.concatenate(
        (owner * (height * width) + column * height + row + 1, across * (height * width) + (edge + 1) * height)
    )
    keys.sort()
    return _from_changes(keys, first, count, (height, width))


@dataclass(frozen=True)
class MaskChanges:
    """Where K masks of a device change, found there; what the host needs of it to write their run lengths."""

    differ: Tensor  # [K, W * H] bool: where a mask changes, column after column
    size: tuple[int, int]
    room: int  # how many changes are sent
    places: Tensor | None  # [room] int64; None where torch has no operation for that: before 2.6

    @classmethod
    def of(cls, there: Tensor) -> MaskChanges:
        """Of masks [K, H, W] bool."""
        flat = there.transpose(1, 2).flatten(1)
        differ = torch.cat((flat[:, :1], flat[:, 1:] ^ flat[:, :-1]), dim=1)  # a mask begins behind background
        room = min(CHANGES_A_COLUMN * there.shape[0] * there.shape[2], differ.numel())
        try:
            places = torch.nonzero_static(differ.flatten(), size=room)[:, 0]
        except NotImplementedError:
            places = None
        return cls(differ, (there.shape[1], there.shape[2]), room, places)

    def tensors(self) -> list[Tensor]:
        """What is to be sent to the host."""
        return [] if self.places is None else [self.places, self.differ.sum()]

    def runs(self, read: Sequence[Tensor]) -> RunLengths:
        """The run lengths, from ``tensors`` on the host. Waits where masks change more often than there is room for."""
        places, count = (read[0], int(read[1])) if self.places is not None else (None, 0)
        if places is None or count > self.room:
            (places,) = received(self.differ.flatten().nonzero()[:, 0])
            count = len(places)
        keys: Counts = places.numpy()[:count]
        owner, place = np.divmod(keys, self.differ.shape[1])
        first = np.zeros(len(self.differ), dtype=np.int64)
        first[owner[place == 0]] = 1
        return _from_changes(keys[place > 0], first, len(self.differ), self.size)


def _from_changes(keys: Counts, first: Counts, count: int, size: tuple[int, int]) -> RunLengths:
    """Counts from the sorted places where masks change. keys: mask * H * W + place. first: [K], 1 for foreground."""
    pixels = size[0] * size[1]
    owner, place = np.divmod(keys, pixels)
    changes = np.bincount(owner, minlength=count)
    bounds = _bounds_of(changes + 1 + first)
    counts = np.zeros(int(bounds[-1]), dtype=np.int64)
    before = np.concatenate(([0], place[:-1])) if len(place) else place
    starts = np.cumsum(changes) - changes
    before[starts[changes > 0]] = 0
    rank = np.arange(len(keys)) - starts[owner]
    counts[bounds[owner] + first[owner] + rank] = place - before
    last = np.zeros(count, dtype=np.int64)
    last[changes > 0] = place[(starts + changes - 1)[changes > 0]]
    counts[bounds[1:] - 1] = pixels - last
    return RunLengths(counts, bounds, size)


def read_run_lengths(records: Sequence[Mapping[str, Any]]) -> RunLengths:
    """Run lengths from records ``{size, counts}`` of one size, counts plain or compressed (str or bytes).

    >>> read_run_lengths([{"size": [2, 2], "counts": "13"}]).decode().int().tolist()
    [[[0, 1], [1, 1]]]
    """
    if not records:
        raise ValueError("records must hold at least one mask; got none")
    sizes = {tuple(record["size"]) for record in records}
    if len(sizes) > 1:
        raise ValueError(f"records must have one size; got {sorted(sizes)}")
    height, width = sizes.pop()
    parts = [_counts_of(record["counts"]) for record in records]
    for row, part in enumerate(parts):
        if int(part.sum()) != height * width:
            raise ValueError(f"counts must add up to {height * width}; got {int(part.sum())} in row {row}")
    return RunLengths(_joined(parts), _bounds_of([len(part) for part in parts]), (int(height), int(width)))


def _counts_of(counts: Any) -> Counts:
    return decompress(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts, dtype=np.int64)


def compress(counts: Counts, bounds: Counts) -> list[str]:
    """COCO's strings of counts: from the fourth on the difference to the last but one, in groups of five bits."""
    place = np.arange(len(counts)) - np.repeat(bounds[:-1], np.diff(bounds))
    left = counts.astype(np.int64, copy=True)
    far = np.flatnonzero(place > 2)
    left[far] -= counts[far - 2]
    columns, valid, open_values = [], [], np.ones(len(left), dtype=np.bool_)
    while open_values.any():
        bits = left & 0x1F
        left >>= 5
        more = np.where(bits & 0x10, left != -1, left != 0)
        columns.append((bits | (more << 5)) + 48)
        valid.append(open_values)
        open_values = open_values & more
    if not columns:
        return [""] * (len(bounds) - 1)
    there = np.stack(valid, axis=1)
    text = np.stack(columns, axis=1)[there].astype(np.uint8).tobytes().decode("ascii")
    ends = np.concatenate(([0], np.cumsum(there.sum(axis=1))))[bounds].tolist()
    return [text[first:last] for first, last in itertools.pairwise(ends)]


def decompress(text: str | bytes) -> Counts:
    """The counts of one COCO string."""
    data = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, dtype=np.uint8).astype(np.int64) - 48
    if not len(data):
        return data
    ends = (data & 0x20) == 0
    if not ends[-1] or (data < 0).any() or (data > 0x3F).any():
        raise ValueError(f"counts must be a COCO string; got {text!r}")
    owner = np.concatenate(([0], np.cumsum(ends)[:-1]))
    starts = np.concatenate(([0], np.flatnonzero(ends)[:-1] + 1))
    shift = 5 * (np.arange(len(data)) - starts[owner])
    values = np.add.reduceat((data & 0x1F) << shift, starts)
    last = np.flatnonzero(ends)
    negative = (data[last] & 0x10) != 0
    values[negative] -= np.int64(1) << (shift[last][negative] + 5)
    # From the fourth on each is the difference to the last but one: a running sum of either parity undoes it.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def map_runs(segmentation: Tensor) -> tuple[list[float], list[list[int]]]:
    """The row-major runs of every id of a map: ids ascending, and for each ``[start, length, start, length, ...]``.

    segmentation: [H, W]. Starts count from 1. The background is an id as well, -1 where nothing was found.
    >>> map_runs(torch.tensor([[0, 1, 1], [1, 0, 0]]))
    ([0, 1], [[1, 1, 5, 2], [2, 3]])
    """
    flat = segmentation.detach().cpu().contiguous().view(-1).numpy()
    if not len(flat):
        return [], []
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(np.append(starts, len(flat)))
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    pairs = np.stack((starts[order] + 1, lengths[order]), axis=1).reshape(-1)
    ids, counts = np.unique(values, return_counts=True)
    bounds = _bounds_of(2 * counts).tolist()
    runs = pairs.tolist()
    return ids.tolist(), [runs[first:last] for first, last in itertools.pairwise(bounds)]


def mask_runs(mask: Tensor) -> list[int]:
    """The row-major runs of one mask [H, W]: ``[start, length, ...]``, starts from 1; Mask2Former's and Kaggle's form.

    >>> mask_runs(torch.tensor([[0, 1, 1], [1, 0, 0]]))
    [2, 3]
    """
    ids, runs = map_runs((mask != 0).to(torch.uint8))
    return runs[ids.index(1)] if 1 in ids else []


def join_run_lengths(parts: Sequence[RunLengths], size: tuple[int, int]) -> RunLengths:
    """The masks of several, one after the other; all are of one size (height, width)."""
    lengths = [np.diff(part.bounds) for part in parts]
    return RunLengths(_joined([part.counts for part in parts]), _bounds_of(_joined(lengths)), size)


def _bounds_of(lengths: Any) -> Counts:
    return np.concatenate(([0], np.cumsum(np.asarray(lengths, dtype=np.int64))))


def _joined(parts: list[Counts]) -> Counts:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
