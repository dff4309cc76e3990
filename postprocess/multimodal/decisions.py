"""Decision models: scores of options to probabilities, choices and levels, each with its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, stack

KINDS = ("noul", "choice", "score")


def option_probabilities(scores: Sequence[Tensor], *, temperatures: Sequence[float] | None = None) -> list[list[float]]:
    """Softmax over each question's options.

    scores: [n_q] float for each question, of any number of options. temperatures: one a question; None means 1.
    Questions of as many options go through one softmax; computed in float32, with the bits of one alone.
    >>> option_probabilities([Tensor([0.0, 0.0])])
    [[0.5, 0.5]]
    """
    found: list[list[float]] = [[] for _ in scores]
    by_count: dict[int, list[int]] = {}
    for index, row in enumerate(scores):
        by_count.setdefault(len(row), []).append(index)
    for rows in by_count.values():
        values = stack(
            [scores[i].float() if temperatures is None else scores[i].float() / temperatures[i] for i in rows]
        )
        for i, probs in zip(rows, values.softmax(-1).tolist(), strict=True):
            found[i] = probs
    return found


def answer_question(
    kind: str, options: Sequence[str], probabilities: Sequence[float], descriptions: Sequence[Any] = ()
) -> dict[str, Any]:
    """The answer to one question, as transformers' decision pipeline writes it.

    kind: "noul" (true or false), "choice" or "score" (options are levels from 0). A choice's confidence is how far its
    probability lies above chance; a score's is one minus its mean distance from the best level, in units of the
    distance of a flat distribution. Ties: the first option. descriptions: of the levels of a score.
    >>> answer_question("choice", ["calm", "angry"], [0.75, 0.25])["confidence"]
    0.5
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if not options or len(options) != len(probabilities):
        raise ValueError(f"probabilities must be one for each of {len(options)} options; got {len(probabilities)}")
    by_option, count = dict(zip(options, probabilities, strict=True)), len(options)
    if kind == "noul":
        return {"type": kind, "noul": by_option["true"]}
    best = max(range(count), key=probabilities.__getitem__)
    if kind == "choice":
        above = probabilities[best] - 1 / count
        confidence = 1.0 if count == 1 else max(0.0, above / (1 - 1 / count))
        return {"type": kind, "choice": options[best], "confidence": confidence, "probabilities": by_option}
    distance = sum(p * abs(level - best) for level, p in enumerate(probabilities))
    flat = sum(abs(level - (count - 1) / 2) for level in range(count)) / count
    return {
        "type": kind,
        "score": sum(level * p for level, p in enumerate(probabilities)),
        "legend": dict(zip(options, descriptions, strict=False)),
        "confidence": 1.0 if count == 1 else max(0.0, 1 - distance / flat),
        "probabilities": by_option,
    }
