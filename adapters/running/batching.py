"""Rows of token ids into padded batches: by length, within a token budget, the original order kept aside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

# A look-ahead window starts small, so that the first results of a stream come early, and doubles up to the largest.
FIRST_WINDOW = 32
LARGEST_WINDOW = 1024
WINDOW_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Row:
    """One row of model input. ``inputs`` are equally long lists by model argument; ``encoding`` is the tokenizer's."""

    inputs: Mapping[str, Any]
    length: int
    encoding: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    ``inputs``: [B, T] tensors; ``lengths``: [B] int64 on the CPU; ``items``: the number of each row's item.
    """

    rows: Sequence[Row]
    inputs: dict[str, Tensor]
    lengths: Tensor
    items: Sequence[int] = ()

    def special_tokens_mask(self) -> Tensor:
        """[B, T] bool, True at special tokens and padding; the rows must carry ``special_tokens_mask``."""
        return pad_stack([row.facts["special_tokens_mask"] for row in self.rows], 1).bool()


def windows(items: Iterable[T], size: int | None = None, *, first: int = FIRST_WINDOW) -> Iterator[list[T]]:
    """Cut a stream into look-ahead windows: of ``size`` items, or growing from ``first``; a long text closes one early.

    >>> [len(window) for window in windows(range(100))]
    [32, 64, 4]
    """
    limit = size or first
    window: list[T] = []
    characters = 0
    for item in items:
        window.append(item)
        characters += _characters(item)
        if len(window) >= limit or characters >= WINDOW_CHARACTERS:
            yield window
            limit = size or min(limit * 2, LARGEST_WINDOW)
            window, characters = [], 0
    if window:
        yield window


def _characters(item: Any) -> int:
    """How much text an item holds, roughly: only used to close a window early."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, Mapping):
        return sum(len(value) for value in item.values() if isinstance(value, str))
    return 0


def plan_batches(
    lengths: Sequence[int], *, batch_tokens: int, batch_size: int | None = None, may_pad: bool = True
) -> list[list[int]]:
    """Row numbers of each batch: rows of like length together, ``rows * longest <= batch_tokens``, longest first.

    A row longer than the budget goes alone. Where ``may_pad`` is False (no pad token, or a model that takes no
    attention mask) only rows of equal length share a batch.

    >>> plan_batches([3, 9, 4, 1], batch_tokens=9)
    [[1], [2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches: list[list[int]] = []
    widest = 0
    for row in order:
        current = batches[-1] if batches else None
        fits = (
            current is not None
            and (len(current) + 1) * widest <= batch_tokens
            and (batch_size is None or len(current) < batch_size)
            and (may_pad or lengths[row] == widest)
        )
        if current is not None and fits:
            current.append(row)
        else:
            batches.append([row])
            widest = lengths[row]
    return batches


def collate(
    rows: Sequence[Row],
    *,
    pad_values: Mapping[str, int],
    device: torch.device,
    left: bool = False,
    items: Sequence[int] = (),
) -> Batch:
    """Pad rows to one length (on the right unless ``left``) and move them to ``device``."""
    inputs = {
        name: pad_stack([row.inputs[name] for row in rows], pad_values.get(name, 0), left=left).to(device)
        for name in rows[0].inputs
    }
    return Batch(rows, inputs, torch.tensor([row.length for row in rows]), items)


def pad_stack(values: Sequence[Any], pad: int, *, left: bool = False) -> Tensor:
    """Lists of ints (or of equal tuples of ints) as one [B, T, ...] int64 tensor, padded with ``pad``."""
    longest = max(len(value) for value in values)
    first = np.asarray(values[0])
    stacked = np.full((len(values), longest, *first.shape[1:]), pad, dtype=np.int64)
    for row, value in enumerate(values):
        if left:
            stacked[row, longest - len(value) :] = value
        else:
            stacked[row, : len(value)] = value
    return torch.from_numpy(stacked)
