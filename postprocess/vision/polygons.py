"""Masks as polygons along the edges of their pixels: exact outlines with holes, and back to the same area."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# The four directions of an edge on the screen, y downwards: right, down, left, up.
_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


def mask_polygons(mask: Tensor) -> list[list[Tensor]]:
    """The outlines of a mask: a polygon for each of its parts, as a list of rings.

    mask: [H, W] bool, or numbers of which all but 0 count. A ring is [K, 2] int64 (x, y), corners of pixels in order,
    the first not repeated at the end. The first ring of a polygon runs clockwise on the screen, those of its holes the
    other way. Pixels that meet at a corner alone are parts of their own; polygons come by their topmost, then leftmost
    pixel. The area between the rings is the number of pixels.
    Cost: as the length of the outlines, in numpy.
    >>> [ring.tolist() for ring in mask_polygons(torch.tensor([[1, 1, 0]]))[0]]
    [[[0, 0], [2, 0], [2, 1], [0, 1]]]
    """
    if mask.dim() != 2:
        raise ValueError(f"mask must be [H, W]; got shape {list(mask.shape)}")
    there = (mask != 0).cpu().numpy()
    rings = [_corners(ring) for ring in _loops(*_edges(there))]
    outer = [ring for ring in rings if ring_area(ring) > 0]
    polygons = [[ring] for ring in outer]
    for hole in (ring for ring in rings if ring_area(ring) < 0):
        polygons[_owner(hole, outer)].append(hole)
    return [[torch.from_numpy(ring) for ring in polygon] for polygon in polygons]


def ring_area(ring: np.ndarray | Tensor) -> float:
    """The area that a ring encloses, positive where it runs clockwise on the screen.

    >>> ring_area(torch.tensor([[0, 0], [2, 0], [2, 1], [0, 1]]))
    2.0
    """
    corners = np.asarray(ring, dtype=np.float64)
    following = np.roll(corners, -1, axis=0)
    return float((corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]).sum() / 2)


def _edges(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sides of pixels where the mask ends, the mask on their right: starts [N, 2] (x, y) and directions [N]."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    corner = ((0, 0), (1, 0), (1, 1), (0, 1))  # where the side begins, from the pixel's upper left
    starts, directions = [], []
    for direction in range(4):
        row, column = np.nonzero(inside & ~beyond[direction])
        right, down = corner[direction]
        starts.append(np.stack([column + right, row + down], axis=1))
        directions.append(np.full(len(row), direction))
    return np.concatenate(starts), np.concatenate(directions)


def _loops(starts: np.ndarray, directions: np.ndarray) -> list[np.ndarray]:
    """The edges as closed loops: the starts of each loop's edges in order."""
    count = len(starts)
    if not count:
        return []
    following = _following(starts, directions)
    loop, place = _ranked(following, np.lexsort((starts[:, 0], starts[:, 1])))
    order = np.lexsort((place, loop))
    cuts = np.flatnonzero(np.diff(loop[order])) + 1
    return np.split(starts[order], cuts)


def _following(starts: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The edge after each. Where two leave a corner, the one that turns right stays with the same pixel."""
    width = int(starts[:, 0].max()) + 2
    key = (starts[:, 1] * width + starts[:, 0]) * 4 + directions
    order = np.argsort(key)
    ends = starts + _STEPS[directions]
    at_end = (ends[:, 1] * width + ends[:, 0]) * 4
    following = np.full(len(starts), -1)
    for turn in (1, 0, -1):
        wanted = at_end + (directions + turn) % 4
        place = np.searchsorted(key[order], wanted).clip(max=len(key) - 1)
        found = order[place]
        following = np.where((following < 0) & (key[found] == wanted), found, following)
    return following


def _ranked(following: np.ndarray, by_place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loop of each edge, named by the rank of its first edge from the top left, and its place in the loop.

    Pointers are doubled: log2(N) passes over all edges in place of a walk.
    """
    count = len(following)
    rank = np.empty(count, dtype=np.int64)
    rank[by_place] = np.arange(count)
    first, jump = rank.copy(), following.copy()
    for _ in range(int(np.ceil(np.log2(count + 1)))):
        first, jump = np.minimum(first, first[jump]), jump[jump]
    head = by_place[first]
    # The distance to the last edge of the loop, which is followed by its head.
    last = following == head
    jump = np.where(last, np.arange(count), following)
    left = np.where(last, 0, 1)
    for _ in range(int(np.ceil(np.log2(count + 1)))):
        left, jump = left + left[jump], jump[jump]
    return first, -left


def _corners(ring: np.ndarray) -> np.ndarray:
    """The starts of a loop without those where it goes straight on."""
    step = ring - np.roll(ring, 1, axis=0)
    turns = (step != np.roll(step, -1, axis=0)).any(axis=1)
    return np.ascontiguousarray(ring[turns], dtype=np.int64)


def _owner(hole: np.ndarray, outer: list[np.ndarray]) -> int:
    """The number of the smallest ring around a hole."""
    # The middle of the hole's topmost, leftmost pixel.
    point = hole[np.lexsort((hole[:, 0], hole[:, 1]))[0]] + np.array([0.5, 0.5])
    around = [number for number, ring in enumerate(outer) if _contains(ring, point)]
    return min(around, key=lambda number: ring_area(outer[number]))


def _contains(ring: np.ndarray, point: np.ndarray) -> bool:
    """Whether a point that is on no edge lies within a ring: how often a ray to the right crosses it."""
    following = np.roll(ring, -1, axis=0)
    crossed = ((ring[:, 1] > point[1]) != (following[:, 1] > point[1])) & (ring[:, 0] > point[0])
    return bool(crossed.sum() % 2)
