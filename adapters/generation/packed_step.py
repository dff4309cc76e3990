"""One forward for a whole running batch: the rows' newest tokens and the prompts that join, in one sequence [1, T].

The matrix products see T tokens and no padding; which row a token belongs to only attention has to know. First come the
rows with one token each, shelf by shelf, then the others, row by row. The cache writes every token into its row's
columns and gives out keys that attend by this plan: rows of one token a shelf at a time, prompts among themselves,
several tokens of a row (of which all but the first were certain) to the row's columns up to their own.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .own_attention import with_attention

if TYPE_CHECKING:
    from .shelved_cache import Shelf

__all__ = ["PackedPlan", "Place", "added_mask"]


class Place(NamedTuple):
    """Where a row is in the cache, and how many columns it has before the forward."""

    shelf: "Shelf"
    slot: int
    length: int


class _Singles(NamedTuple):
    """Neighbouring rows of one shelf with one token each. tokens: these in the forward; at: their slots and columns;
    seen: columns that are read; mask: what is added to the scores [n, 1, 1, seen], None where all are seen."""

    shelf: "Shelf"
    tokens: slice
    rows: slice
    at: tuple[Tensor, slice, Tensor]
    seen: int
    mask: Tensor | None


class _Block(NamedTuple):
    """Neighbouring rows of one shelf with ``width`` tokens each, from column ``start`` on."""

    shelf: "Shelf"
    tokens: slice
    rows: slice
    number: int
    width: int
    start: int
    mask: Tensor | None


class PackedPlan:
    """Where the tokens of one forward belong, and how they attend.

    counts: how many tokens each running row is given, [N], 0 for all where none is given any. prompts: how many each
    joining row has, as rows N and after. places: of all rows, the joining ones too.
    order: the rows as their tokens follow each other; last: the place of the last token of each row that has tokens.
    lone: whether there is but one token: it goes through the model as ``generate`` hands it over, after ``seen`` others
    of its row. calls: how many layers have attended by this plan.
    """

    def __init__(
        self,
        counts: Sequence[int],
        prompts: Sequence[int],
        places: Sequence[Place],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.calls, self.prompts = 0, prompts
        widths = [*counts, *prompts]
        singles = [row for row, count in enumerate(counts) if count == 1]
        singles.sort(key=lambda row: (places[row].shelf.capacity, places[row].slot))
        several = [row for row, count in enumerate(counts) if count > 1]
        joining = range(len(counts), len(widths))
        self.order = [*singles, *several, *joining]
        ends = list(accumulate(widths[row] for row in self.order))
        starts = {row: end - widths[row] for row, end in zip(self.order, ends, strict=True)}
        self.size, self._count = ends[-1], len(singles)
        self.last = [starts[row] + width - 1 for row, width in enumerate(widths) if width]
        self.lone = self.size == 1
        self._only = places[self.order[0]]
        self.seen = self._only.length if self.lone else 0
        self._singles = _singles(singles, places, dtype, device) if singles else []

        def block(rows: Sequence[int], mask: Tensor | None) -> _Block:
            shelf, slot, length = places[rows[0]]
            width, number = widths[rows[0]], len(rows)
            begin = starts[rows[0]]
            tokens = slice(begin, begin + number * width)
            return _Block(shelf, tokens, slice(slot, slot + number), number, width, length, mask)

        self._several = [
            block([row], _causal(widths[row], places[row].length + widths[row], dtype, device)) for row in several
        ]
        self._prompts = [block(run, None) for run in _runs(joining, [(one.shelf, one.slot) for one in places], widths)]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values [1, heads, T, size] into the layer's buffers; return keys that attend by the plan."""
        both = (keys[0].transpose(0, 1), values[0].transpose(0, 1))  # [T, heads, size]
        for one in self._singles:
            for buffer, states in zip(one.shelf.layer(layer, keys, values), both, strict=True):
                buffer[one.at] = states[one.tokens]
        for block in (*self._several, *self._prompts):
            until = block.start + block.width
            for buffer, states in zip(block.shelf.layer(layer, keys, values), both, strict=True):
                own = states[block.tokens].view(block.number, block.width, *states.shape[1:])
                buffer[block.rows, :, block.start : until] = own.transpose(1, 2)
        if self.lone:
            shelf, slot, length = self._only
            held_keys, held_values = (one[slot : slot + 1, :, : length + 1] for one in shelf.layer(layer, keys, values))
            return held_keys, held_values
        return with_attention(keys, partial(self._attend, layer)), values

    def _attend(
        self, layer: int, query: Tensor, keys: Tensor, value: Tensor, mask: Tensor, options: dict[str, Any]
    ) -> Tensor | None:
        """The attention of all tokens, [1, heads, T, size], piece by piece; ``mask``, the model's, is of no meaning."""
        if query.shape[0] != 1 or query.shape[2] != self.size or options.keys() - {"scale", "dropout_p"}:
            return None
        self.calls += 1
        parts = self._of_singles(layer, query, options) if self._singles else []
        for shelf, tokens, rows, _, width, start, seen in self._several:
            share = query.shape[1] // shelf.buffers[layer][0].shape[1]
            own, held = (one[rows, :, : start + width].repeat_interleave(share, 1) for one in shelf.buffers[layer])
            found = scaled_dot_product_attention(query[:, :, tokens], own, held, attn_mask=seen, **options)
            parts.append(found[0].transpose(0, 1))
        for _, tokens, _, number, width, _, _ in self._prompts:
            asked, own, held = (
                one[0, :, tokens].reshape(one.shape[1], number, width, -1).transpose(0, 1)
                for one in (query, keys, value)
            )
            found = scaled_dot_product_attention(asked, own, held, is_causal=True, **options)
            parts.append(found.transpose(1, 2).flatten(0, 1))
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).transpose(0, 1)[None]

    def _of_singles(self, layer: int, query: Tensor, options: dict[str, Any]) -> list[Tensor]:
        """The attention of rows of one token, [n, heads, size] each; heads that share keys are queries of one head."""
        heads, shared = query.shape[1], self._singles[0].shelf.buffers[layer][0].shape[1]
        asked = query[0].transpose(0, 1)[: self._count].reshape(self._count, shared, heads // shared, -1)
        found = []
        for shelf, tokens, rows, _, seen, mask in self._singles:
            keys, values = shelf.buffers[layer]
            found.append(
                scaled_dot_product_attention(
                    asked[tokens], keys[rows, :, :seen], values[rows, :, :seen], attn_mask=mask, **options
                ).flatten(1, 2)
            )
        return found


def added_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores, [N, 1, Q, columns], for ``seen`` [N, Q, columns]."""
    added = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return added.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def _singles(rows: Sequence[int], places: Sequence[Place], dtype: torch.dtype, device: torch.device) -> list[_Singles]:
    """How rows of one token each are written and attend: those of neighbouring slots of a shelf together."""
    columns = [places[row].length for row in rows]
    slots, at = torch.tensor([[places[row].slot for row in rows], columns], device=device)
    mask = added_mask((torch.arange(max(columns) + 1, device=device) <= at[:, None])[:, None], dtype)
    found, begin = [], 0
    for run in _runs(rows, [(one.shelf, one.slot) for one in places], [1] * len(places)):
        tokens = slice(begin, begin + len(run))
        begin += len(run)
        shelf, slot, _ = places[run[0]]
        own = columns[tokens]
        seen = max(own) + 1
        found.append(
            _Singles(
                shelf,
                tokens,
                slice(slot, slot + len(run)),
                (slots[tokens], slice(None), at[tokens]),
                seen,
                None if min(own) + 1 == seen else mask[tokens, :, :, :seen],
            )
        )
    return found


def _causal(width: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What the last ``width`` of the tokens in ``columns`` add to their scores, [1, 1, width, columns]."""
    places = torch.arange(columns, device=device)
    return added_mask((places <= places[-width:, None])[None], dtype)


def _runs(rows: Sequence[int], places: Sequence[tuple[Any, int]], widths: Sequence[int]) -> list[list[int]]:
    """Rows that follow each other on one shelf with as many tokens each; ``places`` and ``widths`` of all rows.

    >>> _runs([0, 1, 2, 3], [("a", 0), ("a", 1), ("a", 3), ("b", 4)], [1, 1, 1, 1])
    [[0, 1], [2], [3]]
    """
    runs: list[list[int]] = []
    for row in rows:
        if runs:
            shelf, slot = places[runs[-1][-1]]
            if places[row] == (shelf, slot + 1) and widths[row] == widths[runs[-1][-1]]:
                runs[-1].append(row)
                continue
        runs.append([row])
    return runs
