"""Slow, plain answer-span searches: the corrected pipeline rule and the SQuAD script's rule, over Python lists."""

import math


def corrected_spans(start, end, allowed, top_k, max_answer_len):
    """(first, last, score) of the best spans of one window, and its null score; enumeration in float64."""
    length = len(start)
    counted = [i for i in range(length) if allowed[i] or i == 0]

    def probabilities(logits):
        top = max(logits[i] for i in counted)
        if top == -math.inf:
            return [1.0 if i == 0 else 0.0 for i in range(length)]
        weights = [math.exp(logits[i] - top) if i in counted else 0.0 for i in range(length)]
        return [w / sum(weights) for w in weights]

    s, e = probabilities(start), probabilities(end)
    spans = [
        (i, j, s[i] * e[j])
        for i in range(1, length)
        for j in range(i, min(i + max_answer_len, length))
        if allowed[i] and allowed[j]
    ]
    spans.sort(key=lambda span: -span[2])
    return spans[:top_k], s[0] * e[0]


def squad_predictions(windows, context, *, n_best, max_answer_len, impossible, threshold):
    """One question by the SQuAD script's rule.

    windows: dicts with start, end (lists of float), offsets (list of pairs or None), max_context (list of bool or
    None). Returns (answer, score_diff or None, [(text, offsets, score, probability)]).
    """
    candidates, null = [], None
    for window in windows:
        start, end, offsets = window["start"], window["end"], window["offsets"]
        cls = (start[0] + end[0], start[0], end[0])
        if null is None or cls[0] < null[0]:
            null = cls
        by_start = sorted(range(len(start)), key=lambda i: -start[i])[:n_best]
        by_end = sorted(range(len(end)), key=lambda i: -end[i])[:n_best]
        for i in by_start:
            for j in by_end:
                if offsets[i] is None or offsets[j] is None or j < i or j - i + 1 > max_answer_len:
                    continue
                if window["max_context"] is not None and not window["max_context"][i]:
                    continue
                candidates.append((start[i] + end[j], start[i], end[j], offsets[i][0], offsets[j][1]))
    if impossible and null is not None:
        candidates.append((*null, 0, 0))
    best = sorted(candidates, key=lambda c: -c[0])[:n_best]
    if impossible and null is not None and not any(c[3] == 0 and c[4] == 0 for c in best):
        best.append((*null, 0, 0))
    listed = [(context[a:b], (a, b), score, s, e) for score, s, e, a, b in best]
    if not listed or (len(listed) == 1 and listed[0][0] == ""):
        listed.insert(0, ("empty", (0, 0), 0.0, 0.0, 0.0))
    top = max(row[2] for row in listed)
    weights = [math.exp(row[2] - top) for row in listed]
    n_best_list = [(*row[:3], w / sum(weights)) for row, w in zip(listed, weights, strict=True)]
    if not impossible:
        return listed[0][0], None, n_best_list
    real = next((row for row in listed if row[0] != ""), None)
    if real is None:
        return "", None, n_best_list
    diff = null[0] - real[3] - real[4]
    return ("" if diff > threshold else real[0]), diff, n_best_list
