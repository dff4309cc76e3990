"""Pieces of masks that hang together, and masks without the small ones: holes filled, sprinkles removed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def clean_masks(masks: Tensor, *, max_hole_area: float = 0, max_sprinkle_area: float = 0) -> Tensor:
    """Masks without small holes and small islands: [N, H, W] bool.

    masks: [N, H, W] bool. Holes are background pieces of up to ``max_hole_area`` pixels, islands foreground pieces of
    up to ``max_sprinkle_area``; 0 leaves them. Pieces hang together over edges and corners; holes first. transformers
    takes both options and does nothing with them.
    """
    for area, hole in ((max_hole_area, True), (max_sprinkle_area, False)):
        if area > 0:
            masks = torch.stack([_without_small(mask, area, hole) for mask in masks]) if len(masks) else masks
    return masks


def _without_small(mask: Tensor, area: float, hole: bool) -> Tensor:
    wanted = ~mask if hole else mask
    pieces = connected_pieces(wanted)
    small = torch.bincount(pieces.flatten()) <= area
    small[0] = False
    return mask ^ (small.to(mask.device)[pieces] & wanted)


def connected_pieces(mask: Tensor) -> Tensor:
    """Which piece every pixel of a mask [H, W] belongs to, from 1 on; 0 outside. Neighbours touch at edges or corners.

    Pieces are numbered by their first pixel, row by row. Runs of rows are joined by their smallest pixel, halving the
    number of steps, so that a spiral takes as few rounds as its logarithm.
    """
    inside = mask.detach().cpu().numpy().astype(bool)
    height, width = inside.shape
    flat = inside.reshape(-1)
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = inside
    edges = np.diff(padded, axis=1)
    first = np.flatnonzero((edges == 1)[:, :width].reshape(-1))
    last = np.flatnonzero((edges == -1)[:, 1:].reshape(-1))  # the last pixel of each run
    run_of = np.zeros(height * width, dtype=np.int64)
    run_of[first] = 1
    run_of = np.cumsum(run_of) - 1
    root = _joined_runs(first, last, flat, run_of, height, width)
    _, number = np.unique(root, return_inverse=True)
    out = np.zeros(height * width, dtype=np.int64)
    if len(first):
        out[flat] = number[run_of[flat]] + 1
    return torch.from_numpy(out.reshape(height, width)).to(mask.device)


def _joined_runs(first: Any, last: Any, flat: Any, run_of: Any, height: int, width: int) -> Any:
    """The smallest run that each run hangs together with."""
    count = len(first)
    root = np.arange(count)
    if not count:
        return root
    above, below = [], []
    for shift in (-1, 0, 1):  # pixels and those above them, straight and slanting
        row, column = np.divmod(np.flatnonzero(flat), width)
        there = (row > 0) & (column + shift >= 0) & (column + shift < width)
        pixel = (row * width + column)[there]
        over = pixel - width + shift
        touching = flat[over]
        above.append(run_of[over[touching]])
        below.append(run_of[pixel[touching]])
    pairs = np.unique(np.stack((np.concatenate(above), np.concatenate(below)), axis=1), axis=0)
    left, right = pairs[:, 0], pairs[:, 1]
    while True:
        least = np.minimum(root[left], root[right])
        after = root.copy()
        np.minimum.at(after, root[left], least)
        np.minimum.at(after, root[right], least)
        while True:  # every run points at its root's root
            jumped = after[after]
            if np.array_equal(jumped, after):
                break
            after = jumped
        if np.array_equal(after, root):
            return root
        root = after
