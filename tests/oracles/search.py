"""Slow searches in plain Python over a table of next-token logits: every continuation is written out and sorted.

``table`` [V, V, V] holds the logits after the last two tokens. A hypothesis is (score, token ids without the EOS).
"""

import math
from itertools import product

from torch import Tensor

Found = tuple[float, list[int]]


def log_probs(table: Tensor, ids: list[int]) -> list[float]:
    """Log-probabilities of the token after ``ids``."""
    return [float(value) for value in table[ids[-2], ids[-1]].double().log_softmax(-1)]


def contains(phrase: list[int], ids: list[int]) -> bool:
    """Whether ``ids`` runs through ``phrase``; a token that breaks it is not read as its beginning."""
    done = 0
    for token in ids:
        if done == len(phrase):
            break
        done = done + 1 if token == phrase[done] else 0
    return done == len(phrase)


def best_with_phrases(
    table: Tensor, prompt: list[int], steps: int, *, phrases: list[list[int]], eos: int, length_penalty: float
) -> Found | None:
    """The best of all sequences of at most ``steps`` new tokens that contain every phrase; None if there is none."""
    best: Found | None = None
    for path in product(range(table.shape[-1]), repeat=steps):
        ends = eos in path
        length = path.index(eos) + 1 if ends else steps
        ids = prompt + list(path[:length])
        if not all(contains(phrase, ids) for phrase in phrases):
            continue
        total = sum(log_probs(table, ids[:end])[ids[end]] for end in range(len(prompt), len(ids)))
        score = total / length**length_penalty
        if best is None or score > best[0]:
            best = (score, ids[:-1] if ends else ids)
    return best


def group_search(
    table: Tensor,
    prompt: list[int],
    steps: int,
    *,
    groups: int,
    size: int,
    penalty: float,
    eos: int,
    pad: int,
    length_penalty: float,
) -> list[Found]:
    """Diverse beam search as its paper states it, ended and kept as 4.55.4 does; all hypotheses, best first."""
    running: list[list[Found]] = [[(0.0, prompt)] for _ in range(groups)]
    kept: list[list[Found]] = [[] for _ in range(groups)]
    done = [False] * groups
    for step in range(1, steps + 1):
        taken: list[int] = []
        for group in range(groups):
            if done[group]:
                taken += [pad] * size
                continue
            candidates = [
                (score + logprob - penalty * taken.count(token), ids, token)
                for score, ids in running[group]
                for token, logprob in enumerate(log_probs(table, ids))
            ]
            candidates = sorted(candidates, key=lambda one: -one[0])[: 2 * size]
            ended = [(score / step**length_penalty, ids) for score, ids, token in candidates[:size] if token == eos]
            kept[group] = sorted(kept[group] + ended, key=lambda one: -one[0])[:size]
            going = [(score, [*ids, token]) for score, ids, token in candidates if token != eos][:size]
            running[group] = going
            taken += [ids[-1] for _, ids in going]
            full = len(kept[group]) == size
            done[group] = full and kept[group][-1][0] >= candidates[0][0] / step**length_penalty
        if all(done):
            break
    for group in range(groups):
        if not done[group]:
            left = [(score / step**length_penalty, ids) for score, ids in running[group]]
            kept[group] = sorted(kept[group] + left, key=lambda one: -one[0])[:size]
    return sorted((one for group in kept for one in group), key=lambda one: -one[0])


def contrastive(
    table: Tensor, hidden: Tensor, prompt: list[int], first: int, steps: int, *, alpha: float, top_k: int
) -> list[int]:
    """Contrastive search of one row. hidden: [V, V, H] of a token after another. first: where the prompt begins."""
    ids = list(prompt)
    states = [hidden[ids[place - 1] if place else 0, ids[place]].double() for place in range(len(ids))]
    for _ in range(steps):
        probs = [math.exp(value) for value in log_probs(table, ids)]
        best, chosen = -math.inf, 0
        for token in sorted(range(len(probs)), key=lambda token: -probs[token])[:top_k]:
            state = hidden[ids[-1], token].double()
            cosines = [float(state @ other / state.norm() / other.norm()) for other in states[first:]]
            value = (1 - alpha) * probs[token] - alpha * max(cosines)
            if value > best:
                best, chosen = value, token
        states.append(hidden[ids[-1], chosen].double())
        ids.append(chosen)
    return ids


def dola_scores(final: list[list[float]], early: list[list[list[float]]]) -> list[list[float]]:
    """DoLa's scores of a batch from the final logits [B][V] and those of the layers [L][B][V]."""

    def normal(row: list[float]) -> list[float]:
        total = math.log(sum(math.exp(value) for value in row))
        return [value - total for value in row]

    def divergence(one: list[float], other: list[float]) -> float:
        p, q = normal(one), normal(other)
        middle = [(math.exp(a) + math.exp(b)) / 2 for a, b in zip(p, q, strict=True)]
        parts = [m * (math.log(m) - a) + m * (math.log(m) - b) for m, a, b in zip(middle, p, q, strict=True)]
        return sum(parts) / 2 / len(parts)

    spread = [sum(divergence(row, layer[place]) for place, row in enumerate(final)) / len(final) for layer in early]
    chosen = early[spread.index(max(spread))]
    scores = []
    for row, base in zip(final, chosen, strict=True):
        p, q = normal(row), normal(base)
        border = max(p) + math.log(0.1)
        scores.append([-math.inf if a < border else a - b for a, b in zip(p, q, strict=True)])
    return scores
