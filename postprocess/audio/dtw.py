"""Dynamic time warping of many token-by-frame matrices at once, by anti-diagonals.

A cell depends on the two anti-diagonals before its own, so a whole anti-diagonal of all matrices is a handful of array
operations. Ties are resolved as transformers resolves them, odd ones included: where the diagonal and the upward step
tie below the sideways one, it is the sideways one that is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

Array = np.ndarray[Any, Any]
DIAGONAL, UP, SIDEWAYS = 0, 1, 2
CELLS_AT_ONCE = 1 << 24  # one byte each, for the way back


@dataclass(frozen=True)
class Warping:
    """The cheapest monotone path through each matrix. W matrices, N tokens."""

    starts: Tensor  # [W, N] int64, the first frame of each token; tokens past a matrix's own have 0
    paths: tuple[tuple[Tensor, Tensor], ...]  # tokens and frames of every cell of a path, in order


def warp(costs: Tensor, *, tokens: Sequence[int] | None = None, frames: Sequence[int] | None = None) -> Warping:
    """Align the tokens of each matrix with its frames.

    costs: [W, N, M] float, low where a token fits a frame. tokens, frames: [W], the part of each matrix that counts;
    None means N and M. Sums are rounded to float32 at every cell, as in transformers. NaN is never the cheapest.
    Cost: N + M steps of array operations on W * min(N, M) numbers, and a byte a cell. Copies the matrices to the host.
    >>> warp(torch.tensor([[[0.0, 0, 9], [9, 9, 0]]])).starts
    tensor([[0, 2]])
    """
    if costs.dim() != 3:
        raise ValueError(f"costs must be [W, N, M]; got shape {list(costs.shape)}")
    windows, n, m = costs.shape
    token_counts = [n] * windows if tokens is None else [int(count) for count in tokens]
    frame_counts = [m] * windows if frames is None else [int(count) for count in frames]
    starts = torch.zeros(windows, n, dtype=torch.long, device="cpu")
    paths: list[tuple[Tensor, Tensor]] = []
    group = max(1, CELLS_AT_ONCE // max(1, (n + 1) * (m + 1)))
    for first in range(0, windows, group):
        steps = _steps(_host_matrices(costs[first : first + group]))
        for window, trace in enumerate(steps, start=first):
            path = _way_back(trace, token_counts[window], frame_counts[window], starts[window])
            paths.append(path)
    return Warping(starts, tuple(paths))


def _host_matrices(costs: Tensor) -> Array:
    """[N, M, W]: one anti-diagonal of all matrices is then a strided view. Half precision is exact in float32."""
    kept = costs.detach() if costs.dtype == torch.float64 else costs.detach().float()
    return np.ascontiguousarray(kept.permute(1, 2, 0).cpu().numpy())


def _steps(matrices: Array) -> list[Array]:
    """The step that leads to each cell, [N, M] int8 for each matrix."""
    n, m, windows = matrices.shape
    # trace[i, d] holds the cell of token i on anti-diagonal d, so that each one is written as a column of rows.
    trace = np.empty((n + m - 1 if n and m else 0, n, windows), dtype=np.int8)
    before = np.full((n + 1, windows), np.inf, dtype=np.float32)  # two anti-diagonals ago, by token
    last = np.full((n + 1, windows), np.inf, dtype=np.float32)
    following = np.full((n + 1, windows), np.inf, dtype=np.float32)
    before[0] = 0.0
    row, column, item = matrices.strides
    flat = matrices.reshape(-1)
    for d in range(len(trace)):
        lo, hi = max(0, d - m + 1), min(n, d + 1)
        cells = as_strided(flat[(lo * m + d - lo) * windows :], (hi - lo, windows), (row - column, item))
        diagonal, up, sideways = before[lo:hi], last[lo:hi], last[lo + 1 : hi + 1]
        by_diagonal = diagonal < np.minimum(up, sideways)
        by_up = up < np.minimum(diagonal, sideways)
        cheapest = np.where(by_up, up, sideways)
        np.copyto(cheapest, diagonal, where=by_diagonal)
        # Two float32 summed in float64 and rounded once more are their float32 sum, so float32 is exact here.
        np.add(cells, cheapest, out=following[lo + 1 : hi + 1], casting="same_kind")
        step = trace[d, lo:hi]
        np.subtract(SIDEWAYS, by_up, out=step, casting="unsafe", dtype=np.int8)
        step[by_diagonal] = DIAGONAL
        before, last, following = last, following, before
        following[0] = np.inf  # only the very first cell is reached from the corner
    return [trace[:, :, window] for window in range(windows)]


def _way_back(trace: Array, i: int, j: int, starts: Tensor) -> tuple[Tensor, Tensor]:
    """From the last cell to the first. trace: [anti-diagonal, token]."""
    tokens: list[int] = []
    frames: list[int] = []
    first = [0] * i
    steps = np.ascontiguousarray(trace).reshape(-1).tobytes() if trace.size else b""
    width = trace.shape[1]
    while i > 0 or j > 0:
        tokens.append(i - 1)
        frames.append(j - 1)
        step = SIDEWAYS if i == 0 else UP if j == 0 else steps[(i + j - 2) * width + i - 1]
        if step != SIDEWAYS:
            first[i - 1] = j - 1
            i -= 1
        if step != UP:
            j -= 1
    starts[: len(first)] = torch.tensor(first, dtype=torch.long, device="cpu")
    return torch.tensor(tokens[::-1], dtype=torch.long, device="cpu"), torch.tensor(
        frames[::-1], dtype=torch.long, device="cpu"
    )
