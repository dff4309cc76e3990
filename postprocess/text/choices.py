"""Multiple choice and next-sentence prediction: tasks transformers has models for, but no pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..probabilities import as_computed, check_shape, refuse_nan, softmax

IS_NEXT = 0  # BERT's own order: 0 "follows", 1 "random"


@dataclass(frozen=True)
class Choices:
    """Probabilities of each item's choices. B items, N choices."""

    probs: Tensor  # [B, N]; 0 for a choice that is not there
    best: Tensor  # [B] int64; -1 for an item without choices
    present: Tensor  # [B, N] bool

    def records(self) -> list[dict[str, Any]]:
        """One ``{choice, score, scores}`` per item; choice and score are None for an item without choices."""
        rows = zip(self.best.tolist(), self.probs.tolist(), self.present.tolist(), strict=True)
        found = []
        for best, probs, present in rows:
            choice, score = (best, probs[best]) if best >= 0 else (None, None)
            scores = [p for p, there in zip(probs, present, strict=True) if there]
            found.append({"choice": choice, "score": score, "scores": scores})
        return found


@dataclass(frozen=True)
class NextSentence:
    """Probability that the second sentence follows the first. B pairs."""

    is_next: Tensor  # [B] float

    def records(self) -> list[dict[str, Any]]:
        """One ``{is_next, score}`` per pair: whether it follows (at one half it does), and how probable that is."""
        return [{"is_next": p >= 0.5, "score": p} for p in self.is_next.tolist()]


def choose(logits: Tensor, present: Tensor | None = None) -> Choices:
    """Softmax over the choices of each item.

    logits: [B, N] float. present: [B, N] bool, for items with fewer choices than others. Ties: the first choice.
    Raises ValueError naming the item if a logit of a present choice is NaN (checked on the CPU).
    >>> choose(torch.tensor([[0.0, 1.0]])).best
    tensor([1])
    """
    check_shape("logits", logits, "BN", (None, None))
    there = torch.ones_like(logits, dtype=torch.bool) if present is None else present.bool()
    check_shape("present", there, "BN", tuple(logits.shape))
    known = torch.where(there, as_computed(logits), -torch.inf)
    refuse_nan("logits", known, "item")
    probs = softmax(known)
    # An item of -inf alone: equal chances for the choices it has.
    even = there / there.sum(dim=1, keepdim=True).clamp_min(1)
    probs = torch.where(torch.isnan(probs), even.to(probs.dtype), probs)
    if logits.shape[1] == 0:
        best = torch.full((logits.shape[0],), -1, dtype=torch.long, device=logits.device)
    else:
        best = torch.where(there, probs, -1.0).argmax(dim=1)
        best = torch.where(there.any(dim=1), best, -1)
    return Choices(probs, best, there)


def follows(logits: Tensor) -> NextSentence:
    """Softmax over [follows, random]. logits: [B, 2] float. Raises ValueError naming the pair if a logit is NaN.

    >>> follows(torch.tensor([[0.0, 0.0]])).is_next
    tensor([0.5000])
    """
    check_shape("logits", logits, "B2", (None, 2))
    refuse_nan("logits", logits, "pair")
    return NextSentence(softmax(as_computed(logits))[:, IS_NEXT])
