"""Answer spans of extractive question answering: a banded search over any number of windows at once.

The rule is the question-answering pipeline of transformers 4.57.6: the score of a span is the product of a softmax over
starts and one over ends. ``squad.py`` holds the other rule in use, the SQuAD script's sums of logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..probabilities import any_in_row, as_computed, check_positive, check_shape, masked_softmax, refuse_nan
from .bands import banded_top_k, search_as_library, search_in_order

BLOCKED = -10000.0  # transformers' logit for a position outside the context
WINDOWS_AT_ONCE = 1024  # bounds the memory of a document of any length
FEW_LOGITS = 2**14  # up to here the calls cost more than the work, and starts and ends go together


@dataclass(frozen=True)
class SpanCandidates:
    """The best spans of each window, best first. W windows, K spans; both token positions are inclusive."""

    first_token: Tensor  # [W, K] int64
    last_token: Tensor  # [W, K] int64
    scores: Tensor  # [W, K], the dtype transformers computes in
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
    context, and the CLS token where transformers leaves it in (position 0 is taken as the CLS and never answers).
    lengths: [W], tokens in each window before padding; None means L. Scores depend on it in the last bit only.
    max_answer_len counts tokens. K = top_k columns are always returned; ``valid`` tells which hold a span.

    compat=True is the rule of 4.57.6 bit for bit on the CPU, ties included: where scores tie, the window is searched as
    transformers does it. When a window has fewer candidates than ``top_k``, zero-score spans fill up, and those that
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
    """Raise ValueError or TypeError where logits, mask and lengths are not of one shape and type, or hold NaN."""
    check_positive("top_k", top_k)
    check_positive("max_answer_len", max_answer_len)
    check_shape("start_logits", start, "WL", (None, None))
    check_shape("end_logits", end, "WL", tuple(start.shape))
    check_shape("allowed", allowed, "WL", tuple(start.shape))
    if lengths is not None:
        check_shape("lengths", lengths, "W", (start.shape[0],))
    if start.dtype != end.dtype:
        raise TypeError(f"end_logits must be {start.dtype} as start_logits are; got {end.dtype}")
    refuse_nan("start_logits", start, "window")
    refuse_nan("end_logits", end, "window")


def _no_candidates(like: Tensor, windows: int, top_k: int) -> SpanCandidates:
    none = torch.zeros(windows, top_k, dtype=torch.long, device=like.device)
    scores = torch.zeros(windows, top_k, dtype=as_computed(like, keep_half=True).dtype, device=like.device)
    return SpanCandidates(none, none, scores, none.bool(), torch.ones_like(scores[:, 0]), 0)


def _select(
    start: Tensor, end: Tensor, allowed: Tensor, top_k: int, width: int, lengths: Tensor | None, compat: bool
) -> SpanCandidates:
    """The ``top_k`` spans of each window: the banded kernel, and the search itself where equal products decide.

    start, end: [W, L] logits. width: the longest span in tokens. compat: position 0 is the null answer, not a span.
    """
    padded = lengths is not None and bool((lengths < start.shape[1]).any())
    if padded and lengths is not None:
        allowed = allowed & (torch.arange(start.shape[1], device=start.device) < lengths[:, None])
    if compat:
        starts, ends = _start_and_end_probabilities(start, end, allowed, lengths if padded else None)
        null_scores = _take_null(starts, ends)
    else:
        starts, ends, null_scores, allowed = _corrected_probabilities(start, end, allowed)
    scores, first, last, certain = banded_top_k(starts, ends, top_k, width)
    # An argmax is certain: all products zero means the span (0, 0).
    doubtful = [] if compat and top_k == 1 else (~certain).nonzero().flatten().tolist()
    for row in doubtful:
        n = start.shape[1] if lengths is None else int(lengths[row])
        if compat:
            found = search_as_library(starts[row, :n], ends[row, :n], top_k, width)
        else:
            found = search_in_order(starts[row, :n], ends[row, :n], allowed[row, :n], top_k, width)
        count = found[0].shape[0]
        first[row], last[row], scores[row] = 0, 0, -1
        first[row, :count], last[row, :count], scores[row, :count] = found
    valid = _ends_allowed(allowed, first, last, compat)
    if doubtful:  # only these have places that no span fills
        valid &= scores != -1
        scores = scores.clamp_min(0)
    return SpanCandidates(first, last, scores, valid, null_scores, len(doubtful))


def _take_null(starts: Tensor, ends: Tensor) -> Tensor:
    """The score of "no answer" of each window, whose probabilities [W, L] are then 0 at its place.

    On the host by numpy: right after other work an operation of torch costs several of numpy's.
    """
    s, e = (each.numpy() if each.device.type == "cpu" else each for each in (starts, ends))
    null_scores = s[:, 0] * e[:, 0]
    s[:, 0] = 0.0
    e[:, 0] = 0.0
    return null_scores if isinstance(null_scores, Tensor) else torch.from_numpy(null_scores)


def _ends_allowed(allowed: Tensor, first: Tensor, last: Tensor, compat: bool) -> Tensor:
    """Whether both ends of a span [W, K] are ``allowed`` [W, L], by transformers' rule or as it is said."""
    if allowed.device.type == "cpu":
        mask, row = allowed.numpy(), np.arange(len(allowed))[:, None]
        both_in = mask[row, first.numpy()] & mask[row, last.numpy()]
        if not compat or both_in.all():
            return torch.from_numpy(both_in)
    starts_in, ends_in = allowed.gather(1, first), allowed.gather(1, last)
    if not compat:
        return starts_in & ends_in
    # Transformers tests membership in the index arrays of a [1, L] mask: the row index 0 counts as allowed too.
    anything = any_in_row(allowed)
    return (starts_in | (anything & (first == 0))) & (ends_in | (anything & (last == 0)))


def _start_and_end_probabilities(
    start: Tensor, end: Tensor, allowed: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Of starts and of ends [W, L], in one pass where the logits are few."""
    start, end = as_computed(start, keep_half=True), as_computed(end, keep_half=True)
    if start.numel() > FEW_LOGITS:
        return _library_probabilities(start, allowed, lengths), _library_probabilities(end, allowed, lengths)
    if lengths is None:
        both = masked_softmax(start, allowed, BLOCKED, end)
    else:
        both = _library_probabilities(torch.cat((start, end)), allowed.repeat(2, 1), lengths.repeat(2))
    return both[: len(start)], both[len(start) :]


def _library_probabilities(logits: Tensor, allowed: Tensor, lengths: Tensor | None) -> Tensor:
    """Softmax with blocked positions at -10000, over the real tokens of each window."""
    if lengths is None:
        return masked_softmax(logits, allowed, BLOCKED)
    # numpy sums in an order that depends on the length, so windows of one length go together.
    out = torch.zeros_like(logits)
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero().flatten()
        if length:
            out[rows, :length] = masked_softmax(logits[rows, :length], allowed[rows, :length], BLOCKED)
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
