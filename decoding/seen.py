"""Which tokens a row has produced, and how often: a compact table that a step updates without reading the history."""

from __future__ import annotations

import torch
from torch import Tensor

GROWTH = 1.5


class SeenTokens:
    """The different tokens of each row, [N, U], with their counts.

    Slots past a row's own tokens repeat its slot 0, id and count alike. A gather, compute, scatter over the table then
    writes the same value twice instead of needing a mask or a spare column in the logits. A row that has seen nothing
    holds id 0 with count 0. Tokens at or above `vocab_size` and positions below `ignore_length` are left out.

    `advance` costs one comparison of [N, U]; nothing is proportional to the vocabulary or to the length of the history.
    """

    def __init__(self, token_ids: Tensor, vocab_size: int, ignore_length: Tensor | int = 0) -> None:
        batch_size, length = token_ids.shape
        self.vocab_size = vocab_size
        self.length = length
        self.ignore_length = torch.as_tensor(ignore_length, device=token_ids.device)
        self._ignore_until = int(self.ignore_length.max()) if self.ignore_length.numel() else 0
        self._on_cpu = token_ids.device.type == "cpu"
        self.used, ids, counts = count_tokens(token_ids, _counted(token_ids, 0, self))
        self.width = ids.shape[1]
        self._maybe_empty = batch_size > 0 and bool((self.used == 0).any())
        self._ids, self._counts = ids, counts

    @property
    def ids(self) -> Tensor:
        """[N, U] int64."""
        return self._ids[:, : self.width]

    @property
    def counts(self) -> Tensor:
        """[N, U] float32, exact up to 2**24."""
        return self._counts[:, : self.width]

    def advance(self, token_ids: Tensor) -> None:
        """Count one more token per row."""
        tokens = token_ids.reshape(-1, 1).to(self._ids.dtype)
        counted = _counted(tokens, self.length, self)
        self.length += 1
        known = self.ids == tokens  # [N, U]
        if self._ignore_until >= self.length or self._maybe_empty:
            known &= counted & (self.used > 0)[:, None]
        if self._on_cpu:
            # A match or none in most rows: their places are cheaper to write than the whole table.
            places = known.nonzero(as_tuple=True)
            self.counts[places] += 1.0
            new = counted.index_fill(0, places[0], False)
            if not bool(new.any()):
                return
        else:
            self.counts.add_(known)
            new = counted & ~known.any(dim=1, keepdim=True)
        self._write_new(tokens, new)

    def select_rows(self, rows: Tensor) -> None:
        """Keep these rows, which may repeat or change order."""
        self._ids, self._counts = self.ids[rows], self.counts[rows]
        self.used = self.used[rows]
        if self.ignore_length.dim():
            self.ignore_length = self.ignore_length[rows]

    def _write_new(self, tokens: Tensor, new: Tensor) -> None:
        """Append `tokens` [N, 1] in the rows of `new` [N, 1]; other rows repeat their slot 0 in the added column."""
        width = self.width + 1
        if width > self._ids.shape[1]:
            room = int(width * GROWTH)
            self._ids, ids = self._ids.new_empty((tokens.shape[0], room)), self.ids
            self._counts, counts = self._counts.new_empty((tokens.shape[0], room)), self.counts
            self.ids.copy_(ids)
            self.counts.copy_(counts)
        self._ids[:, self.width] = self._ids[:, 0]
        self._counts[:, self.width] = self._counts[:, 0]
        self.width = width
        if self._maybe_empty:
            first = new & (self.used == 0)[:, None]
            self.ids.copy_(torch.where(first, tokens, self.ids))
            self.counts.masked_fill_(first, 1.0)
        slot = self.used[:, None]
        self.ids.scatter_(1, slot, torch.where(new, tokens, self.ids.gather(1, slot)))
        self.counts.scatter_(1, slot, self.counts.gather(1, slot).masked_fill_(new, 1.0))
        self.used = self.used + new[:, 0]
        if self._on_cpu:
            # On a device the width is an upper bound instead: reading it back would stall the stream.
            self.width = max(int(self.used.max()), 1)
            self._maybe_empty = self._maybe_empty and bool((self.used == 0).any())


class SeenSet:
    """The tokens of each row without their counts, [N, U]: what a penalty needs that acts once per token.

    A token is appended without asking whether it is there already, for acting twice on a token writes the same value
    twice; every `SETTLE` steps repeats are dropped. Slots past a row's own tokens repeat its slot 0, as in
    `SeenTokens`; `empty` [N] marks rows without any, whose ids mean nothing.
    """

    SETTLE = 128

    def __init__(self, token_ids: Tensor, vocab_size: int, ignore_length: Tensor | int = 0) -> None:
        self.vocab_size = vocab_size
        self.length = token_ids.shape[1]
        self.ignore_length = torch.as_tensor(ignore_length, device=token_ids.device)
        self._ignore_until = int(self.ignore_length.max()) if self.ignore_length.numel() else 0
        used, self._ids, _ = count_tokens(token_ids, _counted(token_ids, 0, self))
        self.empty = used == 0
        self.maybe_empty = bool(self.empty.any())
        self._width = self._settled = self._ids.shape[1]

    @property
    def ids(self) -> Tensor:
        """[N, U] int64."""
        return self._ids[:, : self._width]

    def advance(self, token_ids: Tensor) -> None:
        """Add one more token per row."""
        tokens = token_ids.reshape(-1, 1).long()
        counted = _counted(tokens, self.length, self)
        self.length += 1
        if self._width == self._ids.shape[1]:
            room = self._ids.new_empty((self._ids.shape[0], self._width + self.SETTLE))
            room[:, : self._width] = self._ids
            self._ids = room
        if self.maybe_empty:
            self.ids.copy_(torch.where(self.empty[:, None] & counted, tokens, self.ids))
            self.empty = self.empty & ~counted[:, 0]
            self.maybe_empty = tokens.device.type != "cpu" or bool(self.empty.any())
        self._ids[:, self._width] = torch.where(counted, tokens, self._ids[:, :1])[:, 0]
        self._width += 1
        if self._width - self._settled >= self.SETTLE:
            _, self._ids, _ = count_tokens(self.ids, ~self.empty[:, None].expand(-1, self._width))
            self._width = self._settled = self._ids.shape[1]

    def select_rows(self, rows: Tensor) -> None:
        """Keep these rows, which may repeat or change order."""
        self._ids = self.ids[rows]
        self.empty = self.empty[rows]
        if self.ignore_length.dim():
            self.ignore_length = self.ignore_length[rows]


def count_tokens(token_ids: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Different tokens of each row and their counts: `used` [B], `ids` [B, U] int64, `counts` [B, U] float32.

    token_ids: [B, T]; counted: [B, T] bool. Slots at or past `used` repeat slot 0, see `SeenTokens`. U >= 1.
    """
    batch_size, length = token_ids.shape
    if length == 0 or batch_size == 0:
        empty = torch.zeros((batch_size, 1), dtype=torch.int64, device=token_ids.device)
        return empty[:, 0].clone(), empty, empty.float()
    left_out = torch.iinfo(token_ids.dtype).max
    ordered = torch.where(counted, token_ids, left_out).sort(dim=1).values.long()
    first = torch.ones_like(counted)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first &= ordered != left_out
    used = first.sum(dim=1)
    width = max(int(used.max()), 1)
    # Tokens that are not the first of their run all go to a spare last slot, which is dropped.
    run = first.cumsum(dim=1) - 1  # [B, T], the run a token belongs to
    ids = ordered.new_zeros((batch_size, width + 1))
    ids.scatter_(1, torch.where(first, run, width), ordered)
    counts = torch.zeros((batch_size, width + 1), dtype=torch.float32, device=token_ids.device)
    in_run = torch.where(ordered != left_out, run, width)
    counts.scatter_add_(1, in_run, torch.ones_like(in_run, dtype=torch.float32))
    ids, counts = ids[:, :width], counts[:, :width]
    filler = torch.arange(width, device=token_ids.device) >= used[:, None]
    nothing = (used == 0)[:, None]
    ids = torch.where(filler, ids[:, :1], ids).masked_fill_(nothing, 0)
    counts = torch.where(filler, counts[:, :1], counts).masked_fill_(nothing, 0.0)
    return used, ids, counts


def _counted(token_ids: Tensor, start: int, seen: SeenTokens | SeenSet) -> Tensor:
    """[N, T] bool: which of these tokens, the first at position `start`, take part."""
    counted = token_ids < seen.vocab_size
    if seen._ignore_until > start:
        positions = torch.arange(start, start + token_ids.shape[1], device=token_ids.device)
        counted &= positions >= seen.ignore_length.reshape(-1, 1)
    return counted
