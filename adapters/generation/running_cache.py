"""A cache whose rows come and go: one buffer a layer, the newest token of every row in the same column.

Rows are padded on the left. Each step writes one column, in place; a row that joins is written behind the others up to
that column; columns that no row needs any more are left behind, and the buffer moves back to its beginning when it is
full, so that memory follows the longest row that runs and not the time a batch has run.

What stands before a row's first column is masked out and yet takes part in products with weight 0, where NaN and
infinity would stay: it is zeros, never what another row has left there.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .column_groups import column_groups, with_groups

__all__ = ["RunningCache", "RunningLayer"]

_ROOM = 64  # columns beside what is held, at least


class RunningLayer(DynamicLayer):  # type: ignore[misc]
    """One layer: ``keys`` and ``values`` [N, heads, columns, size] are views of the buffers from ``start`` on.

    A layer with a sliding window is held whole too: its mask leaves out what is behind the window.
    """

    def __init__(self, keys: Tensor, values: Tensor, max_rows: int, columns: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.count, self.start, self.end = 0, 0, 0
        self.groups: Sequence[tuple[int, int, int]] = ()  # as in column_groups, columns from ``start`` on
        self.buffers = [_zeros(held, max_rows, columns) for held in (keys, values)]
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        end = self.end + key_states.shape[-2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[: self.count, :, self.end : end] = states
        self.end = end
        self._show()
        return with_groups(self.keys, self.groups), self.values

    def join(self, keys: Tensor, values: Tensor, start: int, end: int) -> None:
        """Rows [M, heads, P, size] behind the others, their last column at ``end``; columns before ``start`` unused."""
        self.start, self.end = start, end
        count = self.count + keys.shape[0]
        for buffer, states in zip(self.buffers, (keys, values), strict=True):
            buffer[self.count : count, :, end - keys.shape[-2] : end] = states
        self.count = count
        self._show()

    def keep(self, rows: Tensor, moved: Sequence[tuple[int, int]] | None) -> None:
        """Make row i what row ``rows[i]`` was; ``moved``: the pairs (to, from) where that is all that changes."""
        self.count = rows.shape[0]
        for buffer in self.buffers:
            if moved is None:
                buffer[: self.count, :, self.start : self.end] = buffer[rows, :, self.start : self.end]
                continue
            for to, source in moved:
                buffer[to, :, self.start : self.end] = buffer[source, :, self.start : self.end]
        self._show()

    def show(self, count: int, start: int, end: int) -> None:
        """Rows and columns that are in use from now on."""
        self.count, self.start, self.end = count, start, end
        self._show()

    def clear(self, row: int, columns: slice) -> None:
        """Make zeros of what a row holds in ``columns``."""
        for buffer in self.buffers:
            buffer[row, :, columns].zero_()

    def move(self, start: int, columns: int) -> None:
        """Move what is held to column ``start`` of buffers of ``columns``."""
        width = self.end - self.start
        for number, buffer in enumerate(self.buffers):
            held = buffer[: self.count, :, self.start : self.end]
            if buffer.shape[2] != columns:
                self.buffers[number] = buffer = _zeros(buffer, buffer.shape[0], columns)
            else:
                held = held.clone()
            buffer[: self.count, :, start : start + width] = held
        self.start, self.end = start, start + width
        self._show()

    def _show(self) -> None:
        self.keys, self.values = (buffer[: self.count, :, self.start : self.end] for buffer in self.buffers)


class RunningCache(DynamicCache):  # type: ignore[misc]
    """The layers of a running batch, and which columns each row uses. ``first`` [N]: each row's first column."""

    def __init__(self, max_rows: int) -> None:
        super().__init__()
        self.layers: list[Any] = []
        self.max_rows = max_rows
        self.first: list[int] = []
        self.start, self.end, self._columns = 0, 0, _ROOM
        self._grouped = False  # whether the layers know the groups of their rows

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.end - self.start

    def join(self, layers: Iterable[DynamicLayer], lengths: Sequence[int]) -> None:
        """Take in prompts whose forward left ``layers`` [M, heads, P, size], padded on the left; their lengths [M]."""
        layers = list(layers)
        if not self.layers:
            self.layers = [RunningLayer(layer.keys, layer.values, self.max_rows, self._columns) for layer in layers]
        padded = int(layers[0].keys.shape[-2])
        if not self.first:
            self._empty()
        if self.end < padded:
            self._move(max(padded - self.width, 0))
        if not self.first:
            self.end = max(self.end, padded)
        self._grouped = False
        known, before = self._enter(lengths)
        for mine, new in zip(self.layers, layers, strict=True):
            mine.join(new.keys, new.values, self.start, self.end)
        self._clear(known, before)

    def make_room(self) -> None:
        """See that another column can be written, and tell the layers which columns their rows use."""
        if self.end == self._columns:
            self._move(0)
        if not self._grouped:
            groups = column_groups([first - self.start for first in self.first])
            for layer in self.layers:
                layer.groups = groups
            self._grouped = True

    def advance(self) -> None:
        """A forward has written a column."""
        self.end += 1

    def keep(self, rows: Tensor) -> None:
        """Make row i what row ``rows[i]`` was."""
        order = rows.tolist()
        self._grouped = False
        moved: list[tuple[int, int]] | None = [(to, source) for to, source in enumerate(order) if to != source]
        if any(source < len(order) for _, source in moved or ()):
            moved = None
        for layer in self.layers:
            layer.keep(rows, moved)
        self.first = [self.first[row] for row in order]
        if self.first and min(self.first) > self.start:
            self.start = min(self.first)
            for layer in self.layers:
                layer.show(layer.count, self.start, layer.end)

    def _enter(self, lengths: Sequence[int]) -> tuple[int, int]:
        """Note rows of these lengths behind the others; returns how many there were, and the first column in use."""
        known, before = len(self.first), self.start
        self.first += [self.end - length for length in lengths]
        self.start = min(self.first)
        return known, before

    def _clear(self, known: int, before: int) -> None:
        """See that zeros stand before each row; of the first ``known`` rows they do so from column ``before`` on."""
        for row, first in enumerate(self.first):
            end = min(first, before) if row < known else first
            if end > self.start:
                for layer in self.layers:
                    layer.clear(row, slice(self.start, end))

    def _empty(self) -> None:
        self.start = self.end = 0
        for layer in self.layers:
            layer.start = layer.end = 0

    def _move(self, start: int) -> None:
        """Move what is held to column ``start``, with room for as many columns again behind it."""
        wanted = 2 * (start + self.width) + _ROOM
        if wanted > self._columns or 4 * wanted < self._columns:
            self._columns = wanted
        shift = start - self.start
        for layer in self.layers:
            layer.move(start, self._columns)
        self.first = [first + shift for first in self.first]
        self.start, self.end = start, start + self.width


def _zeros(like: Tensor, rows: int, columns: int) -> Tensor:
    # Of zeros: what is masked out still takes part in a product with weight 0, where NaN would stay NaN.
    return like.new_zeros((rows, like.shape[1], columns, like.shape[3]))
