"""One forward for a whole running batch: the rows' newest tokens and the prompts that join, in one sequence [1, T].

The matrix products see T tokens and no padding; which row a token belongs to only attention has to know. First come the
rows with one token each, in their order, then the others, row by row. The cache writes every token into its row's
columns and gives out keys that attend by this plan: rows of one token by groups of columns, prompts among themselves,
several tokens of a row (of which all but the first were certain) to the row's columns up to their own.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .column_groups import column_groups
from .own_attention import with_attention

__all__ = ["PackedPlan", "added_mask"]


class _Written(NamedTuple):
    """Neighbouring rows with as many tokens each: where these are in the forward, and the rows in the cache."""

    tokens: slice
    rows: slice
    number: int
    width: int


class _Attended(NamedTuple):
    """Tokens and the rows and columns they attend to; mask: what is added to the scores, None where all are seen."""

    tokens: slice
    rows: slice
    columns: slice
    mask: Tensor | None


class PackedPlan:
    """Where the tokens of one forward belong, and how they attend.

    counts: how many tokens each running row is given, [N], 0 for all where none is given any. prompts: how many each
    joining row has, as rows N and after. first: the first column of each row, of the joining ones too. end: the column
    behind the newest tokens. order: the rows as their tokens follow each other; last: the place of the last token of
    each row that has tokens. calls: how many layers have attended by this plan.
    """

    def __init__(
        self,
        counts: Sequence[int],
        prompts: Sequence[int],
        first: Sequence[int],
        end: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.end, self.calls = end, 0
        widths = [*counts, *prompts]
        singles = [row for row, count in enumerate(counts) if count == 1]
        several = [row for row, count in enumerate(counts) if count > 1]
        joining = range(len(counts), len(widths))
        self.order = [*singles, *several, *joining]
        ends = list(accumulate(widths[row] for row in self.order))
        starts = {row: end - widths[row] for row, end in zip(self.order, ends, strict=True)}
        self.size, self._count = ends[-1], len(singles)
        self.last = [starts[row] + width - 1 for row, width in enumerate(widths) if width]

        def written(rows: Sequence[int]) -> list[_Written]:
            return [
                _Written(
                    slice(starts[run[0]], starts[run[-1]] + widths[run[0]]),
                    slice(run[0], run[-1] + 1),
                    len(run),
                    widths[run[0]],
                )
                for run in _runs(rows, widths)
            ]

        self._prompts = written(joining)
        own = written(singles)
        self._writes = [*own, *written(several), *self._prompts]
        self._singles = _grouped(own, first, end, dtype, device) if singles else []
        self._several = [
            _Attended(
                slice(starts[row], starts[row] + widths[row]),
                slice(row, row + 1),
                slice(first[row], end),
                _causal(widths[row], end - first[row], dtype, device),
            )
            for row in several
        ]

    def update(self, layer: Any, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values [1, heads, T, size] into the layer's buffers; return keys that attend by the plan."""
        end = self.end
        for buffer, states in zip(layer.buffers, (keys[0].transpose(0, 1), values[0].transpose(0, 1)), strict=True):
            for tokens, rows, number, width in self._writes:
                own = states[tokens]
                if width == 1:
                    buffer[rows, :, end - 1] = own
                else:
                    buffer[rows, :, end - width : end] = own.reshape(number, width, *own.shape[1:]).transpose(1, 2)
        return with_attention(keys, partial(self._attend, layer)), values

    def _attend(
        self, layer: Any, query: Tensor, keys: Tensor, value: Tensor, mask: Tensor, options: dict[str, Any]
    ) -> Tensor | None:
        """The attention of all tokens, [1, heads, T, size], piece by piece; ``mask``, the model's, is of no meaning."""
        if query.shape[0] != 1 or query.shape[2] != self.size or options.keys() - {"scale", "dropout_p"}:
            return None
        self.calls += 1
        held_keys, held_values = layer.buffers
        heads, shared = query.shape[1], held_keys.shape[1]
        parts = []
        if self._singles:  # heads that share keys are as many queries of one head
            asked = query[0].transpose(0, 1)[: self._count].reshape(self._count, shared, heads // shared, -1)
            groups = [
                scaled_dot_product_attention(
                    asked[tokens], held_keys[rows, :, columns], held_values[rows, :, columns], attn_mask=seen, **options
                )
                for tokens, rows, columns, seen in self._singles
            ]
            parts.append((torch.cat(groups) if len(groups) > 1 else groups[0]).flatten(1, 2))
        for tokens, rows, columns, seen in self._several:
            own, held = (one[rows, :, columns].repeat_interleave(heads // shared, 1) for one in layer.buffers)
            found = scaled_dot_product_attention(query[:, :, tokens], own, held, attn_mask=seen, **options)
            parts.append(found[0].transpose(0, 1))
        for tokens, _, number, width in self._prompts:
            asked, own, held = (
                one[0, :, tokens].reshape(one.shape[1], number, width, -1).transpose(0, 1)
                for one in (query, keys, value)
            )
            found = scaled_dot_product_attention(asked, own, held, is_causal=True, **options)
            parts.append(found.transpose(1, 2).flatten(0, 1))
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).transpose(0, 1)[None]


def added_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores, [N, 1, Q, columns], for ``seen`` [N, Q, columns]."""
    added = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return added.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def _grouped(
    written: Sequence[_Written], first: Sequence[int], end: int, dtype: torch.dtype, device: torch.device
) -> list[_Attended]:
    """How rows of one token each attend: in groups that read the same columns."""
    rows = [row for run in written for row in range(run.rows.start, run.rows.stop)]
    own = [first[row] for row in rows]
    start = min(own)
    seen = torch.arange(start, end, device=device) >= torch.tensor(own, device=device)[:, None]
    mask = added_mask(seen[:, None], dtype)
    found = []
    for run in written:
        at = run.tokens.start
        for begin, until, least in column_groups(own[at : at + run.number]):
            tokens = slice(at + begin, at + until)
            alike = all(column == least for column in own[tokens])
            found.append(
                _Attended(
                    tokens,
                    slice(run.rows.start + begin, run.rows.start + until),
                    slice(least, end),
                    None if alike else mask[tokens, :, :, least - start :],
                )
            )
    return found


def _causal(width: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What the last ``width`` of the tokens in ``columns`` add to their scores, [1, 1, width, columns]."""
    places = torch.arange(columns, device=device)
    return added_mask((places <= places[-width:, None])[None], dtype)


def _runs(rows: Sequence[int], widths: Sequence[int]) -> list[list[int]]:
    """Neighbouring rows of one width, one after the other.

    >>> _runs([0, 1, 3, 4, 5], [1, 1, 1, 2, 2, 1])
    [[0, 1], [3, 4], [5]]
    """
    runs: list[list[int]] = []
    for row in rows:
        if runs and runs[-1][-1] == row - 1 and widths[row - 1] == widths[row]:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs
