"""Top-p's masked logits without the library's sort of tokens: from each row's largest logits, or from sorted values.

Where the nucleus is small the shortlist of ``sample`` proves what is in it. Elsewhere the values alone are sorted, as
integers of the same order, a tenth of the work of sorting floats with their places; the library's own running sum over
them gives the least value that is kept. Only where equal logits straddle that value do their places matter, and the row
is sorted as the library does.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels.peaks import Peaks
from ..kernels.rejection import flat_rows
from ..kernels.shortlist import decide, first_count, large_logits, list_large
from ..kernels.threshold_masks import keep_from
from ..options.batch_options import CompiledParams
from ..options.validation import as_border

_DIGITS = 32768  # from so many integers on torch sorts by digits
_SAMPLE, _DIFFERENT = 512, 0.9  # values looked at, and the share of different ones that makes a cut between equals rare


def keep_nucleus(
    logits: Tensor, top_p: float | Tensor, min_tokens_to_keep: int, otherwise: Callable[[Tensor, list[int]], Tensor]
) -> Tensor:
    """Logits [B, V] (float32, on the CPU) with -inf outside of each row's nucleus, a masked copy.

    top_p: below 1 for all rows, or float64 [B, 1] with 1 for off. otherwise(logits, rows): the library's operations for
    the rows ``rows`` of the batch, [n, V] -> [n, V].
    Cost: one read, one fill and a few hundred logits where the mass is concentrated, else a sort of the row's values.
    """
    source = logits.detach()
    params = CompiledParams({"top_p": top_p}, ("top_p",), False, 0, False, min_tokens_to_keep)
    listable = source.amax(1).isfinite()
    if isinstance(top_p, Tensor):
        listable &= top_p[:, 0] < 1.0
    places = listable.nonzero()[:, 0].tolist()
    if len(places) < len(source):
        chosen = torch.tensor(places, dtype=torch.int64)
        source, params = source[chosen], params.select_rows(chosen)
    masked = torch.full_like(logits, -math.inf)
    done = _fill_from_lists(source, params, masked.numpy(), places) if places else set[int]()
    unsure = []
    for row in sorted({*range(len(logits))} - done):
        one = logits[row : row + 1]
        p = top_p[row : row + 1] if isinstance(top_p, Tensor) else top_p
        kept = one if isinstance(p, Tensor) and bool(p == 1.0) else _from_sorted(one, p, min_tokens_to_keep)
        if kept is None:
            unsure.append(row)
        else:
            masked[row] = kept[0]
    if len(unsure) == len(logits):
        return otherwise(logits, unsure)
    if unsure:
        masked[unsure] = otherwise(logits[unsure], unsure)
    return masked


def _fill_from_lists(source: Tensor, params: CompiledParams, masked: NDArray[np.float32], rows: list[int]) -> set[int]:
    """Write what the largest logits of ``source`` [n, V] prove to be kept into ``masked`` [B, V], all -inf.

    rows: [n], where the rows of ``source`` are in ``masked``. Returns those that are done.
    """
    with np.errstate(all="ignore"):  # what overflows is uncertain
        known = large_logits(source, first_count(params, source.shape[1]))
        flat = set(flat_rows(source, params, known)[0])
        listed = None if len(flat) == len(rows) else list_large(known, params)
        if listed is None:  # much to list: row by row, for the sake of those with little
            crowded = known.crowded() if len(rows) > 1 and isinstance(known, Peaks) else [True] * len(rows)
            each = [i for i in range(len(rows)) if i not in flat and not crowded[i]]
            some = [(source[i : i + 1], params.select_rows(torch.tensor([i])), masked, [rows[i]]) for i in each]
            return set[int]().union(*(_fill_from_lists(*arguments) for arguments in some))
        part = decide(listed, params, source, exact=True)
        good = part.settled & ~(part.possible & ~part.certain).any(1)
        places = good.nonzero()[0]
        which, column = part.possible[places].nonzero()
        masked[np.array(rows)[places[which]], part.token_ids[places[which], column]] = part.values[
            places[which], column
        ]
        return {rows[i] for i in places.tolist()}


def _from_sorted(logits: Tensor, top_p: float | Tensor, min_tokens_to_keep: int) -> Tensor | None:
    """One row [1, V] by the library's running sum over its sorted values; None where equal values are many or cut."""
    sample = logits[0, :_SAMPLE].detach().numpy()
    if len(np.unique(sample)) < len(sample) * _DIFFERENT:
        return None
    ordered = _ordered(logits.detach()[0])[None]
    tail = ordered.softmax(-1).cumsum(-1)
    dropped = min(int((tail <= as_border(1 - top_p, logits.dtype)).sum()), max(logits.shape[1] - min_tokens_to_keep, 0))
    if dropped and ordered[0, dropped - 1] == ordered[0, dropped]:
        return None
    kept, left = keep_from(logits, ordered[0, dropped : dropped + 1].tolist())
    return None if left else kept


def _ordered(row: Tensor) -> Tensor:
    """The float32 values of a row [V], smallest first.

    torch sorts many integers by their digits, on all cores, where it was built with FBGEMM; numpy compares floats.
    """
    if len(row) < _DIGITS or "fbgemm" not in torch.backends.quantized.supported_engines:
        return torch.from_numpy(np.sort(row.numpy()))
    bits = row.view(torch.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).sort().values  # negative floats are ordered by size, integers are not
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(torch.float32)
