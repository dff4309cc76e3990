"""Answers from tables (TAPAS): token logits to cells, whole batches by segment operations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..probabilities import check_shape, distinct_rows, refuse_nan

LOWEST = -88.7  # where transformers clips, so that exp(-x) stays a float32


@dataclass(frozen=True)
class CellAnswers:
    """Chosen cells, by item, then row, then column. N cells."""

    item: Tensor  # [N] int64
    row: Tensor  # [N] int64, without the header
    column: Tensor  # [N] int64
    scores: Tensor  # [N] float64, the mean probability of the cell's tokens
    aggregation: Tensor | None  # [B] int64
    answered: Tensor  # [B] bool: False for an item without any table

    def records(self, *, compat: bool = True) -> list[list[tuple[int, int]]]:
        """The (row, column) pairs of each item.

        compat=True is transformers: an item without a table is left out, so that the lists after it answer the item
        before theirs, while ``aggregation`` is not shifted. compat=False gives such an item an empty list.
        """
        counts = torch.bincount(self.item, minlength=self.answered.shape[0])
        bounds = counts.cumsum(0).tolist()
        cells = list(zip(self.row.tolist(), self.column.tolist(), strict=True))
        lists = [cells[a:b] for a, b in zip([0, *bounds[:-1]], bounds, strict=True)] if bounds else []
        answered = self.answered.tolist()
        return [found for found, there in zip(lists, answered, strict=True) if there or not compat]


def select_cells(
    logits: Tensor,
    attention_mask: Tensor,
    segment_ids: Tensor,
    row_ids: Tensor,
    column_ids: Tensor,
    *,
    aggregation_logits: Tensor | None = None,
    threshold: float = 0.5,
) -> CellAnswers:
    """The cells whose tokens have a mean probability above ``threshold``.

    logits: [B, T] float. attention_mask, segment_ids, row_ids, column_ids: [B, T] int, TAPAS' token types; tokens of
    segment 1 with row and column of at least 1 belong to cell (row - 1, column - 1), padding among them with
    probability 0, as there. aggregation_logits: [B, A], argmax, ties the lower. Means are float64 of float32
    probabilities, as in transformers. Raises ValueError naming the item if a logit is NaN (checked on the CPU).
    """
    check_shape("logits", logits, "BT", (None, None))
    shape = tuple(logits.shape)
    named = {"attention_mask": attention_mask, "segment_ids": segment_ids, "row_ids": row_ids, "column_ids": column_ids}
    for name, values in named.items():
        check_shape(name, values, "BT", shape)
    refuse_nan("logits", logits, "item")
    probs = _probabilities(logits).double() * attention_mask
    item, position = ((segment_ids == 1) & (row_ids > 0) & (column_ids > 0)).nonzero(as_tuple=True)
    row, column = row_ids[item, position].long() - 1, column_ids[item, position].long() - 1
    cells, member = distinct_rows(torch.stack([item, row, column], dim=1))
    size = cells.shape[0]
    total = torch.zeros(size, dtype=torch.float64, device=logits.device)
    total.index_add_(0, member, probs[item, position])
    mean = total / torch.bincount(member, minlength=size)
    chosen = mean > threshold
    if logits.shape[1]:
        answered = (row_ids.amax(dim=1) != 0) | (column_ids.amax(dim=1) != 0)
    else:
        answered = torch.zeros(shape[0], dtype=torch.bool, device=logits.device)
    aggregation = None
    if aggregation_logits is not None:
        check_shape("aggregation_logits", aggregation_logits, "BA", (shape[0], None))
        refuse_nan("aggregation_logits", aggregation_logits, "item")
        aggregation = aggregation_logits.argmax(dim=1)
    item, row, column = cells[chosen].unbind(dim=1)
    return CellAnswers(item, row, column, mean[chosen], aggregation, answered)


def _probabilities(logits: Tensor) -> Tensor:
    """Sigmoid of logits clipped below, in numpy on the CPU. float16 and bfloat16 in float32."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).clamp_min(LOWEST)
    if wide.device.type != "cpu":
        return wide.sigmoid()
    return torch.from_numpy(1 / (1 + np.exp(-wide.detach().contiguous().numpy())))
