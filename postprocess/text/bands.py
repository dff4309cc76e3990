"""The largest products ``starts[i] * ends[j]`` in the band ``i <= j < i + width``, without forming the band.

On the CPU all of it is numpy on the tensors' own memory: the arrays of a batch of windows are small, and waking the
threads of a parallel operation takes longer than the search. On any other device it is torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from ..probabilities import IN_CACHE, blocks

Array = np.ndarray[Any, Any]
OUTSIDE = -1.0  # the end probability past the last token: its products are never positive


def banded_top_k(starts: Tensor, ends: Tensor, top_k: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``top_k`` largest ``starts[i] * ends[j]`` with ``i <= j < i + width``, and whether each row is certain.

    starts, ends: [W, L], not negative, L at least 1. Returns scores, first, last [W, K] and certain [W]: False where
    two of the best K + 1 products are equal or a zero is among the best K, so that the choice depends on a tie rule;
    such a row may hold places outside the band. With K = 1 the first of equal products in row-major order is returned,
    which every rule agrees on.

    The largest product of a start is its probability times the largest end in reach (rounding keeps the order, since
    nothing is negative), so only the K + 1 best starts need their products formed. Which of equal starts are among
    them does not matter: where it could, the K-th product ties with the next.
    >>> banded_top_k(torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.1, 0.2, 0.7]]), 1, 2)
    (tensor([[0.2100]]), tensor([[1]]), tensor([[2]]), tensor([True]))
    """
    width = min(width, starts.shape[1])
    if starts.device.type == "cpu" and starts.numel() <= IN_CACHE:
        found: tuple[Array, ...] = _on_host(starts.numpy(), ends.numpy(), top_k, width)
        scores, first, last = (torch.from_numpy(column) for column in found)
    elif starts.device.type == "cpu":
        s, e, count = starts.numpy(), ends.numpy(), 1 if top_k == 1 else top_k + 1
        found = (np.empty((len(s), count), s.dtype), *(np.empty((len(s), count), np.int64) for _ in range(2)))
        for rows in blocks(*s.shape):
            for column, part in zip(found, _on_host(s[rows], e[rows], top_k, width), strict=True):
                column[rows] = part
        scores, first, last = (torch.from_numpy(column) for column in found)
    else:
        scores, first, last = _on_device(starts, ends, top_k, width)
    if top_k == 1:
        some = scores[:, 0] > 0 if scores.device.type != "cpu" else torch.from_numpy(scores.numpy()[:, 0] > 0)
        return scores, first, last, some
    certain = (scores[:, :-1] > scores[:, 1:]).all(dim=1) & (scores[:, top_k - 1] > 0)
    return scores[:, :top_k], first[:, :top_k], last[:, :top_k], certain


def _on_host(starts: Array, ends: Array, top_k: int, width: int) -> tuple[Array, Array, Array]:
    """Scores, first and last tokens of the best ``top_k + 1`` products of each row, or of the single best."""
    windows, length = starts.shape
    padded = np.full((windows, length + width - 1), OUTSIDE, dtype=ends.dtype)
    padded[:, :length] = ends
    reach, covered = padded, 1
    while covered < width:  # the largest of `width` ends by doubling
        step = min(covered, width - covered)
        reach, covered = np.maximum(reach[:, :-step], reach[:, step:]), covered + step
    best = starts * reach
    row = np.arange(windows)[:, None]
    if top_k == 1:
        return _at_best_start(starts, padded, best.argmax(axis=1)[:, None], row, width)
    some = _largest_places(best, top_k + 1)
    products = starts[row, some][:, :, None] * sliding_window_view(padded, width, axis=1)[row, some]
    flat = _at_least(products.reshape(windows, -1), top_k + 1)
    places = _largest_places(flat, top_k + 1)
    scores = flat[row, places]
    order = np.argsort(-scores, axis=1)
    places, scores = places[row, order], scores[row, order]
    rank, ahead = np.divmod(places, width)
    first = some[row, np.minimum(rank, some.shape[1] - 1)]
    return scores, first, np.minimum(first + ahead, length - 1)


def _at_best_start(starts: Array, padded: Array, first: Array, row: Array, width: int) -> tuple[Array, Array, Array]:
    """Score, first and last token of the best span of each row, whose start is known. padded: ends with ``width - 1``
    more behind them."""
    products = starts[row, first] * padded[row, first + np.arange(width)]  # [W, width]
    ahead = products.argmax(axis=1)[:, None]
    return products[row, ahead], first, np.minimum(first + ahead, starts.shape[1] - 1)


def _at_least(values: Array, count: int) -> Array:
    """``values`` with columns of -1 up to ``count`` of them."""
    missing = count - values.shape[1]
    return values if missing <= 0 else np.pad(values, ((0, 0), (0, missing)), constant_values=-1)


def _largest_places(values: Array, count: int) -> Array:
    """Columns of the ``count`` largest of each row, in no order; any of those that tie for the last place."""
    rows, length = values.shape
    if count >= length:
        return np.tile(np.arange(length), (rows, 1))
    # A partition of the values alone is several times faster than one of their places.
    bound = np.partition(values, length - count, axis=1)[:, length - count, None]
    places: Array = np.flatnonzero(values >= bound) % length
    if places.size != rows * count:
        places = np.argpartition(values, length - count, axis=1)[:, length - count :]
    return places.reshape(rows, count)


def _on_device(starts: Tensor, ends: Tensor, top_k: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same in torch."""
    windows, length = starts.shape
    padded = torch.nn.functional.pad(ends, (0, width - 1), value=OUTSIDE)
    reach, covered = padded, 1
    while covered < width:
        step = min(covered, width - covered)
        reach, covered = torch.maximum(reach[:, :-step], reach[:, step:]), covered + step
    best = starts * reach
    count = 1 if top_k == 1 else top_k + 1
    some = best.argmax(dim=1, keepdim=True) if top_k == 1 else best.topk(min(count, length), dim=1).indices
    row = torch.arange(windows, device=starts.device)[:, None]
    products = starts[row, some][:, :, None] * padded.unfold(1, width, 1)[row, some]
    flat = products.flatten(1)
    if top_k == 1:
        places = flat.argmax(dim=1, keepdim=True)
        scores = flat[row, places]
    else:
        flat = torch.nn.functional.pad(flat, (0, max(0, count - flat.shape[1])), value=-1.0)
        scores, places = flat.topk(count, dim=1)
    rank, ahead = places // width, places % width
    first = some[row, rank.clamp_max(some.shape[1] - 1)]
    return scores, first, (first + ahead).clamp_max(length - 1)


def search_as_library(starts: Tensor, ends: Tensor, top_k: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """One window, all L x L products, ordered by numpy's own partition: the tie order of 4.57.6, on this processor.

    starts, ends: [L]. Returns first, last and scores, each [min(top_k, L * L)], on the device of ``starts``. Cost: the
    time and memory of L x L, for the few windows where scores tie.
    4.57.6 stops with a ValueError when L * L equals ``top_k``; version 5 sorts everything then, and so does this.
    """
    s, e = starts.cpu().numpy(), ends.cpu().numpy()
    products = np.tril(np.triu(s[:, None] * e[None, :]), width - 1).ravel()
    if products.size <= top_k:
        order = np.argsort(-products)
    else:
        best = np.argpartition(-products, top_k)[:top_k]
        order = best[np.argsort(-products[best])]
    first, last = np.divmod(order, max(s.shape[0], 1))
    found = (first, last, products[order])
    a, b, c = (torch.from_numpy(np.ascontiguousarray(column)).to(starts.device) for column in found)
    return a, b, c


def search_in_order(
    starts: Tensor, ends: Tensor, allowed: Tensor, top_k: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One window, every allowed span of the band; ties by start, then end.

    starts, ends: [L]; allowed: [L] bool. Returns first, last and scores, each [K] with K at most ``top_k``: as many as
    there are allowed spans. Cost: L * width products and a sort of them.
    """
    length = starts.shape[0]
    width = min(width, length)
    columns = torch.arange(length, device=starts.device)[:, None] + torch.arange(width, device=starts.device)
    inside = columns < length
    columns = columns.clamp_max(length - 1)
    usable = inside & allowed[:, None] & allowed[columns]
    flat = torch.where(usable, starts[:, None] * ends[columns], -1.0).flatten()
    values, places = flat.sort(descending=True, stable=True)
    count = min(top_k, int(usable.sum()))
    places = places[:count]
    return places // width, columns.flatten()[places], values[:count]
