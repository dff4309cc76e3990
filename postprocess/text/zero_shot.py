"""Zero-shot classification: logits of (text, label) pairs to label scores, any number of label sets at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..probabilities import as_computed, check_shape, refuse_nan
from ..repeats import repeat_rows


@dataclass(frozen=True)
class LabelScores:
    """Labels of every text, best first. N pairs; the rows of text ``i`` are ``bounds[i] : bounds[i + 1]``."""

    item: Tensor  # [N] int64, the text
    label: Tensor  # [N] int64, position in the text's own list of labels
    scores: Tensor  # [N] float
    bounds: Tensor  # [B + 1] int64

    def records(self, sequences: Sequence[str], candidate_labels: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """One ``{sequence, labels, scores}`` per text. candidate_labels: one list per text."""
        bounds, labels, scores = self.bounds.tolist(), self.label.tolist(), self.scores.tolist()
        return [
            {"sequence": text, "labels": [names[i] for i in labels[a:b]], "scores": scores[a:b]}
            for text, names, a, b in zip(sequences, candidate_labels, bounds[:-1], bounds[1:], strict=True)
        ]


def entailment_id(label2id: Mapping[str, int]) -> int:
    """The first label whose name starts with "entail", in any case of letters; -1 (the last one) if there is none."""
    return next((index for name, index in label2id.items() if name.lower().startswith("entail")), -1)


def score_labels(
    logits: Tensor,
    counts: Sequence[int],
    *,
    entailment: int,
    multi_label: bool | Sequence[bool] = False,
    compat: bool = True,
) -> LabelScores:
    """Scores of every text's labels.

    logits: [N, C] float, one row per (text, label) pair, the pairs of a text together and in the order of its labels.
    counts: labels of each text; they add up to N. entailment: the column of entailment, -1 for the last; the column of
    contradiction is the last if entailment is 0, else 0, as in transformers.
    multi_label: one flag, or one per text. True, or a single label, scores each label on its own against contradiction;
    otherwise the scores of a text add up to 1.

    compat=True is transformers' arithmetic: exponentials without a maximum taken off, so that float32 logits from
    about 88.7 give NaN, and labels in the reverse of numpy's ascending order (equal scores: reversed; NaN first).
    compat=False is finite for every logit that is not NaN; equal scores keep the order of the labels. A text whose
    logits are all -inf gets equal scores.
    A text without labels has none. Raises ValueError naming the pair if a logit is NaN (checked on the CPU).
    >>> score_labels(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), [2], entailment=1).label
    tensor([1, 0])
    """
    _check_pairs(logits, counts, entailment)
    logits = as_computed(logits)
    flags = [multi_label] * len(counts) if isinstance(multi_label, bool) else list(multi_label)
    if len(flags) != len(counts):
        raise ValueError(f"multi_label must be one flag or one per text, {len(counts)}; got {len(flags)}")
    sizes = torch.tensor(counts, dtype=torch.long, device="cpu")
    bounds = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    entail = logits[:, entailment]
    contra = logits[:, -1 if entailment == 0 else 0]
    label = torch.empty(logits.shape[0], dtype=torch.long, device=logits.device)
    scores = torch.empty_like(entail)
    alone = [flag or count == 1 for flag, count in zip(flags, counts, strict=True)]
    # Texts with equally many labels and the same rule are one rectangle.
    for count, own in sorted(set(zip(counts, alone, strict=True))):
        if count == 0:
            continue
        texts = [i for i, pair in enumerate(zip(counts, alone, strict=True)) if pair == (count, own)]
        rows = (bounds[:-1][texts][:, None] + torch.arange(count, device="cpu")).to(logits.device)  # [texts, count]
        found = _scores(entail[rows], contra[rows] if own else None, compat)
        order = _reversed_order(found) if compat else found.sort(dim=1, descending=True, stable=True).indices
        label[rows] = order
        scores[rows] = found.gather(1, order)
    item = repeat_rows(torch.arange(len(counts), device="cpu"), sizes).to(logits.device)
    return LabelScores(item, label, scores, bounds.to(logits.device))


def _check_pairs(logits: Tensor, counts: Sequence[int], entailment: int) -> None:
    check_shape("logits", logits, "NC", (None, None))
    if sum(counts) != logits.shape[0]:
        raise ValueError(f"counts must add up to the rows of logits, {logits.shape[0]}; got {sum(counts)}")
    columns = logits.shape[1]
    if not -columns <= entailment < columns:
        raise ValueError(f"entailment must be a column of logits, below {columns}; got {entailment}")
    refuse_nan("logits", logits, "pair")


def _scores(entail: Tensor, contra: Tensor | None, compat: bool) -> Tensor:
    """[texts, labels] scores: over the labels, or against contradiction where it is given."""
    if not compat:
        if contra is None:
            probs = entail.softmax(dim=1)
            return torch.where(torch.isnan(probs), 1.0 / probs.shape[1], probs)
        probs = torch.stack([contra, entail], dim=-1).softmax(dim=-1)[..., 1]
        return torch.where(torch.isnan(probs), 0.5, probs)
    if entail.device.type != "cpu":
        top = entail.exp()
        return top / (top.sum(dim=1, keepdim=True) if contra is None else contra.exp() + top)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exponentials = np.exp(entail.contiguous().numpy())
        if contra is None:
            return torch.from_numpy(exponentials / exponentials.sum(axis=1, keepdims=True))
        return torch.from_numpy(exponentials / (np.exp(contra.contiguous().numpy()) + exponentials))


def _reversed_order(scores: Tensor) -> Tensor:
    """numpy's ascending order of each row, reversed: where scores tie, numpy decides as it does in transformers."""
    ascending = np.argsort(scores.cpu().numpy(), axis=1)
    return torch.from_numpy(ascending[:, ::-1].copy()).to(scores.device)
