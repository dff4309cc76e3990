"""Labels of sounds (and of anything whose pipeline ranks with torch): activation and the best labels of every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .records import collection_paused

FUNCTIONS = ("softmax", "sigmoid", "none")


@dataclass(frozen=True)
class TopLabels:
    """The best labels of each row, best first. B rows, K labels."""

    labels: Tensor  # [B, K] int64
    scores: Tensor  # [B, K] float

    def records(self, names: Sequence[str], *, key: str = "label") -> list[list[dict[str, Any]]]:
        """One list of ``{"score", key}`` per row, in plain Python numbers."""
        rows = zip(self.scores.tolist(), self.labels.tolist(), strict=True)
        with collection_paused():
            return [[{"score": score, key: names[i]} for score, i in zip(*row, strict=True)] for row in rows]


def choose_audio_function(problem_type: str | None, function_to_apply: str | None = None) -> str:
    """The activation of transformers' audio-classification: the caller's, else by problem type, else softmax.

    >>> choose_audio_function(None), choose_audio_function("regression"), choose_audio_function(None, "sigmoid")
    ('softmax', 'none', 'sigmoid')
    """
    if function_to_apply is not None:
        return function_to_apply
    return {"regression": "none", "multi_label_classification": "sigmoid"}.get(problem_type or "", "softmax")


def top_labels(logits: Tensor, top_k: int | None = None, *, function_to_apply: str = "softmax") -> TopLabels:
    """The ``top_k`` best labels of every row, or all.

    logits: [B, C] float. function_to_apply: "softmax", "sigmoid" or "none". top_k: None or more than C means C.
    Ties: as torch.topk leaves them, which is transformers' order (bit for bit on one device); scores in the logits' own
    type, as there. Raises ValueError naming the row if a logit is NaN (checked on the CPU).
    >>> top_labels(torch.tensor([[0.0, 2.0, 1.0]]), 2).labels
    tensor([[1, 2]])
    """
    if function_to_apply not in FUNCTIONS:
        raise ValueError(f"function_to_apply must be one of {', '.join(FUNCTIONS)}; got {function_to_apply!r}")
    if logits.dim() != 2:
        raise ValueError(f"logits must be [B, C]; got shape {list(logits.shape)}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1; got {top_k}")
    if logits.device.type == "cpu" and bool(torch.isnan(logits.sum())):
        bad = torch.isnan(logits).any(dim=1)
        if bool(bad.any()):
            raise ValueError(f"logits must not be NaN; got NaN in row {int(bad.int().argmax())}")
    logits = logits.detach()
    count = logits.shape[1] if top_k is None else min(top_k, logits.shape[1])
    # The softmax of all rows at once has the bits of each row's own, and so has the order of equal scores.
    scores = {"softmax": lambda: logits.softmax(-1), "sigmoid": lambda: _sigmoid(logits), "none": lambda: logits}
    values, labels = scores[function_to_apply]().topk(count)
    return TopLabels(labels, values)


def _sigmoid(logits: Tensor) -> Tensor:
    """Row by row on the CPU: torch computes the last few values of a call by other instructions, which shows in the
    last bit, and near 1 in the order of labels."""
    if logits.device.type != "cpu" or len(logits) < 2:
        return logits.sigmoid()
    out = torch.empty_like(logits)
    for row, into in zip(logits, out, strict=True):
        torch.sigmoid(row, out=into)
    return out
