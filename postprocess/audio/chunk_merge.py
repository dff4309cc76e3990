"""Joining the token sequences of overlapping chunks: Whisper's tolerant overlap, and that of other seq2seq models.

transformers slides one sequence along the other and compares every overlap anew, which is cubic in Python steps over
a recording. All overlaps of two sequences are the diagonals of one equality matrix, so they are counted at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Times = tuple[Array, Array]  # starts and ends [n], seconds


def merge_overlaps_of_tokens(
    sequences: Sequence[Array], times: Sequence[Times] | None = None
) -> tuple[Array, Times | None]:
    """Whisper's merge: neighbouring sequences are cut in the middle of their best overlap and joined.

    sequences: token ids [n_k], in order of time. times: starts and ends of each sequence's tokens; then two tokens
    match only if the left one's (start, end) is not after the right one's. Returns the ids and their times.
    An overlap of i tokens scores matches / i + i / 10000 and needs two matches; the first best wins, where i runs on
    past the shorter sequence, as in transformers. Cost: O(n_k * n_k+1) array cells for each neighbour, linear in the
    number of chunks.
    >>> first, second = np.array([1, 2, 3, 4, 5, 6, 7, 8]), np.array([3, 4, 90, 91, 92, 7, 8, 9])
    >>> merge_overlaps_of_tokens([first, second])[0].tolist()
    [1, 2, 3, 4, 5, 91, 92, 7, 8, 9]
    """
    left, left_times = sequences[0], times[0] if times else None
    kept: list[Array] = []
    kept_times: list[Times] = []
    for index in range(1, len(sequences)):
        right, right_times = sequences[index], times[index] if times else None
        left_cut, right_cut = _cuts(left, right, left_times, right_times)
        kept.append(left[:left_cut])
        left = right[right_cut:]
        if left_times is not None and right_times is not None:
            kept_times.append((left_times[0][:left_cut], left_times[1][:left_cut]))
            left_times = (right_times[0][right_cut:], right_times[1][right_cut:])
    if not kept:
        return left, left_times
    ids = np.concatenate((*kept, left))
    if left_times is None:
        return ids, None
    columns = zip(*kept_times, left_times, strict=True)
    starts, ends = (np.concatenate(column) for column in columns)
    return ids, (starts, ends)


def _cuts(left: Array, right: Array, left_times: Times | None, right_times: Times | None) -> tuple[int, int]:
    """How many tokens of the left stay, and where the right begins."""
    n, m = len(left), len(right)
    cells = np.flatnonzero(left[:, None] == right)
    if len(cells) < 2:
        return n, 0
    a, b = np.divmod(cells, m)  # places in the left and in the right
    if left_times is not None and right_times is not None:
        before, same = left_times[0][a] < right_times[0][b], left_times[0][a] == right_times[0][b]
        ordered = before | (same & (left_times[1][a] <= right_times[1][b]))
        a, b = a[ordered], b[ordered]
    i = best_overlap(np.bincount(n - a + b))
    if i == 0:
        return n, 0
    left_start, left_stop = max(0, n - i), min(n, n + m - i)
    right_start, right_stop = max(0, i - n), min(m, i)
    return (left_start + left_stop) // 2, (right_start + right_stop) // 2


def best_overlap(matches: Array) -> int:
    """The overlap of the best score, 0 for none. matches: [n], entry i counts the matches of an overlap of i tokens."""
    some = np.flatnonzero(matches > 1)
    some = some[some > 0]
    if len(some) == 0:
        return 0
    return int(some[(matches[some] / some + some / 10000.0).argmax()])


def join_by_overlap(sequences: Sequence[Array], *, compat: bool = True) -> Array:
    """The merge of the other seq2seq models: each sequence continues after its best overlap with the end of the text.

    sequences: token ids [n_k] without special tokens. Two matches are needed: ``[1, 2, 3, 4]`` and ``[4, 5, 6]`` keep
    both fours. compat=True: as transformers, where a text of one token is compared with every token of a longer next
    sequence, so that ``[5]`` and ``[5, 5, 5]`` give ``[5]``; compat=False never drops what is not there already.
    Where a sequence is longer than the text so far transformers stops (arrays of different lengths); here overlaps
    are then as long as the text. Cost: O(n_k * n_k) array cells for each sequence.
    >>> join_by_overlap([np.array([1, 2, 3, 4]), np.array([3, 4, 5])]).tolist()
    [1, 2, 3, 4, 5]
    """
    parts = [np.asarray(sequences[0])]
    text = parts[0]  # the end of all parts, as long as the longest sequence can reach
    longest = max(len(sequence) for sequence in sequences)
    for sequence in sequences[1:]:
        new = np.asarray(sequence)[_overlap_with_end(text, np.asarray(sequence), compat) :]
        parts.append(new)
        text = np.concatenate((text, new))[-longest:] if longest else text
    return np.concatenate(parts)


def _overlap_with_end(text: Array, new: Array, compat: bool) -> int:
    end = text[-len(new) :] if len(new) else text[:0]
    if compat and len(end) == 1:
        return best_overlap(np.concatenate(([0], (new == end[0]).cumsum())))
    a, b = np.nonzero(end[:, None] == new)
    return best_overlap(np.bincount(len(end) - a + b)[: len(end) + 1])
