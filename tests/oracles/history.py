"""Slow and obviously right: the operations on logits that read the history, one row and one token at a time."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


def repetition_penalty(logits: Sequence[float], tokens: Sequence[int], penalty: float) -> list[float]:
    out = [np.float32(x) for x in logits]
    factor = np.float32(penalty)
    for token in set(tokens):
        if token < len(out):
            out[token] = out[token] * factor if out[token] < 0 else out[token] / factor
    return [float(x) for x in out]


def count_penalties(logits: Sequence[float], tokens: Sequence[int], frequency: float, presence: float) -> list[float]:
    out = []
    for token, logit in enumerate(logits):
        count = sum(t == token for t in tokens)
        value = np.float32(logit) - np.float32(frequency) * np.float32(count)
        out.append(float(value - np.float32(presence) * np.float32(count > 0)))
    return out


def repeated_ngrams(tokens: Sequence[int], source: Sequence[int], size: int) -> set[int]:
    """Tokens that would complete an n-gram of `source` after `tokens`."""
    if size == 0 or len(tokens) < size - 1:
        return set()
    context = list(tokens[len(tokens) - size + 1 :])
    ngrams = [list(source[i : i + size]) for i in range(len(source) - size + 1)]
    return {ngram[-1] for ngram in ngrams if ngram[:-1] == context}


def sequence_bias(vocab_size: int, tokens: Sequence[int], biases: Mapping[tuple[int, ...], float]) -> list[float]:
    """The sum of the biases that apply to each token, in float64."""
    total = [0.0] * vocab_size
    for sequence, bias in biases.items():
        prefix = list(sequence[:-1])
        if len(prefix) <= len(tokens) and prefix == list(tokens[len(tokens) - len(prefix) :]):
            total[sequence[-1]] += bias
    return total


def dry(
    logits: Sequence[float],
    tokens: Sequence[int],
    multiplier: float,
    base: float,
    allowed_length: int,
    last_n: int | None,
    breakers: Sequence[tuple[int, ...]],
) -> list[float]:
    """llama.cpp's documented algorithm, with the suffix matches counted one by one."""
    out = [float(x) for x in logits]
    n = len(tokens) if last_n is None else min(len(tokens), last_n)
    if multiplier == 0 or n <= allowed_length:
        return out
    back = list(reversed(tokens))[:n]
    limit = n
    for i in range(n):
        tails = [
            len(b) - 1
            for b in breakers
            if b[0] == back[i] and len(b) - 1 <= i and all(b[1 + o] == back[i - o - 1] for o in range(len(b) - 1))
        ]
        if tails:
            limit = i - max(tails)
            break
    if limit < allowed_length:
        return out
    longest: dict[int, int] = {}
    for shift in range(1, n):
        match = 0
        while match + shift < n and back[match] == back[match + shift]:
            match += 1
        match = min(match, limit)
        if match >= allowed_length:
            token = back[shift - 1]
            longest[token] = max(longest.get(token, 0), match)
    base32, multiplier32 = np.float32(base), np.float32(multiplier)
    most = int(np.float32(88.7228391) / np.log(base32)) if base32 > 1.000001 else 0
    for token, match in longest.items():
        if token >= len(out) or (token,) in breakers:
            continue
        exponent = match - allowed_length
        exponent = min(exponent, most) if most > 0 else exponent
        penalty = np.float32(float(multiplier32) * float(base32) ** exponent)
        out[token] = float(np.float32(out[token]) - penalty)
    return out


def mirostat_kept(logits: Sequence[float], max_surprise: float) -> set[int]:
    """Tokens that mirostat v2 keeps: from the most probable down to the first that surprises too much."""
    highest = max(logits)
    weights = [math.exp(x - highest) for x in logits]
    probs = [w / sum(weights) for w in weights]
    order = sorted(range(len(probs)), key=lambda i: -probs[i])
    kept: set[int] = set()
    for token in order:
        if probs[token] == 0 or -math.log2(probs[token]) > max_surprise:
            break
        kept.add(token)
    return kept or {order[0]}


def adaptive_p(logits: Sequence[float], target: float) -> list[float]:
    highest = max(logits)
    weights = [math.exp(x - highest) for x in logits]
    out = []
    for logit, weight in zip(logits, weights, strict=True):
        d = abs(weight / sum(weights) - target) / 0.3
        out.append(-math.inf if logit == -math.inf else 5.0 - 10.0 * d * d / (1.0 + d))
    return out
