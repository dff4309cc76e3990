"""Answer spans of extractive question answering: a banded search over any number of windows at once.

The rule is the question-answering pipeline of transformers 4.57.6: the score of a span is the product of a softmax over
starts and one over ends. ``squad.py`` holds the other rule in use, the SQuAD script's sums of logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .probabilities import as_computed, check_positive, check_shape, refuse_nan, softmax

BLOCKED = -10000.0  # the library's logit for a position outside the context
WINDOWS_AT_ONCE = 1024  # bounds the memory of a document of any length


@dataclass(frozen=True)
class SpanCandidates:
    """The best spans of each window, best first. W windows, K spans; both token positions are inclusive."""

    first_token: Tensor  # [W, K] int64
    last_token: Tensor  # [W, K] int64
    scores: Tensor  # [W, K], the dtype the library computes in
    valid: Tensor  # [W, K] bool: the span exists and both of its ends are allowed
    null_scores: Tensor  # [W], the score of "no answer"
    searched_whole: int  # windows that a tie sent through the exhaustive search


def select_spans(
    start_logits: Tensor,
    end_logits: Tensor,
    allowed: Tensor,
    *,
    top_k: int = 1,
    max_answer_len: int = 15,
    lengths: Tensor | None = None,
    compat: bool = True,
) -> SpanCandidates:
    """The ``top_k`` best spans of every window, in O(L * log(max_answer_len)) per window and never L x L.

    start_logits, end_logits: [W, L] float. allowed: [W, L] bool, the tokens an answer may start and end on: the
    context, and the CLS token where the library leaves it in (position 0 is taken as the CLS and never answers).
    lengths: [W], tokens in each window before padding; None means L. Scores depend on it in the last bit only.
    max_answer_len counts tokens. K = top_k columns are always returned; ``valid`` tells which hold a span.

    compat=True is the rule of 4.57.6 bit for bit on the CPU, ties included: where scores tie, the window is searched as
    the library does it. When a window has fewer candidates than ``top_k``, zero-score spans fill up, and those that
    start or end at 0 pass the filter although token 0 is not allowed. compat=False never returns a span that is not
    allowed, orders ties by start and then end, and lets blocked tokens take no probability at any logit.

    float16 logits are computed in float16 with compat=True, as there; bfloat16 in float32. A window with nothing
    allowed has no candidates; its null score is the softmax's at position 0 (compat) or 1.
    Raises ValueError naming the window if a logit is NaN (checked on the CPU).
    >>> logits = torch.tensor([[0.0, 3.0, 1.0, 0.0]])
    >>> best = select_spans(logits, logits.flip(1), torch.tensor([[0, 1, 1, 1]]).bool())
    >>> best.first_token.item(), best.last_token.item()
    (1, 2)
    """
    _check(start_logits, end_logits, allowed, top_k, max_answer_len, lengths)
    windows, length = start_logits.shape
    if windows == 0 or length == 0:
        return _no_candidates(start_logits, windows, top_k)
    parts = [
        _select(
            start_logits[i : i + WINDOWS_AT_ONCE],
            end_logits[i : i + WINDOWS_AT_ONCE],
            allowed[i : i + WINDOWS_AT_ONCE].bool(),
            top_k,
            max_answer_len,
            None if lengths is None else lengths[i : i + WINDOWS_AT_ONCE],
            compat,
        )
        for i in range(0, windows, WINDOWS_AT_ONCE)
    ]
    if len(parts) == 1:
        return parts[0]
    columns = ("first_token", "last_token", "scores", "valid", "null_scores")
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in columns}
    return SpanCandidates(**joined, searched_whole=sum(part.searched_whole for part in parts))


def _check(
    start: Tensor, end: Tensor, allowed: Tensor, top_k: int, max_answer_len: int, lengths: Tensor | None
) -> None:
    check_positive("top_k", top_k)
    check_positive("max_answer_len", max_answer_len)
    check_shape("start_logits", start, "WL", (None, None))
    check_shape("end_logits", end, "WL", tuple(start.shape))
    check_shape("allowed", allowed, "WL", tuple(start.shape))
    if lengths is not None:
        check_shape("lengths", lengths, "W", (start.shape[0],))
    refuse_nan("start_logits", start, "window")
    refuse_nan("end_logits", end, "window")


def _no_candidates(like: Tensor, windows: int, top_k: int) -> SpanCandidates:
    none = torch.zeros(windows, top_k, dtype=torch.long, device=like.device)
    scores = torch.zeros(windows, top_k, dtype=as_computed(like, keep_half=True).dtype, device=like.device)
    return SpanCandidates(none, none, scores, none.bool(), torch.ones_like(scores[:, 0]), 0)


def _select(
    start: Tensor, end: Tensor, allowed: Tensor, top_k: int, width: int, lengths: Tensor | None, compat: bool
) -> SpanCandidates:
    real = None
    if lengths is not None and bool((lengths < start.shape[1]).any()):
        real = torch.arange(start.shape[1], device=start.device) < lengths[:, None]
        allowed = allowed & real
    if compat:
        starts = _library_probabilities(start, allowed, lengths if real is not None else None)
        ends = _library_probabilities(end, allowed, lengths if real is not None else None)
        null_scores = starts[:, 0] * ends[:, 0]
        starts[:, 0] = 0.0
        ends[:, 0] = 0.0
    else:
        starts, ends, null_scores, allowed = _corrected_probabilities(start, end, allowed)
    scores, first, last, certain = banded_top_k(starts, ends, top_k, width)
    if compat and top_k == 1:
        certain.fill_(True)  # an argmax: all products zero means the span (0, 0)
    doubtful = (~certain).nonzero().flatten().tolist()
    for row in doubtful:
        n = start.shape[1] if lengths is None else int(lengths[row])
        search = _search_as_library if compat else _search_in_order
        found = search(starts[row, :n], ends[row, :n], allowed[row, :n], top_k, width)
        count = found[0].shape[0]
        first[row], last[row], scores[row] = 0, 0, -1
        first[row, :count], last[row, :count], scores[row, :count] = found[0], found[1], found[2]
    reachable = allowed
    if compat:
        # The library tests membership in the index arrays of a [1, L] mask: the row index 0 counts as allowed too.
        reachable = allowed.clone()
        reachable[:, 0] |= allowed.any(dim=1)
    valid = reachable.gather(1, first) & reachable.gather(1, last) & (scores != -1)
    return SpanCandidates(first, last, scores.clamp_min(0), valid, null_scores, len(doubtful))


def _library_probabilities(logits: Tensor, allowed: Tensor, lengths: Tensor | None) -> Tensor:
    """Softmax with blocked positions at -10000, over the real tokens of each window."""
    masked = torch.where(allowed, as_computed(logits, keep_half=True), BLOCKED)
    if lengths is None:
        return softmax(masked)
    # numpy sums in an order that depends on the length, so windows of one length go together.
    out = torch.zeros_like(masked)
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero().flatten()
        if length:
            out[rows, :length] = softmax(masked[rows, :length])
    return out


def _corrected_probabilities(start: Tensor, end: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Softmax over the allowed tokens and position 0 alone. Returns starts, ends, null scores, allowed without 0."""
    counted = allowed.clone()
    counted[:, 0] = True
    probs = []
    for logits in (start, end):
        row = torch.where(counted, logits.to(torch.promote_types(logits.dtype, torch.float32)), -torch.inf)
        row = row.softmax(dim=1)
        # Every counted logit is -inf: nothing can be said, so all of the mass stays on "no answer".
        empty = torch.isnan(row[:, :1])
        row = torch.where(empty, torch.zeros_like(row), row)
        row[:, 0] += empty[:, 0].to(row.dtype)
        probs.append(row)
    starts, ends = probs
    null_scores = starts[:, 0] * ends[:, 0]
    allowed = allowed.clone()
    allowed[:, 0] = False
    return starts * allowed, ends * allowed, null_scores, allowed


def banded_top_k(starts: Tensor, ends: Tensor, top_k: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``top_k`` largest ``starts[i] * ends[j]`` with ``i <= j < i + width``, and whether each row is certain.

    starts, ends: [W, L], not negative. Returns scores, first, last [W, K] and certain [W]: False where two of the best
    K + 1 products are equal or a zero is among the best K, so that the choice depends on a tie rule. With K = 1 the
    first of equal products in row-major order is returned, which every rule agrees on.

    The largest product of a start is its probability times the largest end in reach (rounding keeps the order, since
    nothing is negative), so only the K + 1 best starts need their products formed.
    """
    reach = _largest_in_reach(ends, width)
    best = starts * reach
    length = starts.shape[1]
    if top_k == 1:
        first = best.argmax(dim=1, keepdim=True)
        products, columns = _products(starts, ends, first, width)
        place = products.flatten(1).argmax(dim=1, keepdim=True)
        last = (columns.flatten(1).gather(1, place)).clamp_max(length - 1)
        scores = products.flatten(1).gather(1, place)
        return scores, first, last, scores[:, 0] > 0
    some = best.topk(min(top_k + 1, length), dim=1).indices
    products, columns = _products(starts, ends, some, width)
    flat = products.flatten(1)  # [W, (K + 1) * width]
    values, places = flat.topk(min(top_k + 1, flat.shape[1]), dim=1)
    if values.shape[1] < top_k + 1:
        missing = top_k + 1 - values.shape[1]
        values = torch.nn.functional.pad(values, (0, missing), value=-1.0)
        places = torch.nn.functional.pad(places, (0, missing))
    certain = (values[:, :-1] > values[:, 1:]).all(dim=1) & (values[:, top_k - 1] > 0)
    places = places[:, :top_k]
    first = some.gather(1, places // products.shape[2])
    last = columns.flatten(1).gather(1, places).clamp_max(length - 1)
    return values[:, :top_k], first, last, certain


def _largest_in_reach(ends: Tensor, width: int) -> Tensor:
    """``out[i] = max(ends[i : i + width])`` by doubling: [W, L] in log2(width) passes."""
    reach, covered = ends, 1
    width = min(width, ends.shape[1])
    while covered < width:
        step = min(covered, width - covered)
        longer = reach.clone()
        torch.maximum(reach[:, :-step], reach[:, step:], out=longer[:, :-step])
        reach, covered = longer, covered + step
    return reach


def _products(starts: Tensor, ends: Tensor, first: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Products of the starts ``first`` [W, S] with the ends in their reach; -1 past its end. [W, S, width] twice."""
    length = ends.shape[1]
    width = min(width, length)
    columns = first[:, :, None] + torch.arange(width, device=first.device)
    inside = columns < length
    reached = ends.gather(1, columns.clamp_max(length - 1).flatten(1)).view(columns.shape)
    products = starts.gather(1, first)[:, :, None] * reached
    return torch.where(inside, products, -1.0), columns


def _search_as_library(
    starts: Tensor, ends: Tensor, allowed: Tensor, top_k: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One window, all L x L products, ordered by numpy's own partition: the tie order of 4.57.6, on this processor.

    4.57.6 stops with a ValueError when L * L equals ``top_k``; version 5 sorts everything then, and so
    does this.
    """
    s: np.ndarray[Any, Any] = starts.cpu().numpy()
    e: np.ndarray[Any, Any] = ends.cpu().numpy()
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


def _search_in_order(
    starts: Tensor, ends: Tensor, allowed: Tensor, top_k: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One window, every allowed span of the band; ties by start, then end."""
    every = torch.arange(starts.shape[0], device=starts.device)[None]
    products, columns = _products(starts[None], ends[None], every, width)
    columns = columns[0].clamp_max(starts.shape[0] - 1)
    usable = allowed[:, None] & allowed[columns] & (products[0] >= 0)
    flat = torch.where(usable, products[0], -1.0).flatten()
    values, places = flat.sort(descending=True, stable=True)
    count = min(top_k, int(usable.sum()))
    places = places[:count]
    return places // columns.shape[1], columns.flatten()[places], values[:count]
