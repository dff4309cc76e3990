"""A cache of rows that come and go, on shelves: rows of like length lie side by side, each from column 0 on.

A shelf holds rows of up to its capacity, and nothing but them: attention that reads a shelf reads neighbouring memory,
where one buffer for rows of all lengths would leave gaps that cost as much as what is read. A row that outgrows its
shelf moves to the next one; the last row of a shelf fills a gap; a shelf that is empty is given up. So memory follows
the rows that run.

What stands behind a row's last column is masked out and yet takes part in products with weight 0, where NaN and
infinity would stay: it is zeros, never what another row has left there.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .packed_step import PackedPlan, Place

__all__ = ["HeldRow", "ShelvedCache", "capacity_for"]

_STEP = 64  # columns from one capacity to the next, at least


def capacity_for(length: int) -> int:
    """Columns of the shelf for a row of ``length``: multiples of 64, and of an eighth of a large power of two.

    >>> [capacity_for(length) for length in (1, 64, 65, 500, 1030, 5000)]
    [64, 64, 128, 512, 1152, 5120]
    """
    step = max(_STEP, (1 << (length.bit_length() - 1)) // 8)
    return -(-length // step) * step


class Shelf:
    """Rows of up to ``capacity`` columns in slots without gaps. buffers: keys and values of each layer,
    [slots, heads, capacity, size]."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: list[HeldRow] = []
        self.slots = 1
        self.buffers: list[tuple[Tensor, Tensor]] = []

    def take(self, row: "HeldRow") -> None:
        """Give ``row`` the slot behind the last; what it does not hold is zeros."""
        if len(self.rows) == self.slots:
            self._resize(2 * self.slots)
        row.shelf, row.slot = self, len(self.rows)
        self.rows.append(row)
        for buffer in self._each():
            buffer[row.slot].zero_()

    def give_back(self, slot: int) -> None:
        """Free a slot; the last row fills the gap."""
        last = self.rows.pop()
        if slot < len(self.rows):
            for buffer in self._each():
                buffer[slot] = buffer[last.slot]
            self.rows[slot], last.slot = last, slot
        if self.slots > 4 * max(len(self.rows), 1):
            self._resize(2 * max(len(self.rows), 1))

    def layer(self, number: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The buffers of a layer whose keys and values are like these, [1, heads, T, size]."""
        while len(self.buffers) <= number:
            shapes = [(self.slots, one.shape[1], self.capacity, one.shape[3]) for one in (keys, values)]
            self.buffers.append((keys.new_zeros(shapes[0]), values.new_zeros(shapes[1])))
        return self.buffers[number]

    def _each(self) -> list[Tensor]:
        return [buffer for pair in self.buffers for buffer in pair]

    def _resize(self, slots: int) -> None:
        kept = len(self.rows)

        def resized(buffer: Tensor) -> Tensor:
            made = buffer.new_zeros((slots, *buffer.shape[1:]))
            made[:kept] = buffer[:kept]
            return made

        self.slots = slots
        self.buffers = [(resized(keys), resized(values)) for keys, values in self.buffers]


class HeldRow:
    """One row: how many columns it has, and where they are."""

    shelf: Shelf
    slot: int

    def __init__(self) -> None:
        self.length = 0


class ShelvedLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of the cache; ``seen``: how many columns a forward of one token sees before it."""

    def __init__(self, keys: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.seen = 0

    def get_seq_length(self, *args: Any) -> int:
        """See ``seen``; a packed forward brings positions and masks of its own."""
        return self.seen


class ShelvedCache(DynamicCache):  # type: ignore[misc]
    """The rows of a running batch in their order. A forward is opened, runs, and is closed; dropped where it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Any] = []
        self.rows: list[HeldRow] = []
        self.shelves: dict[int, Shelf] = {}
        self._plan: PackedPlan | None = None  # of the forward that is under way
        self._counts: Sequence[int] = ()  # what it gives to rows
        self._joining: list[HeldRow] = []

    def open(
        self, counts: Sequence[int], prompts: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> PackedPlan:
        """Make ready for a forward that gives row i ``counts[i]`` tokens and takes in prompts of these lengths.

        counts: all 0 where the rows that run are given none.
        """
        for row, count in zip(self.rows, counts, strict=True):
            if row.length + count > row.shelf.capacity:
                self._move(row, row.length + count)
        self._counts = counts
        for length in prompts:
            row = HeldRow()
            self._shelf(length).take(row)
            self._joining.append(row)
        places = [Place(row.shelf, row.slot, row.length) for row in (*self.rows, *self._joining)]
        self._plan = PackedPlan(counts, prompts, places, dtype=dtype, device=device)
        for layer in self.layers:
            layer.seen = self._plan.seen
        return self._plan

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the tokens of the forward into their rows' columns; keys that attend by its plan."""
        assert self._plan is not None, "a forward must be opened"
        if layer_idx == len(self.layers):
            self.layers.append(ShelvedLayer(key_states))
        return self._plan.update(layer_idx, key_states, value_states)

    def close(self) -> None:
        """The forward has written its columns: its prompts are rows now."""
        assert self._plan is not None
        for row, count in zip(self.rows, self._counts, strict=True):
            row.length += count
        for row, length in zip(self._joining, self._plan.prompts, strict=True):
            row.length = length
        self.rows += self._joining
        self._end()

    def drop(self) -> None:
        """The forward has failed: the rows are as they were before."""
        for row in self._joining:
            self._release(row.shelf, row.slot)
        for row in self.rows:
            for buffer in row.shelf._each():
                buffer[row.slot, :, row.length :].zero_()
        self._end()
        if not self.rows:
            self.layers = []

    def keep(self, order: Sequence[int]) -> None:
        """Make row i what row ``order[i]`` was."""
        staying = [self.rows[place] for place in order]
        kept = set(map(id, staying))
        for row in self.rows:
            if id(row) not in kept:
                self._release(row.shelf, row.slot)
        self.rows = staying

    def padded(self) -> list[DynamicLayer]:
        """What the rows hold, as layers padded on the left."""
        longest, found = max(row.length for row in self.rows), []
        for number in range(len(self.layers)):
            layer, both = DynamicLayer(), []
            for part in (0, 1):
                like = self.rows[0].shelf.buffers[number][part]
                made = like.new_zeros((len(self.rows), like.shape[1], longest, like.shape[3]))
                for place, row in enumerate(self.rows):
                    held = row.shelf.buffers[number][part][row.slot, :, : row.length]
                    made[place, :, longest - row.length :] = held
                both.append(made)
            layer.update(*both)
            found.append(layer)
        return found

    def _end(self) -> None:
        self._plan, self._counts, self._joining = None, (), []

    def _shelf(self, length: int) -> Shelf:
        capacity = capacity_for(length)
        return self.shelves.setdefault(capacity, Shelf(capacity))

    def _move(self, row: HeldRow, length: int) -> None:
        """Move a row to the shelf for ``length`` columns."""
        old, slot, held = row.shelf, row.slot, row.length
        new = self._shelf(length)
        new.take(row)
        for number, pair in enumerate(old.buffers):
            for to, source in zip(new.layer(number, *pair), pair, strict=True):
                to[row.slot, :, :held] = source[slot, :, :held]
        self._release(old, slot)

    def _release(self, shelf: Shelf, slot: int) -> None:
        shelf.give_back(slot)
        if not shelf.rows:
            del self.shelves[shelf.capacity]
