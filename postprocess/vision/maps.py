"""Maps of ids to masks and back: one mask per id, and what each id covers (area, box, centre) from one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..transfers import received, sent


def id_masks(segmentation: Tensor, ids: Tensor | list[int] | None = None) -> tuple[Tensor, Tensor]:
    """The ids of a map, [K] int64 ascending, and the mask of each: [K, H, W] uint8 of 0 and 255.

    segmentation: [H, W], integers, or floats that hold integers. ids: those asked for, in that order; None means all
    that occur. On the CPU the map is narrowed to bytes where it fits; on a device only the ids are waited for.
    >>> ids, masks = id_masks(torch.tensor([[2, 0], [2, 2]]))
    >>> ids.tolist(), masks[1].tolist()
    ([0, 2], [[255, 0], [255, 255]])
    """
    _check_map(segmentation)
    narrow = _narrowed(segmentation) if segmentation.device.type == "cpu" else segmentation
    found = map_ids(narrow) if ids is None else torch.as_tensor(ids, dtype=torch.int64)
    wanted: list[int] = found.tolist()
    masks = torch.empty(len(wanted), *segmentation.shape, dtype=torch.uint8, device=segmentation.device)
    for place, value in enumerate(wanted):
        mask = masks[place]
        if segmentation.device.type == "cpu":
            np.equal(narrow.numpy(), value, out=mask.numpy().view(np.bool_))
            np.negative(mask.numpy(), out=mask.numpy())  # 1 becomes 255
        else:
            mask.copy_(narrow == value).mul_(255)
    return found, masks


def map_ids(segmentation: Tensor) -> Tensor:
    """The values that occur in a map, [K] int64 ascending."""
    if segmentation.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device="cpu")
    if segmentation.device.type != "cpu":
        return _device_ids(segmentation)
    # An id begins somewhere: only the first pixels of its runs are sorted, mostly few.
    flat = _narrowed(segmentation).numpy().reshape(-1)
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return torch.from_numpy(np.unique(np.append(flat[starts], flat[0])).astype(np.int64))


def _device_ids(segmentation: Tensor) -> Tensor:
    """The same of a map on a device, waited for once where all ids are of 16 bits: which of these occur."""
    low, high = segmentation.aminmax()
    inside = segmentation.clamp(-(2**15), 2**15 - 1).long().flatten() + 2**15
    held = torch.zeros(2**16, dtype=torch.bool, device=segmentation.device).index_fill_(0, inside, True)
    ids, least, most = received(held, low, high)
    if int(least) >= -(2**15) and int(most) < 2**15:
        return ids.nonzero()[:, 0].sub_(2**15)
    found: Tensor = torch.unique(segmentation)
    return found.long().cpu()


def _narrowed(segmentation: Tensor) -> Tensor:
    """The same integers in one or two bytes, where they fit: eight times less to read for each mask."""
    if segmentation.dtype == torch.uint8 or segmentation.numel() == 0:
        return segmentation.to(torch.uint8)
    low, high = (int(value) for value in segmentation.aminmax())
    if low >= 0 and high < 256:
        return segmentation.to(torch.uint8)
    return segmentation.to(torch.int16) if low >= -(2**15) and high < 2**15 else segmentation


@dataclass(frozen=True)
class MaskStatistics:
    """What each of K masks covers."""

    area: Tensor  # [K] int64, pixels
    boxes: Tensor  # [K, 4] int64: left, top, right, bottom, the last two included; zeros for an empty mask
    centroids: Tensor  # [K, 2] float64: mean column and row; NaN for an empty mask


def mask_statistics(masks: Tensor) -> MaskStatistics:
    """Area, box and centroid of every mask, from its sums along rows and columns.

    masks: [K, H, W] bool, or numbers of which all but 0 count.
    >>> found = mask_statistics(torch.tensor([[[0, 1, 1], [0, 1, 0]]]))
    >>> found.area.tolist(), found.boxes.tolist(), found.centroids.tolist()
    ([3], [[1, 0, 2, 1]], [[1.3333333333333333, 0.3333333333333333]])
    """
    if masks.dim() != 3:
        raise ValueError(f"masks must be [K, H, W]; got shape {list(masks.shape)}")
    there = masks if masks.dtype == torch.bool else masks != 0
    return statistics_of(there.sum(dim=2), there.sum(dim=1))


def statistics_of(row_counts: Tensor, column_counts: Tensor) -> MaskStatistics:
    """The same from the pixels of each row, [K, H], and of each column, [K, W]."""
    area = row_counts.sum(dim=1)
    top, bottom = _extent(row_counts)
    left, right = _extent(column_counts)
    boxes = torch.stack((left, top, right, bottom), dim=1) * (area > 0)[:, None]
    centres = [_mean_place(counts) / area.double() for counts in (column_counts, row_counts)]
    return MaskStatistics(area, boxes, torch.stack(centres, dim=1))


def _extent(counts: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last place with a pixel, [K] each; 0 and the last place for none."""
    there = counts > 0
    if there.shape[1] == 0:
        return counts.new_zeros(counts.shape[0]), counts.new_zeros(counts.shape[0])
    first = there.int().argmax(dim=1)
    last = there.shape[1] - 1 - there.flip(1).int().argmax(dim=1)
    return first, last


def _mean_place(counts: Tensor) -> Tensor:
    places = torch.arange(counts.shape[1], device=counts.device, dtype=torch.float64)
    return (counts.double() * places).sum(dim=1)


def id_statistics(segmentation: Tensor, ids: Tensor | list[int] | None = None) -> tuple[Tensor, MaskStatistics]:
    """Area, box and centroid of every id of a map [H, W] in one pass over it, without a mask per id."""
    _check_map(segmentation)
    found = map_ids(segmentation) if ids is None else torch.as_tensor(ids, dtype=torch.int64)
    count, (height, width) = len(found), segmentation.shape
    order = sent(found, segmentation.device)
    ascending, place = order.sort()
    index = torch.searchsorted(ascending, segmentation.long().contiguous()).clamp_max(max(count - 1, 0))
    member = ascending[index] == segmentation if count else torch.zeros_like(segmentation, dtype=torch.bool)
    index = torch.where(member, place[index] if count else 0, count)
    rows = index + torch.arange(height, device=index.device)[:, None] * (count + 1)
    columns = index + torch.arange(width, device=index.device) * (count + 1)
    by_row, by_column = (
        _counted(places.flatten(), size * (count + 1)).view(size, count + 1)[:, :count].T
        for places, size in ((rows, height), (columns, width))
    )
    return found, statistics_of(by_row, by_column)


def _counted(places: Tensor, most: int) -> Tensor:
    """How often each number below ``most`` occurs: [most] int64, without asking a device how large they are."""
    if places.device.type == "cpu":
        return torch.bincount(places, minlength=most)
    ones = torch.ones((), dtype=torch.int64, device=places.device).expand(places.shape)
    return torch.zeros(most, dtype=torch.int64, device=places.device).scatter_add_(0, places, ones)


def _check_map(segmentation: Tensor) -> None:
    if segmentation.dim() != 2:
        raise ValueError(f"segmentation must be [H, W]; got shape {list(segmentation.shape)}")
