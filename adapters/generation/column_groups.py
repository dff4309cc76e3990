"""Attention of one token a row that reads, for each group of neighbouring rows, no more columns than the group uses.

In a batch that rows join, most rows are much shorter than the longest. Keys carry the groups with them: where they
reach torch's attention with a mask, one call a group takes the place of the one that would read every column for every
row. What is left out is masked, with a weight of exactly zero.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .own_attention import with_attention

__all__ = ["column_groups", "with_groups"]

# Columns of one row that cost as much as another call: 55 to 160 were measured on the CPU for 6 to 24 heads.
_CALL = 64


def column_groups(first: Sequence[int]) -> list[tuple[int, int, int]]:
    """Groups (from row, to row, first column) of rows whose first columns are ``first``.

    A group grows until it would read as many unused columns as another call costs.
    >>> column_groups([0, 3, 300, 310, 2])
    [(0, 2, 0), (2, 4, 300), (4, 5, 2)]
    """
    groups: list[tuple[int, int, int]] = []
    begin, least, unused = 0, first[0], 0
    for row, column in enumerate(first[1:], start=1):
        more = column - least if column >= least else (least - column) * (row - begin)
        if unused + more > _CALL:
            groups.append((begin, row, least))
            begin, least, unused = row, column, 0
        else:
            least, unused = min(least, column), unused + more
    return [*groups, (begin, len(first), least)]


def with_groups(keys: Tensor, groups: Sequence[tuple[int, int, int]]) -> Tensor:
    """``keys`` [N, heads, columns, size], known to be used by ``groups`` alone; plain where that spares nothing."""
    if keys.device.type != "cpu" or len(groups) < 2:
        return keys
    return with_attention(keys, partial(_attention, groups))


def _attention(
    groups: Sequence[tuple[int, int, int]],
    query: Tensor,
    keys: Tensor,
    value: Tensor,
    mask: Tensor,
    options: dict[str, Any],
) -> Tensor | None:
    """The attention group by group, [N, heads, queries, size]; None where no mask leaves out what a group leaves out.

    Queries of a row are those of its one token, under one mask: heads that share keys make several of it.
    """
    rows, columns = keys.shape[0], keys.shape[-2]
    if mask.shape[0] != rows or mask.shape[-2] != 1 or mask.shape[-1] != columns:
        return None
    parts = [
        scaled_dot_product_attention(
            query[begin:end],
            keys[begin:end, :, start:],
            value[begin:end, :, start:],
            attn_mask=mask[begin:end, ..., start:],
            **options,
        )
        for begin, end, start in groups
    ]
    return torch.cat(parts)
