"""The best pairs of query and class of every row of sigmoid scores, in the order in which torch.topk lists them.

A sigmoid does not change an order but where it rounds, so that the best are found among the logits and only they become
scores; where two scores come within rounding of each other, or one of the threshold, all scores of that row are formed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Threshold = float | Tensor
Found = tuple[Tensor, Tensor, Tensor]
Numbers = np.ndarray[Any, Any]
FEW = 64  # up to so many of a row, topk is as fast as a partition
GROUPS = 3  # groups of a row for each pair wanted: their maxima bound the last of them
ROUNDING = 2.0**-21
"""How far, of its size, a score may lie from torch's own and still be told from the next: four steps of float32."""


def best_pairs(logits: Tensor, count: int, threshold: Threshold | None) -> Found:
    """Row, column and score of each row's ``count`` best whose sigmoid is above the threshold, the best first.

    logits: [B, N]. threshold: a number, [B, 1], or None for all of them.
    """
    plain = not (logits.requires_grad and torch.is_grad_enabled())
    if plain and logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64):
        found = _of_logits(logits, count, threshold)
        if found is not None:
            return found
    return _of_probabilities(logits.sigmoid(), count, threshold)


def _of_logits(logits: Tensor, count: int, threshold: Threshold | None) -> Found | None:
    """From the largest logits alone, or None where rounding could say otherwise, or nothing is to be gained.

    By numpy: torch would share these short passes out to threads, which takes longer than the passes themselves.
    """
    rows, length = logits.shape
    size = length // (GROUPS * max(count, 1))
    if not rows or size < 4:
        return None
    groups = length // size
    values = logits.detach().numpy()
    # Groups are columns: more than ``count`` values reach the largest of their maxima but ``count``.
    maxima = values[:, : size * groups].reshape(rows, size, groups).max(axis=1)
    least = np.partition(maxima, groups - count - 1, axis=1)[:, groups - count - 1, None]
    if np.isnan(maxima).any() or np.isnan(values[:, size * groups :]).any() or not np.isfinite(least).all():
        return None
    if threshold is not None:
        least = np.maximum(least, _logit_below(threshold).astype(least.dtype))
    places = np.flatnonzero(values >= least)
    if len(places) > 2 * GROUPS * count * rows:
        return None
    if not len(places):
        none = torch.zeros(0, dtype=torch.int64, device="cpu")
        return none, none, logits.new_zeros(0)
    return _in_order(logits, places, count, threshold)


def _logit_below(threshold: Threshold) -> Numbers:
    """Logits whose sigmoid is surely not above the threshold lie below this."""
    level = np.clip(np.asarray(threshold, dtype=np.float64), 0, 1) * (1 - 4 * ROUNDING)
    with np.errstate(divide="ignore"):
        found: Numbers = np.log(level) - np.log1p(-level)
    return found


def _in_order(logits: Tensor, places: Numbers, count: int, threshold: Threshold | None) -> Found | None:
    """The ``count`` best of the listed places of each row by probability; None where rounding could reorder them.

    logits: [N, L]. places: [P], flat, in rows' order; those that may be among the best.
    """
    rows, length = logits.shape
    row = places // length
    counts = np.bincount(row, minlength=rows)
    start = (counts.cumsum() - counts)[:, None]
    values = logits.detach().numpy().reshape(-1)[places]
    table = np.full((rows, max(int(counts.max()), count + 1)), -np.inf, dtype=values.dtype)
    table[row, np.arange(len(places)) - start[row, 0]] = values
    order = (-table).argsort(axis=1)[:, : count + 1]
    there = np.arange(count + 1) < counts[:, None]
    candidate = np.where(there, order + start, 0)
    scores = np.where(there, _scores(logits, places, values)[candidate], 0)
    # Scores descend: where neighbours are apart, all are, the last of the chosen and the first left out included.
    doubtful = (scores[:, :-1] - scores[:, 1:] <= ROUNDING * scores[:, :-1]) & there[:, 1:]
    keep = there[:, :count]
    if threshold is not None:
        level = np.asarray(threshold, dtype=scores.dtype)
        keep = keep & (scores > level)[:, :count]
        border = (np.abs(scores - level) <= ROUNDING * scores) & there
        doubtful = (doubtful & keep) | border[:, :count]
    unsure = np.flatnonzero(doubtful.any(axis=1))
    if 2 * len(unsure) > rows:
        return None
    keep[unsure] = False
    image = keep.nonzero()[0]
    pair = places[candidate[:, :count][keep]] - image * length
    sure = torch.from_numpy(image), torch.from_numpy(pair), torch.from_numpy(scores[:, :count][keep])
    return _with_rows(sure, logits, torch.from_numpy(unsure), count, threshold) if len(unsure) else sure


def _with_rows(sure: Found, logits: Tensor, rows: Tensor, count: int, threshold: Threshold | None) -> Found:
    """What is sure of the other rows, and these rows by all of their scores. rows: [R] int64."""
    length = logits.shape[1]
    places = (rows[:, None] * length + torch.arange(length, device="cpu")).flatten().numpy()
    scores = _scores(logits, places, logits[rows].detach().numpy().reshape(-1))
    probs = torch.from_numpy(scores).view(len(rows), length)
    level = threshold[rows] if isinstance(threshold, Tensor) and threshold.dim() else threshold
    place, pair, score = _of_probabilities(probs, count, level)
    both = [torch.cat(pieces) for pieces in zip(sure, (rows[place], pair, score), strict=True)]
    order = both[0].argsort(stable=True)
    return both[0][order], both[1][order], both[2][order]


def _scores(logits: Tensor, places: Numbers, values: Numbers) -> Numbers:
    """The sigmoid of chosen values as that of all of them has it: torch computes the last few of a call one by one,
    with other last bits than in a vector."""
    padded = np.zeros(len(values) + -len(values) % 32, dtype=values.dtype)
    padded[: len(values)] = values
    scores: Numbers = torch.from_numpy(padded).sigmoid().numpy()[: len(values)]
    rest = logits.numel() % 32
    if rest:
        single = places >= logits.numel() - rest
        last = logits.detach().flatten()[-rest:].sigmoid().numpy()
        scores[single] = last[places[single] - logits.numel()]
    return scores


def _of_probabilities(probs: Tensor, count: int, threshold: Threshold | None) -> Found:
    """The best pairs by their probabilities themselves, those above the threshold where there is one."""
    above = None
    if threshold is not None:
        above = probs > threshold
        found = _sorted_rows(probs, above, count) if probs.device.type == "cpu" else None
        if found is not None:
            return found
    scores, pair = largest_pairs(probs, count)
    image = torch.arange(probs.shape[0], device=probs.device)[:, None].expand(scores.shape)
    if above is None or threshold is None:
        return image.reshape(-1), pair.reshape(-1), scores.reshape(-1)
    keep = scores > threshold
    if bool(keep.all()):
        return image.reshape(-1), pair.reshape(-1), scores.reshape(-1)
    return image[keep], pair[keep], scores[keep]


def _sorted_rows(probs: Tensor, above: Tensor, count: int) -> Found | None:
    """Those of every row in order, or None where topk has to tell: too many in a row, or two of one value."""
    if np.count_nonzero(above.numpy()) > count * probs.shape[0]:
        return None
    image, pair = above.nonzero(as_tuple=True)
    scores = probs[image, pair]
    order = scores.argsort(descending=True)
    order = order[image[order].argsort(stable=True)]
    image, pair, scores = image[order], pair[order], scores[order]
    tied = (scores[1:] == scores[:-1]) & (image[1:] == image[:-1])
    most = int(torch.bincount(image, minlength=1).max()) if len(image) else 0
    # topk ranks NaN first: such a row is left to it.
    if most > count or bool(tied.any()) or bool(probs.sum().isnan()):
        return None
    return image, pair, scores


def largest_pairs(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of each row in order, [B, count] values and places, as torch.topk lists them.

    For many of a row numpy's partition takes a third of topk's time; which of equal values topk picks, and in which
    order, is its own: rows with a tie among the chosen or at the border are left to it.
    """
    rows, length = values.shape
    usual = values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
    if not usual or not FEW < count < length or not rows:
        found = values.topk(count, dim=1)
        return found.values, found.indices
    places = np.argpartition(values.detach().numpy(), length - count - 1, axis=1)[:, length - count - 1 :]
    place = torch.from_numpy(np.ascontiguousarray(places))
    best, order = values.gather(1, place).sort(dim=1, descending=True)
    place = place.gather(1, order)[:, :count]
    # NaN is unequal to itself, and its row is left to topk as well.
    doubtful = ~(best[:, :-1] > best[:, 1:]).all(dim=1)
    best = best[:, :count]
    if bool(doubtful.any()):
        theirs = values[doubtful].topk(count, dim=1)
        best, place = best.clone(), place.clone()
        best[doubtful], place[doubtful] = theirs.values, theirs.indices
    return best, place
