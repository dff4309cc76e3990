"""Results as columns: one tensor or list a field for all items, with offsets that say which rows are whose."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...postprocess.repeats import repeat_rows

MISSING = -1  # a whole number of an item that failed; another number is NaN, anything else None


class Part(NamedTuple):
    """One row of a batch's columns, the output of a forward pass for one row of model input."""

    batch: Any
    row: int


@dataclass(frozen=True)
class Columns:
    """N rows of consecutive items. counts: [items] int64, the rows of each. values: tensors [N, ...] or lists of N."""

    counts: Tensor
    values: dict[str, Any]

    def take(self, rows: Tensor, counts: Tensor) -> "Columns":
        """The rows [K] int64, in that order, ``counts`` of them for each item."""
        listed = rows.tolist()
        return Columns(
            counts,
            {
                name: values.index_select(0, rows) if isinstance(values, Tensor) else [values[row] for row in listed]
                for name, values in self.values.items()
            },
        )

    def records(self) -> list[list[dict[str, Any]]]:
        """One list of dicts an item, in plain Python numbers."""
        columns = [values.tolist() if isinstance(values, Tensor) else values for values in self.values.values()]
        rows = [dict(zip(self.values, row, strict=True)) for row in zip(*columns, strict=True)]
        if self.counts.shape[0] == 1:
            return [rows]
        bounds = self.counts.cumsum(0).tolist()
        return [rows[a:b] for a, b in zip([0, *bounds[:-1]], bounds, strict=True)] if bounds else []


def per_row(parts: Sequence[Part], work: Callable[[Any], Sequence[Any]]) -> list[Any]:
    """The entry of each part, of what ``work`` gives for its batch; it is called once for each batch."""
    worked: dict[int, Sequence[Any]] = {}
    for part in parts:
        if id(part.batch) not in worked:
            worked[id(part.batch)] = work(part.batch)
    return [worked[id(part.batch)][part.row] for part in parts]


def join_parts(parts: Sequence[Part], read: Callable[[Any], Columns]) -> Columns:
    """The rows of ``parts`` in their order, a part an item. read: the columns of a batch, called once for each."""
    batches = {id(part.batch): part.batch for part in parts}
    columns = [read(batch) for batch in batches.values()]
    if len(parts) == 1 and columns[0].counts.shape[0] == 1:
        return columns[0]
    joined = join(columns)
    base = torch.tensor([0, *(each.counts.shape[0] for each in columns)], device="cpu").cumsum(0).tolist()
    first = dict(zip(batches, base, strict=False))
    chosen = torch.tensor([first[id(part.batch)] + part.row for part in parts], dtype=torch.long, device="cpu")
    counts = joined.counts[chosen]
    starts = (joined.counts.cumsum(0) - joined.counts)[chosen]
    within = torch.arange(int(counts.sum()), device="cpu") - repeat_rows(counts.cumsum(0) - counts, counts)
    return joined.take(repeat_rows(starts, counts) + within, counts)


def join(blocks: Sequence[Columns]) -> Columns:
    """Blocks one after the other; a name that only some of them have is missing in the rows of the others."""
    if len(blocks) == 1:
        return blocks[0]
    names = list(dict.fromkeys(name for block in blocks for name in block.values))
    sizes = [int(block.counts.sum()) for block in blocks]
    values = {}
    for name in names:
        like = next(block.values[name] for block in blocks if name in block.values)
        pieces = [
            block.values[name] if name in block.values else _missing(like, size)
            for block, size in zip(blocks, sizes, strict=True)
        ]
        together = all(isinstance(piece, Tensor) for piece in pieces)
        values[name] = torch.cat(pieces) if together else [value for piece in pieces for value in _listed(piece)]
    counts = torch.cat([block.counts for block in blocks]) if blocks else torch.zeros(0, dtype=torch.long, device="cpu")
    return Columns(counts, values)


def of_failure(error: Exception) -> Columns:
    """An item that could not be answered: one row, of which every other column is missing."""
    return Columns(torch.ones(1, dtype=torch.long, device="cpu"), {"error": [str(error)]})


def of_records(results: Sequence[Any]) -> Columns:
    """The records of all items side by side: for the tasks that answer in texts.

    Whole numbers become int64 tensors, other numbers float64 tensors, everything else a list.
    >>> of_records([[{"label": "A", "score": 0.5}], []]).values
    {'label': ['A'], 'score': tensor([0.5000], dtype=torch.float64)}
    """
    lists = [result if isinstance(result, list) else [result] for result in results]
    rows: list[Mapping[str, Any]] = [row for result in lists for row in result]
    names = list(dict.fromkeys(name for row in rows for name in row))
    counts = torch.tensor([len(result) for result in lists], dtype=torch.long, device="cpu")
    return Columns(counts, {name: _column([row.get(name) for row in rows]) for name in names})


def to_columns(columns: Columns) -> dict[str, Any]:
    """The columns with ``offsets`` [items + 1] int64: item i owns rows ``offsets[i]`` to ``offsets[i + 1]``."""
    return {"offsets": torch.cat([columns.counts.new_zeros(1), columns.counts.cumsum(0)]), **columns.values}


def to_arrow(columns: Columns) -> Any:
    """The same as a ``pyarrow.Table`` with a column ``item``, the number of the item each row belongs to; what an item
    that failed does not have is null. Tensors of several axes become nested lists, pictures the bytes of a PNG."""
    try:
        import pyarrow
    except ImportError:
        raise ImportError('output="arrow" needs pyarrow; install it, or use output="columns"') from None
    item = repeat_rows(torch.arange(columns.counts.shape[0], device="cpu"), columns.counts)
    errors = columns.values.get("error")
    failed = None if errors is None else torch.tensor([error is not None for error in errors], device="cpu").numpy()
    arrays = {"item": pyarrow.array(item.numpy())}
    for name, values in columns.values.items():
        if not isinstance(values, Tensor):
            arrays[name] = pyarrow.array([_plain(value) for value in values])
            continue
        # A tensor's memory becomes the column as it is; bfloat16 is not known there.
        values = values.float() if values.dtype == torch.bfloat16 else values
        if values.dim() == 1:
            arrays[name] = pyarrow.array(values.numpy(), mask=failed)
        else:
            mask = None if failed is None else pyarrow.array(failed)
            flat = pyarrow.array(values.flatten().numpy())
            arrays[name] = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=mask)
    return pyarrow.table(arrays)


def _plain(value: Any) -> Any:
    """A value of a list as Arrow takes it."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ndarray):
        return value if value.ndim == 1 else [_plain(part) for part in value] if value.ndim else value.item()
    if hasattr(value, "save") and hasattr(value, "tobytes"):
        content = io.BytesIO()
        value.save(content, "PNG")
        return content.getvalue()
    return value


def _missing(like: Any, size: int) -> Any:
    if not isinstance(like, Tensor) or like.dtype == torch.bool:
        return [None] * size
    filler = torch.nan if like.is_floating_point() else MISSING
    return torch.full((size, *like.shape[1:]), filler, dtype=like.dtype, device="cpu")


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, Tensor) else values


def _column(values: list[Any]) -> Any:
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return torch.tensor(values, device="cpu")
    if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return torch.tensor(values, dtype=torch.float64, device="cpu")
    return values
