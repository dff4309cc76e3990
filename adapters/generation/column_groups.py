"""Attention of one token a row that reads, for each group of neighbouring rows, no more columns than the group uses.

In a batch that rows join, most rows are much shorter than the longest. Keys carry the groups with them: where they
reach torch's attention with a mask, one call a group takes the place of the one that would read every column for every
row. What is left out is masked, with a weight of exactly zero; everything else sees plain tensors.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["GroupedKeys", "column_groups", "with_groups"]

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
    grouped = keys.as_subclass(GroupedKeys)
    grouped.groups = groups
    return grouped


class GroupedKeys(Tensor):
    """Keys that know their groups. Operations on them give plain tensors, but for views of the same rows and columns,
    which repeated heads go through."""

    groups: Sequence[tuple[int, int, int]]

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is scaled_dot_product_attention and len(args) > 1 and isinstance(args[1], cls):
                found = _attention(args, kwargs)
                return func(*args, **kwargs) if found is None else found
            result = func(*args, **kwargs)
        owner = args[0] if args else None
        if func in _KEEPING and isinstance(owner, cls) and type(result) is Tensor and _same_places(result, owner):
            return with_groups(result, owner.groups)
        return result


_KEEPING = {Tensor.__getitem__, Tensor.expand, Tensor.reshape, Tensor.contiguous}


def _same_places(result: Tensor, keys: Tensor) -> bool:
    return result.shape[:1] == keys.shape[:1] and result.shape[-2:] == keys.shape[-2:]


def _attention(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """The attention group by group, [N, heads, queries, size]; None where no mask leaves out what a group leaves out.

    Queries of a row are those of its one token, under one mask: heads that share keys make several of it.
    """
    query, grouped = args[0], args[1]
    value = args[2] if len(args) > 2 else kwargs.get("value")
    options = {name: one for name, one in kwargs.items() if name not in ("value", "attn_mask")}
    mask = args[3] if len(args) == 4 else kwargs.get("attn_mask")
    if len(args) > 4 or not isinstance(mask, Tensor) or not isinstance(value, Tensor) or mask.shape[-2] != 1:
        return None
    rows, columns = grouped.shape[0], grouped.shape[-2]
    if mask.shape[0] != rows or mask.shape[-1] != columns or options.get("is_causal") or options.get("dropout_p"):
        return None
    parts = [
        scaled_dot_product_attention(
            query[begin:end],
            grouped[begin:end, :, start:],
            value[begin:end, :, start:],
            attn_mask=mask[begin:end, ..., start:],
            **options,
        )
        for begin, end, start in grouped.groups
    ]
    return torch.cat(parts)
