"""Filters of a probability distribution given as logits: temperature, top-k, top-p, min-p, and both in one call.

Each takes logits [B, V] and one option, a number or one value per row, and returns new logits whose dropped entries
are -inf. Results equal those of transformers 5.23's processors bit for bit on the CPU. ``entropy.py`` holds the
filters that need the entropy or the spread of a row.
"""

import math

import torch
from torch import Tensor

from ..kernels.candidates import largest
from ..kernels.row_blocks import by_pieces
from ..kernels.threshold_masks import is_cuttable, keep_above, keep_from, min_p_bounds
from ..options.validation import (
    COUNT,
    POSITIVE,
    UNIT,
    RowOption,
    as_border,
    check_count,
    check_logits,
    divided,
    of_rows,
    per_row,
    scaled,
)
from .top_p_mask import keep_nucleus


def apply_temperature(logits: Tensor, temperature: RowOption) -> Tensor:
    """Divide the logits by ``temperature``: below 1 sharpens the distribution, above 1 flattens it.

    logits: [B, V] float. temperature: > 0, float or [B]; 1.0 changes nothing. Greedy rows (temperature 0) belong to
    ``sample``, which takes their argmax instead.
    Returns [B, V]. -inf stays -inf.
    Raises ValueError naming the row if a temperature is not a finite number > 0.
    Cost: one pass over the logits.
    >>> apply_temperature(torch.tensor([[2.0, 1.0]]), 0.5)
    tensor([[4., 2.]])
    """
    check_logits(logits)
    return divided(logits, per_row("temperature", temperature, logits.shape[0], logits.device, POSITIVE))


def apply_top_k(logits: Tensor, top_k: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Mask all but the ``top_k`` largest logits.

    logits: [B, V] float. top_k: an integer >= 0, int or [B]; 0 keeps every token, and so does k >= V.
    Returns [B, V]; dropped entries are -inf. k is at least ``min_tokens_to_keep``.
    Ties: every token equal to the k-th largest survives, so more than k may be kept.
    A [B] tensor on another device is read once, for its largest k.
    Cost: one read for the maxima of columns, a top-k among k columns, one masked copy.
    >>> apply_top_k(torch.tensor([[1.0, 3.0, 2.0, 2.0]]), 2)
    tensor([[-inf, 3., 2., 2.]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    k = per_row("top_k", top_k, logits.shape[0], logits.device, COUNT)
    return drop_below_kth(logits, k, min_tokens_to_keep)


def drop_below_kth(logits: Tensor, k: float | Tensor, min_tokens_to_keep: int = 1, most: int | None = None) -> Tensor:
    """``apply_top_k`` of options that are read: ``k`` a number or float64 [B, 1], ``most`` the largest, if known."""
    if logits.shape[0] == 0:
        return logits.clone()
    least = kth_largest(logits, k, min_tokens_to_keep, most)
    if is_cuttable(logits):
        kept, left = keep_from(logits, least[:, 0].tolist())
        if left:
            kept[left] = logits[left].masked_fill(logits[left] < least[left], -math.inf)
        return kept
    return logits.masked_fill(logits < least, -math.inf)


def kth_largest(logits: Tensor, k: float | Tensor, min_tokens_to_keep: int = 1, most: int | None = None) -> Tensor:
    """The k-th largest value of each row, [B, 1]; -inf where k is 0, which is off. most: the largest k, if known."""
    vocab_size = logits.shape[1]
    if not isinstance(k, Tensor):
        if k == 0:
            return logits.new_full((logits.shape[0], 1), -math.inf)
        return largest(logits, min(max(int(k), min_tokens_to_keep), vocab_size))[0][:, -1:]
    # One selection for the longest list; each row then reads its own k-th value from it.
    rank = k.long().clamp(min=min_tokens_to_keep, max=vocab_size)
    off = k == 0
    if most is None:
        most = int(rank.masked_fill(off, 1).max())
    values = largest(logits, min(max(most, min_tokens_to_keep), vocab_size))[0]
    return values.gather(1, rank.masked_fill(off, 1) - 1).masked_fill(off, -math.inf)


def apply_top_p(logits: Tensor, top_p: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Mask all but the smallest set of tokens whose probability reaches ``top_p``.

    logits: [B, V] float, unnormalised. top_p: in [0, 1], float or [B]; 1.0 keeps every token.
    Returns [B, V]; dropped entries are -inf. At least ``min_tokens_to_keep`` survive.
    Ties: as torch.sort orders them, the rule of transformers 5.23.
    Raises ValueError naming the row if top_p is out of range.
    Cost: one read and one fill where a few hundred tokens hold the mass (float32 on the CPU); else a sort of each
    row's values, or of its tokens where equal logits meet the border; a draw alone (``sample``) needs none.
    Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1.
    >>> apply_top_p(torch.tensor([[2.0, 1.0, 0.0]]), 0.7)
    tensor([[2., 1., -inf]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    p = per_row("top_p", top_p, logits.shape[0], logits.device, UNIT)
    if not isinstance(p, Tensor) and p == 1.0:
        return logits.clone()
    if is_cuttable(logits):
        return keep_nucleus(
            logits, p, min_tokens_to_keep, lambda some, rows: _drop_tail(some, of_rows(p, rows), min_tokens_to_keep)
        )
    return _drop_tail(logits, p, min_tokens_to_keep)


def _drop_tail(logits: Tensor, top_p: float | Tensor, min_tokens_to_keep: int) -> Tensor:
    def kept(some: slice) -> Tensor:
        p = of_rows(top_p, some)
        if is_cuttable(logits):
            return _without_tail(logits[some], p, min_tokens_to_keep)
        drop = outside_nucleus(logits[some], p, min_tokens_to_keep)
        return logits[some].masked_fill(drop & (p < 1.0) if isinstance(p, Tensor) else drop, -math.inf)

    return by_pieces(logits, kept)


def _without_tail(logits: Tensor, top_p: float | Tensor, min_tokens_to_keep: int) -> Tensor:
    """The same by one value of each row: only the places of its equals that are dropped are written one by one."""
    # Ascending, as transformers sorts: the running sum of the tail rounds differently from the other end.
    ordered, order = logits.sort(dim=-1)
    dropped = (ordered.softmax(-1).cumsum(-1) <= as_border(1 - top_p, logits.dtype)).sum(1)
    dropped.clamp_(max=max(logits.shape[1] - min_tokens_to_keep, 0))
    if isinstance(top_p, Tensor):
        dropped.masked_fill_(top_p[:, 0] >= 1.0, 0)
    least = ordered.gather(1, dropped[:, None])
    # Of the logits equal to the last one kept, those that the sort put in front of it are dropped.
    first = torch.searchsorted(ordered, least)[:, 0]
    kept, left = keep_from(logits, least[:, 0].tolist())
    for row in left:
        kept[row] = logits[row].masked_fill(logits[row] < least[row], -math.inf)
    for row, (start, end) in enumerate(zip(first.tolist(), dropped.tolist(), strict=True)):
        if start < end:
            kept[row, order[row, start:end]] = -math.inf
    return kept


def outside_nucleus(logits: Tensor, top_p: float | Tensor, min_tokens_to_keep: int = 1) -> Tensor:
    """Which tokens top-p drops, [B, V] bool: the arithmetic of transformers, a sort of every row.

    Tokens are dropped from the smallest up while their running sum stays within ``1 - top_p``. Unlike ``apply_top_p``
    a top_p of 1.0 is not off here: it drops the tokens whose probability is zero in the logits' own precision.
    """
    ordered, order = logits.sort(dim=-1)
    tail = ordered.softmax(-1).cumsum(-1)
    # The border is rounded to the logits' type first: Python's 1 - 0.9 is not float32's.
    drop = tail <= as_border(1 - top_p, logits.dtype)
    if min_tokens_to_keep > 1 or not _keeps_last(top_p, logits):
        drop[:, -min_tokens_to_keep:] = False
    return torch.empty_like(drop).scatter_(1, order, drop)


def _keeps_last(top_p: float | Tensor, logits: Tensor) -> bool:
    """Whether the running sum of a whole row is above ``1 - top_p`` whatever rounding does: V * UNIT of it at most."""
    wide = logits.dtype in (torch.float32, torch.float64)
    return isinstance(top_p, float) and top_p >= 0.5 and wide and logits.shape[1] <= 2**21


def apply_min_p(logits: Tensor, min_p: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Mask tokens less probable than ``min_p`` times the most probable one.

    logits: [B, V] float. min_p: in [0, 1], float or [B]; 0 keeps every token.
    Returns [B, V]; dropped entries are -inf. The ``min_tokens_to_keep`` most probable tokens survive.
    Cost: four passes over the logits (float32 on the CPU), one softmax and one masked copy elsewhere.
    Source: Nguyen et al. 2024, arXiv:2407.01082.
    >>> apply_min_p(torch.tensor([[2.0, 1.0, 0.0]]), 0.2)
    tensor([[2., 1., -inf]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    p = per_row("min_p", min_p, logits.shape[0], logits.device, UNIT)
    if is_cuttable(logits) and min_tokens_to_keep == 1 and logits.shape[0]:
        low, high = min_p_bounds(logits, p)
        return keep_above(logits, low, high, lambda some, rows: _drop_improbable(some, of_rows(p, rows), 1))
    return _drop_improbable(logits, p, min_tokens_to_keep)


def _drop_improbable(logits: Tensor, min_p: float | Tensor, min_tokens_to_keep: int) -> Tensor:
    probs = logits.softmax(-1)
    drop = probs < scaled(probs.amax(-1, keepdim=True), min_p)
    if min_tokens_to_keep > 1:  # the most probable one is never below its own share
        drop.scatter_(1, probs.topk(min(min_tokens_to_keep, probs.shape[1])).indices, False)
    return logits.masked_fill(drop, -math.inf)


def apply_top_k_top_p_jointly(
    logits: Tensor, top_k: RowOption, top_p: RowOption, *, min_tokens_to_keep: int = 1
) -> Tensor:
    """Keep the tokens that top-k and top-p would each keep, both judged on the same distribution.

    FlashInfer calls this the joint order (``filter_apply_order="joint"``). Applied one after the other, as transformers
    does, top-p sees the distribution that top-k left and therefore keeps fewer tokens.
    logits: [B, V] float; options as in ``apply_top_k`` and ``apply_top_p``. Returns [B, V].
    Cost: that of both filters.
    Source: FlashInfer, ``filter_apply_order="joint"``.
    >>> apply_top_k_top_p_jointly(torch.tensor([[2.0, 1.0, 0.0]]), 2, 0.95)
    tensor([[2., 1., -inf]])
    """
    top_k_kept = apply_top_k(logits, top_k, min_tokens_to_keep=min_tokens_to_keep)
    top_p_kept = apply_top_p(logits, top_p, min_tokens_to_keep=min_tokens_to_keep)
    return torch.minimum(top_k_kept, top_p_kept)


def top_k_top_p_filtering(
    logits: Tensor,
    top_k: int = 0,
    top_p: float = 1.0,
    filter_value: float = -math.inf,
    min_tokens_to_keep: int = 1,
) -> Tensor:
    """Top-k, then top-p, in one call: the function that transformers had until 4.38, with its results.

    logits: [B, V] float. top_k: 0 or less is off. top_p: off outside [0, 1]; 1.0 is not quite off, it drops tokens
    whose probability is zero in the logits' own precision. filter_value: what dropped entries become.
    Returns new logits; the input itself when both filters are off.
    Cost: that of ``apply_top_k`` and ``apply_top_p``; one sort of every row with another ``filter_value``.
    >>> top_k_top_p_filtering(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), top_k=3, top_p=0.7)
    tensor([[2., 1., -inf, -inf]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    if top_k > 0:
        if filter_value == -math.inf:
            logits = apply_top_k(logits, int(top_k), min_tokens_to_keep=min_tokens_to_keep)
        else:
            logits = logits.masked_fill(logits < kth_largest(logits, top_k, min_tokens_to_keep), filter_value)
    if 0 <= top_p < 1.0 and filter_value == -math.inf:
        logits = apply_top_p(logits, float(top_p), min_tokens_to_keep=min_tokens_to_keep)
    elif 0 <= top_p <= 1.0:
        logits = logits.masked_fill(outside_nucleus(logits, top_p, min_tokens_to_keep), filter_value)
    return logits
