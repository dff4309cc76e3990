"""Rows into batches: by size, within a budget, token ids padded and tensors stacked, the original order kept aside."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...decoding.options.numpy_or_torch import sent

T = TypeVar("T")

# A window closes early once its items weigh this much: characters of text, or what a task says of its own items.
WINDOW_WEIGHT = 1 << 20


class WindowSizes(NamedTuple):
    """Items of a look-ahead window. It starts small, so that the first results of a stream come early, and doubles up
    to the largest; a list waits for its last result anyway, so it may start larger."""

    streamed: int
    listed: int
    largest: int


# Wide windows of texts pad least.
TEXT_WINDOWS = WindowSizes(32, 1024, 1024)


@dataclass(frozen=True)
class Row:
    """One row of model input.

    ``inputs``: by model argument, lists of ``length`` token ids (or of what stands beside them), or tensors without a
    batch axis; ``length``: the size in the task's unit: tokens, pixels, samples; ``encoding``: the tokenizer's;
    ``group``: rows of different groups never share a batch.
    """

    inputs: Mapping[str, Any]
    length: int
    encoding: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    group: Any = None


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    ``inputs``: tensors [B, T], or [B, ...] stacked; ``items``: the number of each row's item; ``host``: ``inputs`` as
    they were before they went to the device.
    """

    rows: Sequence[Row]
    inputs: dict[str, Tensor]
    items: Sequence[int] = ()
    host: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lengths(self) -> Tensor:
        """The length of each row, [B] int64 on the CPU."""
        return torch.tensor([row.length for row in self.rows], device="cpu")

    def special_tokens_mask(self) -> Tensor:
        """[B, T] bool, True at special tokens and padding; the rows must carry ``special_tokens_mask``."""
        return pad_stack([row.facts["special_tokens_mask"] for row in self.rows], 1).bool()


def characters(item: Any) -> int:
    """How much text an item holds, roughly: only used to close a window early."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, Mapping):
        return sum(len(value) for value in item.values() if isinstance(value, str))
    return 0


def windows(
    items: Iterable[T],
    size: int | None = None,
    *,
    first: int = TEXT_WINDOWS.streamed,
    largest: int = TEXT_WINDOWS.largest,
    weigh: Callable[[Any], int] = characters,
) -> Iterator[list[T]]:
    """Cut a stream into look-ahead windows: of ``size`` items, or growing from ``first`` to ``largest``; heavy items
    close one early.

    >>> [len(window) for window in windows(range(100))]
    [32, 64, 4]
    """
    limit = size or first
    window: list[T] = []
    weight = 0
    for item in items:
        window.append(item)
        weight += weigh(item)
        if len(window) >= limit or weight >= WINDOW_WEIGHT:
            yield window
            limit = size or min(limit * 2, largest)
            window, weight = [], 0
    if window:
        yield window


def plan_batches(
    lengths: Sequence[int],
    *,
    batch_tokens: int,
    batch_size: int | None = None,
    may_pad: bool = True,
    groups: Sequence[Any] | None = None,
) -> list[list[int]]:
    """Row numbers of each batch: rows of like length together, ``rows * longest <= batch_tokens``, longest first.

    A row longer than the budget goes alone. Where ``may_pad`` is False (no pad token, or a model that takes no
    attention mask) only rows of equal length share a batch; with ``groups`` only rows of one group, groups in the order
    they first appear.

    >>> plan_batches([3, 9, 4, 1], batch_tokens=9)
    [[1], [2, 0], [3]]
    >>> plan_batches([4, 4, 4], batch_tokens=9, groups=["wide", "high", "wide"])
    [[0, 2], [1]]
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    if groups is not None:
        place = {group: number for number, group in reversed(list(enumerate(groups)))}
        order.sort(key=lambda row: place[groups[row]])
    batches: list[list[int]] = []
    widest = 0
    for row in order:
        current = batches[-1] if batches else None
        fits = (
            current is not None
            and (len(current) + 1) * widest <= batch_tokens
            and (batch_size is None or len(current) < batch_size)
            and (may_pad or lengths[row] == widest)
            and (groups is None or groups[row] == groups[current[0]])
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
    dtype: torch.dtype | None = None,
    joined: Mapping[str, Any] | None = None,
) -> Batch:
    """Rows as one batch on ``device``: lists padded to one length (on the right unless ``left``), tensors stacked.

    Tensors of floats take ``dtype``, the model's. ``joined``: the batch as the task has made it already; what is no
    tensor in it stays as it is.
    """
    if joined is None:
        joined = _one_row(rows[0].inputs) if len(rows) == 1 else None
    if joined is None:
        names = list(rows[0].inputs)
        joined = {name: _column([row.inputs[name] for row in rows], pad_values.get(name, 0), left) for name in names}
    here = dtype is None and device.type == "cpu"
    inputs = {**joined} if here else {name: _placed(value, device, dtype) for name, value in joined.items()}
    return Batch(rows, inputs, items, joined)


def _one_row(inputs: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """A row of lists of whole numbers, all of one length, as tensors [1, T] of one piece of memory; else None."""
    values = list(inputs.values())
    size = len(values[0]) if values and isinstance(values[0], list) else 0
    if not size:
        return None
    for own in values:
        if not isinstance(own, list) or len(own) != size or type(own[0]) is not int:
            return None
    together = np.array(values, dtype=np.int64)
    return {name: torch.from_numpy(together[place : place + 1]) for place, name in enumerate(inputs)}


def _column(values: Sequence[Any], pad: int, left: bool) -> Tensor:
    if not isinstance(values[0], Tensor):
        return pad_stack(values, pad, left=left)
    return stacked(values)


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape as rows; one alone is looked at, not copied, where it lies in order."""
    if len(tensors) == 1 and tensors[0].is_contiguous():
        return tensors[0].unsqueeze(0)
    return torch.stack(list(tensors))


def _placed(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    if not isinstance(value, Tensor):
        return value
    if dtype is not None and value.dtype != dtype and value.is_floating_point():
        value = value.to(dtype)
    return value if value.device == device else sent(value, device)


def shapes(row: Row) -> tuple[Any, ...]:
    """The shapes of a row's tensors, by name: what must agree for rows to be stacked."""
    return tuple((name, tuple(value.shape)) for name, value in row.inputs.items() if isinstance(value, Tensor))


def pad_stack(values: Sequence[Any], pad: int, *, left: bool = False) -> Tensor:
    """Lists of ints (or of equal tuples of ints) as one [B, T, ...] int64 tensor, padded with ``pad``."""
    if len(values) == 1:
        return torch.from_numpy(np.asarray(values, dtype=np.int64))
    longest = max(len(value) for value in values)
    first = np.asarray(values[0])
    stacked = np.full((len(values), longest, *first.shape[1:]), pad, dtype=np.int64)
    for row, value in enumerate(values):
        if left:
            stacked[row, longest - len(value) :] = value
        else:
            stacked[row, : len(value)] = value
    return torch.from_numpy(stacked)
