"""Plain loops over CTC paths: the Viterbi alignment of one text, and every text that a few frames can write."""

from __future__ import annotations

import itertools
import math


def align(logprobs, targets, blank=0):
    """The best path of one clip over the places of its text (-1 blank) and its log-probability, state by state.

    logprobs: list of frames. targets: ids, -1 for anything. Returns (None, -inf) where the text does not fit.
    """
    symbols = [blank]
    for target in targets:
        symbols += [target, blank]
    count = len(symbols)
    before, back = [0.0] + [-math.inf] * (count - 1), []
    for frame in logprobs:
        after, came = [-math.inf] * count, [0] * count
        for s in range(count):
            best, step = before[s], 0
            if s > 0 and before[s - 1] > best:
                best, step = before[s - 1], 1
            differs = s > 1 and (symbols[s] != symbols[s - 2] or symbols[s] == -1)
            if s % 2 and differs and before[s - 2] > best:
                best, step = before[s - 2], 2
            after[s] = best + (0.0 if symbols[s] == -1 else frame[symbols[s]])
            came[s] = step
        before = after
        back.append(came)
    state = count - 1 if count == 1 or before[count - 1] > before[count - 2] else count - 2
    score, path = before[state], []
    if score == -math.inf:
        return None, score
    for came in reversed(back):
        path.append((state - 1) // 2 if state % 2 else -1)
        state -= came[state]
    return path[::-1], score


def text_of(path, symbols):
    """Repeats collapsed, blanks ("") dropped, spaces normalised."""
    return " ".join("".join(symbols[i] for i, _ in itertools.groupby(path)).split())


def text_probabilities(logprobs, symbols):
    """The log-probability of every text, over all paths of all frames."""
    totals = {}
    for path in itertools.product(range(len(symbols)), repeat=len(logprobs)):
        p = math.exp(sum(frame[i] for frame, i in zip(logprobs, path, strict=True)))
        text = text_of(path, symbols)
        totals[text] = totals.get(text, 0.0) + p
    return {text: math.log(p) for text, p in totals.items()}
