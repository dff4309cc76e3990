"""Which tokens a row has produced, and how often: compact tables that a step updates without reading the history."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ROOM = 128  # columns kept free for new tokens; when they are used up, the table is sorted again


class SeenTokens:
    """The different tokens of each row, [N, U], with their counts.

    Spare slots repeat one of the row's own tokens, id and count alike. A gather, compute, scatter over the table then
    writes the same value twice instead of needing a mask or a spare column in the logits. A row that has seen nothing
    holds id 0 with count 0. Tokens at or above `vocab_size` and positions below `ignore_length` are left out.

    On the CPU `advance` is one binary search per row among the tokens of the last sorting, and a comparison with the
    whole table for the few rows whose token is newer than that. On a device it is one comparison of [N, U] that waits
    for nothing. Nothing is proportional to the vocabulary or to the length of the history.
    """

    used: Tensor  # [N], different tokens of each row
    width: int
    maybe_empty: bool
    _ids: Tensor
    _counts: Tensor
    _sorted: Tensor
    _keys: Any  # row and token of `_sorted` in one number, ascending: a flat array of the host

    def __init__(self, token_ids: Tensor, vocab_size: int, ignore_length: Tensor | int = 0) -> None:
        self.vocab_size = vocab_size
        self.length = token_ids.shape[1]
        self.ignore_length = torch.as_tensor(ignore_length, device=token_ids.device)
        self._ignore_until = int(self.ignore_length.max()) if self.ignore_length.numel() else 0
        self._on_cpu = token_ids.device.type == "cpu"
        used, ids, counts = count_tokens(token_ids, _counted(token_ids, 0, self))
        self._lay_out(used, ids, counts)

    @property
    def ids(self) -> Tensor:
        """[N, U] int64."""
        return self._ids[:, : self.width]

    @property
    def counts(self) -> Tensor:
        """[N, U] float32, exact up to 2**24."""
        return self._counts[:, : self.width]

    @property
    def table(self) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and counts with all their room, [N, U + room] in one piece, and how many slots of each row count, [N]."""
        return self._ids, self._counts, self.used

    def advance(self, token_ids: Tensor) -> None:
        """Count one more token per row."""
        if self.width == self._ids.shape[1]:
            self._lay_out(*_merge(self.ids, self.counts, self.used))
        host = None
        if self._on_cpu and self._ignore_until <= self.length and not self.maybe_empty and len(self._ids):
            host = token_ids.numpy().reshape(-1)
            host = None if host.max() >= self.vocab_size else host
        if host is not None:
            self._count_found(host)
        else:
            tokens = token_ids.reshape(-1, 1).to(self._ids.dtype)
            self._count_compared(tokens, _counted(tokens, self.length, self))
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Keep these rows, which may repeat or change order."""
        self._ids, self._counts = self._ids[rows], self._counts[rows]
        self.used = self.used[rows]
        if self._on_cpu:
            self._sorted = self._sorted[rows]
            self._index()
        if self.ignore_length.dim():
            self.ignore_length = self.ignore_length[rows]

    def _lay_out(self, used: Tensor, ids: Tensor, counts: Tensor) -> None:
        """Start from sorted tables [N, U] whose spare slots, and all the room after them, repeat a row's last token."""
        self.used, self.width = used, ids.shape[1]
        self._ids = torch.cat([ids, ids[:, -1:].expand(-1, ROOM)], dim=1)
        self._counts = torch.cat([counts, counts[:, -1:].expand(-1, ROOM)], dim=1)
        self.maybe_empty = bool((used == 0).any())
        if self._on_cpu:
            # The tokens that stand in one slot only: what is found here is counted there and nowhere else.
            self._sorted = ids.masked_fill(ids == ids[:, -1:], self.vocab_size)
            self._since = int(used.min()) if len(used) else 0  # the first column that holds new tokens
            self._index()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy has the arrays and the tensors apart, which must be one memory.
        self.__dict__.update(state)
        if self._on_cpu:
            self._index()

    def _index(self) -> None:
        """Arrays on the host over the same memory: a step is a dozen small calls, which cost less there."""
        rows, width = self._sorted.shape
        first = torch.arange(rows, device="cpu") * (self.vocab_size + 1)
        past = torch.full((1,), torch.iinfo(torch.int64).max, device="cpu")
        self._keys = torch.cat([(self._sorted + first[:, None]).reshape(-1), past]).numpy()
        self._first_key, self._first_place = first.numpy(), (torch.arange(rows, device="cpu") * width).numpy()
        self._host = self._ids.numpy(), self._counts.numpy(), self.used.numpy()

    def _count_found(self, tokens: Any) -> None:
        """Count one more token of each row, [N] int64 on the host: known ones by binary search, new ones in a free
        slot.

        Slots beyond ``used`` repeat the row's largest token, so a hit there is a hit of the slot that counts.
        """
        ids, counts, used = self._host
        keys = self._first_key + tokens
        places = self._keys.searchsorted(keys)
        found = self._keys[places] == keys
        rows = found.nonzero()[0]
        counts[rows, (places - self._first_place)[rows]] += 1.0
        if rows.size == found.size:
            return
        rows = (~found).nonzero()[0]
        tokens = tokens[rows]
        spare = ids[rows, -1] == tokens
        for row in rows[spare]:  # the token that spare slots repeat: seldom, for it was the row's largest
            counts[row, ids[row] == ids[row, -1]] += 1.0
        rows, tokens = rows[~spare], tokens[~spare]
        match, slots = (ids[:, self._since : self.width][rows] == tokens[:, None]).nonzero()
        counts[rows[match], slots + self._since] += 1.0
        new = rows >= 0
        new[match] = False
        rows, tokens = rows[new], tokens[new]
        if rows.size:
            slots = used[rows]
            ids[rows, slots], counts[rows, slots] = tokens, 1.0
            used[rows] = slots + 1
            self.width = max(self.width, int(slots.max()) + 1)

    def _count_compared(self, tokens: Tensor, counted: Tensor) -> None:
        """The same without reading a value back; counted: [N, 1] bool, the rows whose token counts."""
        empty = (self.used == 0)[:, None]
        known = (self._ids == tokens) & counted & ~empty  # [N, U + room]
        self._counts += known
        new = counted & ~known.any(dim=1, keepdim=True)
        if self.maybe_empty:  # a row's first token fills all of it
            self._ids.copy_(torch.where(new & empty, tokens, self._ids))
            self._counts.masked_fill_(new & empty, 1.0)
        slot = self.used[:, None]
        self._ids.scatter_(1, slot, torch.where(new, tokens, self._ids.gather(1, slot)))
        self._counts.scatter_(1, slot, self._counts.gather(1, slot).masked_fill_(new, 1.0))
        self.used += new[:, 0]
        # On a device an upper bound: reading the width back would stall the stream.
        self.width = max(self.width, int(self.used.max())) if self._on_cpu and len(tokens) else self.width + 1
        if self._on_cpu and self.maybe_empty:
            self.maybe_empty = bool((self.used == 0).any())


class SeenSet:
    """The tokens of each row without their counts, [N, U]: what a penalty needs that acts once per token.

    A token is appended without asking whether it is there already, for acting twice on a token writes the same value
    twice; when the room is used up, repeats are dropped. Spare slots repeat one of the row's own tokens, as in
    `SeenTokens`; `empty` [N] marks rows without any, whose ids mean nothing.
    """

    empty: Tensor
    width: int
    maybe_empty: bool
    _ids: Tensor

    def __init__(self, token_ids: Tensor, vocab_size: int, ignore_length: Tensor | int = 0) -> None:
        self.vocab_size = vocab_size
        self.length = token_ids.shape[1]
        self.ignore_length = torch.as_tensor(ignore_length, device=token_ids.device)
        self._ignore_until = int(self.ignore_length.max()) if self.ignore_length.numel() else 0
        self._lay_out(*count_tokens(token_ids, _counted(token_ids, 0, self))[:2])

    @property
    def ids(self) -> Tensor:
        """[N, U] int64."""
        return self._ids[:, : self.width]

    def advance(self, token_ids: Tensor) -> None:
        """Add one more token per row."""
        if self.width == self._ids.shape[1]:
            self._lay_out(*count_tokens(self.ids, ~self.empty[:, None].expand(-1, self.width))[:2])
        plain = self._host is not None and self._ignore_until <= self.length and not self.maybe_empty
        listed = token_ids.reshape(-1).tolist() if plain else []
        if listed and max(listed) < self.vocab_size:
            self._host[:, self.width] = listed
        else:
            tokens = token_ids.reshape(-1, 1).to(self._ids.dtype)
            self._append(tokens, _counted(tokens, self.length, self))
        self.width += 1
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Keep these rows, which may repeat or change order."""
        self._ids = self._ids[rows]
        self._open_host()
        self.empty = self.empty[rows]
        if self.ignore_length.dim():
            self.ignore_length = self.ignore_length[rows]

    def _lay_out(self, used: Tensor, ids: Tensor) -> None:
        self._ids = torch.cat([ids, ids.new_empty((ids.shape[0], ROOM))], dim=1)
        self._open_host()
        self.width = ids.shape[1]
        self.empty = used == 0
        self.maybe_empty = bool(self.empty.any())

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy has the array and the tensor apart, which must be one memory.
        self.__dict__.update(state)
        self._open_host()

    def _open_host(self) -> None:
        """An array over the same memory, whose small writes cost less than a tensor's; None on a device."""
        self._host: Any = self._ids.numpy() if self._ids.device.type == "cpu" else None

    def _append(self, tokens: Tensor, counted: Tensor) -> None:
        if self.maybe_empty:
            self.ids.copy_(torch.where(self.empty[:, None] & counted, tokens, self.ids))
            self.empty = self.empty & ~counted[:, 0]
            self.maybe_empty = tokens.device.type != "cpu" or bool(self.empty.any())
        self._ids[:, self.width] = torch.where(counted, tokens, self._ids[:, :1])[:, 0]


def count_tokens(token_ids: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Different tokens of each row and their counts: `used` [B], `ids` [B, U] int64, `counts` [B, U] float32.

    token_ids: [B, T]; counted: [B, T] bool. Ids ascend; slots from `used` on repeat the last one. U >= 1.
    """
    if token_ids.numel() == 0:
        empty = torch.zeros((token_ids.shape[0], 1), dtype=torch.int64, device=token_ids.device)
        return empty[:, 0].clone(), empty, empty.float()
    left_out = torch.iinfo(token_ids.dtype).max
    ordered = torch.where(counted, token_ids, left_out).sort(dim=1).values.long()
    inside = ordered != left_out
    return _compact(ordered, _first_of_runs(ordered) & inside, inside, inside.float())


def _merge(ids: Tensor, counts: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A table [N, U] sorted again, each token once; rows with `used` 0 stay empty."""
    ordered, order = ids.sort(dim=1)
    first = _first_of_runs(ordered) & (used > 0)[:, None]
    return _compact(ordered, first, first, counts.gather(1, order))


def _first_of_runs(ordered: Tensor) -> Tensor:
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return first


def _compact(ordered: Tensor, first: Tensor, counted: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One slot for every run of `ordered` [B, T] that has a `first`, holding the sum of its counted weights."""
    used = first.sum(dim=1)
    width = max(int(used.max()), 1)
    # What is not wanted goes to a spare last slot, which is dropped.
    run = first.cumsum(dim=1) - 1  # [B, T], the run a token belongs to
    ids = ordered.new_zeros((ordered.shape[0], width + 1))
    ids.scatter_(1, torch.where(first, run, width), ordered)
    counts = weights.new_zeros(ids.shape).scatter_add_(1, torch.where(counted, run, width), weights)
    # Spare slots repeat the last token; an empty row has id 0 with count 0 in all of them.
    slots = torch.minimum(torch.arange(width, device=ids.device), (used[:, None] - 1).clamp_(min=0))
    some = (used > 0)[:, None]
    return used, ids.gather(1, slots) * some, counts.gather(1, slots) * some


def _counted(token_ids: Tensor, start: int, seen: SeenTokens | SeenSet) -> Tensor:
    """[N, T] bool: which of these tokens, the first at position `start`, take part."""
    counted = token_ids < seen.vocab_size
    if seen._ignore_until > start:
        positions = torch.arange(start, start + token_ids.shape[1], device=token_ids.device)
        counted &= positions >= seen.ignore_length.reshape(-1, 1)
    return counted
