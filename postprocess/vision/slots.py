"""Queries of a device that are kept, without asking which: so many slots take the first of them, in their order.

To know how many are kept the host would wait before their masks can be resized. A slot beyond their number holds the
first kept query once more, which wins no pixel against itself. Where more are kept than there are slots, the host hears
of it with the answer, and the image is done again from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..transfers import received
from .segments import QuerySegments, Segmentations, segmentations
from .upsampling import DEVICE_CHUNK_BYTES

ROOM = 32  # pictures show ten to twenty segments; a wait costs more than the planes of a few slots that stay free


class Slots(NamedTuple):
    """The kept entries of an image. S slots."""

    places: Tensor  # [S] int64, the entries kept first to last, then the first again
    kept: Tensor  # [] int64, how many are kept, which may be more than there are slots
    filled: Tensor  # [S] bool


Paint: TypeAlias = Callable[[int, Tensor, Slots | None], QuerySegments]
"""What an image is, given its number, the places of its kept entries, on the host or where they are, and the slots that
these are; None where all of them are kept."""


def painted(
    keep: Tensor, paint: Paint, none_kept: Callable[[int], QuerySegments], sizes: Sequence[tuple[int, int]]
) -> Segmentations:
    """The segments of B images of which the entries ``keep`` [B, Q] are kept.

    none_kept: what an image without any is, given its number; what ``paint`` makes of it has the same map but for its
    type. sizes: (height, width) of the planes that are made of an entry, of any image. On a device it waits once, for
    what is shown; twice where planes are so large that which are kept is asked first.
    """

    def settled(image: int, kept: int) -> QuerySegments:
        return paint(image, received(keep[image])[0].nonzero()[:, 0], None) if kept else none_kept(image)

    if keep.device.type == "cpu" or not keep.shape[1] or not _fit(sizes):
        (read,) = received(keep)
        found = [
            paint(image, own.nonzero()[:, 0], None) if own.any() else none_kept(image) for image, own in enumerate(read)
        ]
        return segmentations(found)
    found = []
    for image, slots in enumerate(slots_of(keep)):
        each = paint(image, slots.places, slots)
        found.append(replace(each, kept=slots.kept, otherwise=partial(settled, image)))
    return segmentations(found)


def _fit(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether planes of these sizes are small enough that a few too many cost less than a wait."""
    return all(4 * ROOM * height * width <= DEVICE_CHUNK_BYTES for height, width in sizes)


def slots_of(keep: Tensor) -> list[Slots]:
    """The slots of each of B images, from which of its Q entries are kept: [B, Q] bool. Reads nothing on the host.

    >>> slots_of(torch.tensor([[False, True, False, True]]))[0].places
    tensor([1, 3, 1, 1])
    """
    order = (~keep).to(torch.uint8).argsort(dim=1, stable=True)[:, :ROOM]
    kept = keep.sum(dim=1)
    filled = torch.arange(order.shape[1], device=keep.device) < kept[:, None]
    places = torch.where(filled, order, order[:, :1])
    return [Slots(*each) for each in zip(places, kept, filled, strict=True)]
