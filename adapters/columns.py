"""Results as columns: one tensor or list a field for all items, with offsets that say which rows are whose."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def to_columns(results: Sequence[Any]) -> dict[str, Any]:
    """The records of all items side by side.

    ``offsets`` [items + 1] int64: item i owns rows ``offsets[i]`` to ``offsets[i + 1]``. Whole numbers become int64
    tensors, other numbers float64 tensors, everything else (texts, labels, missing values) a list.

    >>> to_columns([[{"label": "A", "score": 0.5}], []])
    {'offsets': tensor([0, 1, 1]), 'label': ['A'], 'score': tensor([0.5000], dtype=torch.float64)}
    """
    rows: list[Mapping[str, Any]] = []
    offsets = [0]
    for result in results:
        rows.extend(_records(result))
        offsets.append(len(rows))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {"offsets": torch.tensor(offsets), **{name: _column([row.get(name) for row in rows]) for name in names}}


def to_arrow(results: Sequence[Any]) -> Any:
    """The same as a ``pyarrow.Table`` with a column ``item``, the number of the item each row belongs to."""
    try:
        import pyarrow
    except ImportError:
        raise ImportError('output="arrow" needs pyarrow; install it, or use output="columns"') from None
    columns = to_columns(results)
    offsets = columns.pop("offsets")
    item = torch.repeat_interleave(torch.arange(len(results)), offsets.diff())
    named = {"item": item, **columns}
    # A tensor's memory becomes the column as it is.
    arrays = {name: pyarrow.array(c.numpy() if isinstance(c, torch.Tensor) else c) for name, c in named.items()}
    return pyarrow.table(arrays)


def _records(result: Any) -> list[Mapping[str, Any]]:
    """The rows of one result: a dict is one, a zero-shot ranking one a label, several masks one a candidate."""
    if isinstance(result, Mapping):
        if "labels" in result and "scores" in result:
            pairs = zip(result["labels"], result["scores"], strict=True)
            return [{"sequence": result["sequence"], "label": label, "score": score} for label, score in pairs]
        return [result]
    if isinstance(result, list) and result and all(isinstance(each, list) for each in result):
        if all(isinstance(record, Mapping) for each in result for record in each):
            return [{"mask": mask, **record} for mask, each in enumerate(result) for record in each]
        return [{"features": result}]
    if isinstance(result, list) and all(isinstance(each, Mapping) for each in result):
        return list(result)
    return [{"value": result}]


def _column(values: list[Any]) -> Any:
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return torch.tensor(values)
    if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return torch.tensor(values, dtype=torch.float64)
    return values
