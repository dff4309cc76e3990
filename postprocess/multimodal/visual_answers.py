"""Answers of visual question answering with a head of fixed answers: each a sigmoid of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..top_labels import TopLabels, top_labels


@dataclass(frozen=True)
class VisualAnswers:
    """The best answers of each question, best first. B questions, K answers."""

    best: TopLabels

    def records(self, names: Sequence[str] | Mapping[int, str]) -> list[list[dict[str, Any]]]:
        """One list of ``{"score", "answer"}`` per question."""
        return self.best.records(names, key="answer")


def visual_answers(logits: Tensor, *, top_k: int = 5) -> VisualAnswers:
    """The ``top_k`` answers of every question, by the sigmoid of their logits.

    logits: [B, C] float. top_k: cut at C. Order and bits as in the pipeline of transformers 4.57.6.
    >>> import torch
    >>> visual_answers(torch.tensor([[0.0, 5.0]]), top_k=1).records(["no", "yes"])[0][0]["answer"]
    'yes'
    """
    return VisualAnswers(top_labels(logits, top_k, function_to_apply="sigmoid"))
