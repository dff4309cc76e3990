"""Class scores of texts, images or sounds: activation, order, cut. Whole batches, one label set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .probabilities import (
    as_computed,
    check_positive,
    check_shape,
    few_probabilities,
    holds_nan,
    largest,
    refuse_nan,
    sigmoid,
    softmax,
)

FUNCTIONS = ("softmax", "sigmoid", "none")
FEW = 1 << 10  # logits of a batch that numpy's sort takes less for than a call of torch's


@dataclass(frozen=True)
class ClassScores:
    """Labels of each row with their scores. B rows, K labels."""

    labels: Tensor  # [B, K] int64, label ids
    scores: Tensor  # [B, K] float

    def records(self, names: Sequence[str]) -> list[list[dict[str, Any]]]:
        """One list of ``{label, score}`` per row, in plain Python numbers."""
        rows = zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        return [[{"label": names[i], "score": p} for i, p in zip(*row, strict=True)] for row in rows]


def choose_function(problem_type: str | None, num_labels: int, function_to_apply: str | None = None) -> str:
    """The activation transformers picks for a model: its regression, multi-label and single-label rules, in that order.

    function_to_apply: the caller's choice, in any case of letters; it wins.
    >>> choose_function(None, 1), choose_function("regression", 1), choose_function(None, 3)
    ('sigmoid', 'none', 'softmax')
    """
    if function_to_apply is not None:
        return _known(function_to_apply)
    if problem_type == "regression":
        return "none"
    if problem_type == "multi_label_classification" or num_labels == 1:
        return "sigmoid"
    return "softmax" if problem_type == "single_label_classification" or num_labels > 1 else "none"


def _known(function: str) -> str:
    if function.lower() not in FUNCTIONS:
        raise ValueError(f"function_to_apply must be one of {', '.join(FUNCTIONS)}; got {function!r}")
    return function.lower()


def classify(
    logits: Tensor, *, function_to_apply: str = "softmax", top_k: int | None = None, ordered: bool = True
) -> ClassScores:
    """Scores of every row's labels, best first.

    logits: [B, C] float. function_to_apply: "softmax", "sigmoid" or "none" (regression: the logits themselves).
    top_k: labels per row; None or more than C means all C. ordered=False keeps the order of the label ids and ignores
    ``top_k``: transformers' list when no ``top_k`` is asked for.
    Ties: the lower label id first. float16 and bfloat16 are computed in float32. A row of -inf alone is NaN under
    softmax and refused. Raises ValueError naming the row if a logit is NaN (checked on the CPU).
    >>> classify(torch.tensor([[0.0, 2.0, 1.0]]), top_k=2).labels
    tensor([[1, 2]])
    """
    check_shape("logits", logits, "BC", (None, None))
    function = _known(function_to_apply)
    if top_k is not None:
        check_positive("top_k", top_k)
    logits = as_computed(logits)
    few = _classify_few(logits, function, top_k) if ordered else None
    if few is not None:
        return few
    scores = softmax(logits) if function == "softmax" else sigmoid(logits) if function == "sigmoid" else logits
    if holds_nan(scores):  # where a logit is one, and for a row of -inf alone
        refuse_nan("logits", logits)
        refuse_nan("the softmax of logits", scores)
    if not ordered:
        return ClassScores(torch.arange(logits.shape[1], device=logits.device).expand(logits.shape), scores)
    labels, values = sort_scores(scores, logits.shape[1] if top_k is None else min(top_k, logits.shape[1]))
    return ClassScores(labels, values)


def _classify_few(logits: Tensor, function: str, top_k: int | None) -> ClassScores | None:
    """The same by numpy alone, where torch's calls cost more than the work; None elsewhere and where one may be NaN."""
    if logits.device.type != "cpu" or not 0 < logits.numel() <= FEW:
        return None
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        scores = few_probabilities(logits.detach().numpy(), function)
        if math.isnan(np.add.reduce(scores, axis=None)):
            return None
    places = (-scores).argsort(axis=1, kind="stable")[:, :top_k]
    values = scores[0].take(places) if len(scores) == 1 else np.take_along_axis(scores, places, axis=1)
    return ClassScores(torch.from_numpy(places), torch.from_numpy(values))


def sort_scores(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest of each row, [B, k] ids and values, equal scores by the lower id.

    With few of many asked for, the rows are partitioned; only rows with a tie among their best are sorted whole.
    """
    count = scores.shape[1]
    if k == 1:
        values, labels = largest(scores)
        return labels[:, None], values[:, None]
    if count < 64 or 4 * k >= count:
        values, labels = scores.sort(dim=1, descending=True, stable=True)
        return labels[:, :k], values[:, :k]
    values, labels = scores.topk(k + 1, dim=1)
    tied = (values[:, :-1] == values[:, 1:]).any(dim=1).nonzero().flatten()
    values, labels = values[:, :k].clone(), labels[:, :k].clone()
    if tied.numel():
        whole, ids = scores[tied].sort(dim=1, descending=True, stable=True)
        values[tied], labels[tied] = whole[:, :k], ids[:, :k]
    return labels, values
