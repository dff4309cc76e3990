"""Top-p's masked logits without a sort of tokens: from each row's largest logits, or from sorted values.

Where the nucleus is small the decision of ``sample`` proves what is in it. Elsewhere the values alone are sorted;
transformers' own running sum over them gives the least value that is kept. Only where equal logits straddle it do the
places matter that torch's sort gives them, and the row is sorted as transformers does.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels.decision import RowFilters, border_of, keep
from ..kernels.large_logits import GroupMaxima
from ..kernels.threshold_masks import keep_from
from ..options.numpy_or_torch import Array, on_host
from ..options.validation import as_border

_COUNT = 384  # so many of the largest logits are looked at
_SAMPLE, _DIFFERENT = 512, 0.9  # values looked at, and the share of different ones that makes a cut between equals rare


def keep_nucleus(
    logits: Tensor, top_p: float | Tensor, min_tokens_to_keep: int, otherwise: Callable[[Tensor, list[int]], Tensor]
) -> Tensor:
    """Logits [B, V] (float32, on the CPU) with -inf outside of each row's nucleus, a masked copy.

    top_p: below 1 for all rows, or float64 [B, 1] with 1 for off. otherwise(logits, rows): transformers' operations for
    the rows ``rows`` of the batch, [n, V] -> [n, V].
    Cost: one read, one fill and a few hundred logits where the mass is concentrated, else a sort of the row's values.
    """
    source = logits.detach()
    border: Array = border_of(on_host(top_p))
    listable = source.amax(1).isfinite().numpy()
    if not isinstance(top_p, float):
        listable &= border[:, 0] >= 0
    rows = listable.nonzero()[0]
    listed = _Entries.none()
    if len(rows):
        every = len(rows) == len(source)
        filters = RowFilters(
            border=border if every or isinstance(top_p, float) else border[rows], keep=min_tokens_to_keep
        )
        listed = _from_lists(source if every else source[torch.from_numpy(rows)], filters, rows)
    left = sorted({*range(len(logits))} - listed.done)
    masked, unsure = None, []
    if listed.done:
        masked = torch.full_like(logits, -math.inf)
        masked.numpy()[listed.rows, listed.token_ids] = listed.values
    for row in left:
        kept = _cut_sorted(logits, row, top_p, min_tokens_to_keep)
        if kept is None:
            unsure.append(row)
            continue
        masked = torch.full_like(logits, -math.inf) if masked is None else masked
        masked[row] = kept[0]
    if masked is None:  # nothing as large as the logits has been written
        return otherwise(logits, unsure)
    if unsure:
        masked[unsure] = otherwise(logits[unsure], unsure)
    return masked


class _Entries(NamedTuple):
    """What is kept of the rows ``done``: the logits ``values`` [M] at (rows [M], token_ids [M])."""

    done: set[int]
    rows: Array
    token_ids: Array
    values: Array

    @classmethod
    def none(cls) -> "_Entries":
        """Of no row."""
        return cls(set(), *(np.empty(0, dtype=kind) for kind in (np.int64, np.int64, np.float32)))


def _from_lists(source: Tensor, filters: RowFilters, rows: NDArray[np.int64]) -> _Entries:
    """What the largest logits of ``source`` [n, V] prove to be kept; rows: [n], where its rows are in the batch."""
    with np.errstate(all="ignore"):  # what overflows is uncertain
        known = GroupMaxima(source, _COUNT)
        large = known.listed(known.floor())
        large = large.weighed(1.0, source, filters.share)
        kept = keep(large, filters, source.shape[1])
        good = (kept.settled & ~(kept.possible & ~kept.certain).any(1)).nonzero()[0]
        which, column = kept.possible[good].nonzero()
        places = good[which]
        done = set(rows[good].tolist())
        return _Entries(done, rows[places], large.token_ids[places, column], large.values[places, column])


def _cut_sorted(logits: Tensor, row: int, top_p: float | Tensor, min_tokens_to_keep: int) -> Tensor | None:
    """What sorted values leave of one row, [1, V]; None where they do not say so."""
    one, p = logits[row : row + 1], top_p[row : row + 1] if isinstance(top_p, Tensor) else top_p
    return one if isinstance(p, Tensor) and bool(p == 1.0) else _from_sorted(one, p, min_tokens_to_keep)


def _from_sorted(logits: Tensor, top_p: float | Tensor, min_tokens_to_keep: int) -> Tensor | None:
    """One row [1, V] by transformers' running sum over its sorted values; None where equal values are many or cut."""
    row = logits.detach()[0].numpy()
    if len(np.unique(row[:_SAMPLE])) < min(_SAMPLE, len(row)) * _DIFFERENT:
        return None
    values = np.sort(row)
    ordered = torch.from_numpy(values)[None]
    tail = ordered.softmax(-1).cumsum(-1)
    dropped = min(int((tail <= as_border(1 - top_p, logits.dtype)).sum()), max(len(row) - min_tokens_to_keep, 0))
    if np.isnan(values[-1]) or (dropped and values[dropped - 1] == values[dropped]):
        return None
    kept, left = keep_from(logits, [float(values[dropped])])
    return None if left else kept
