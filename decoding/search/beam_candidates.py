"""The best continuations of a step's beams, without a sorted or even a stored log-softmax of the vocabulary.

Transformers' arithmetic per item of the batch is: log-softmax of each beam's logits in float32, plus the beam's score,
flattened to [K * V], the best C of it. Each of these operations keeps the order of a row's logits, so the best C + 1
values lie in the C + 1 groups of neighbouring logits whose maxima end up best: one read for the maxima, one log-softmax
of every row into a buffer that stays in cache (nothing but the row's normaliser is kept of it), then work on C + 1
groups. Where no two of the C + 1 values are equal, that is the only possible answer; an item with a tie goes through
transformers' own operations, because ties there are broken by the internals of ``topk``.

Source: the candidates of transformers 5.23's beam search; group maxima as bounds as in ``candidates``.
"""

from functools import cache

import torch
from torch import Tensor

from ..kernels.large_logits import group_maxima
from ..options.numpy_or_torch import formed_once
from ..triton_kernels.beam_select import MOST, beam_select
from ..triton_kernels.draw import may_run
from ..triton_kernels.row_stats import empty_stats, row_stats

__all__ = ["Candidates", "kernel_candidates", "listed_candidates", "may_list", "top_candidates"]

# scores, parent beam and token of each candidate, all [B, C]
Candidates = tuple[Tensor, Tensor, Tensor]
_SMALL = 4096  # below this many logits per row transformers' own operations are as fast
_WIDTH = 64  # logits to a group
_CHUNK = 2  # rows whose log-softmax is formed at once, one per core; short rows together


def top_candidates(logits: Tensor, scores: Tensor, count: int, *, normalized: bool = True) -> Candidates:
    """The ``count`` best continuations of each item, best first.

    logits: [B * K, V]; log-probabilities, or raw logits with ``normalized=False``. scores: [B, K] of the beams.
    Ties: as torch.topk over the flattened [K * V] breaks them.
    Cost: one read of the logits, and the log-softmax of rows in cache unless ``normalized``; then C groups of 64 per
    item. On another device than the CPU it is transformers' own operations, which wait for nothing.
    """
    if not may_list(logits, scores, count + 1, normalized=normalized):
        return _by_the_book(logits, scores, count, normalized)
    found = listed_candidates(logits, scores, count + 1, normalized=normalized)
    best = found[0]
    tied = (best[:, 1:] == best[:, :-1]).any(dim=1) | best[:, 0].isnan()
    best, parent, token = (part[:, :count].contiguous() for part in found)
    if bool(tied.any()):
        again = tied.nonzero().squeeze(1)
        its_rows = logits.view(*scores.shape, logits.shape[1])[again].flatten(0, 1)
        best[again], parent[again], token[again] = _by_the_book(its_rows, scores[again], count, normalized)
    return best, parent, token


def may_list(logits: Tensor, scores: Tensor, count: int, *, normalized: bool = True) -> bool:
    """Whether ``listed_candidates`` may be asked: long rows of float32 on the CPU, few candidates."""
    return (
        logits.shape[1] >= _SMALL
        and logits.device.type == "cpu"
        and count * _WIDTH * 4 <= scores.shape[1] * logits.shape[1]
        and {logits.dtype, scores.dtype} == {torch.float32}
        and (normalized or _subtracts_in_order())
    )


def listed_candidates(logits: Tensor, scores: Tensor, count: int, *, normalized: bool = True) -> Candidates:
    """The ``count`` best continuations of each item, best first, where ``may_list`` allows it.

    Equals stand in any order, and of those equal to the last one some may be missing.
    """
    rows, batch_size, num_beams = logits.shape[0], *scores.shape
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    maxima = group_maxima(logits, _WIDTH)  # [B * K, G]
    groups = maxima.shape[1]
    shifts = None if normalized else _normalizers(logits, maxima)
    keys = _accumulate(maxima, scores.view(rows, 1), shifts).view(batch_size, num_beams * groups)
    group = keys.topk(count, sorted=False).indices  # [B, C], beam by beam
    row = group // groups + torch.arange(0, rows, num_beams, device=logits.device)[:, None]
    found = _accumulate(
        _members(logits, row, group % groups),
        scores.view(rows)[row][:, :, None],
        None if shifts is None else (shifts[0][row], shifts[1][row]),
    )
    best, where = found.flatten(1).topk(count)
    group = group.gather(1, where // _WIDTH)
    return best, group // groups, group % groups * _WIDTH + where % _WIDTH


def kernel_candidates(logits: Tensor, scores: Tensor, count: int) -> tuple[Candidates, Tensor] | None:
    """The same of raw logits by kernels, and which items [B] are in doubt; None where the kernels do not run.

    An item is in doubt where two candidates are equal, or closer than the log-sum is known, or a row is no
    distribution: it must be searched by ``top_candidates``. Reads nothing on the host and the logits once.
    """
    if count > MOST or logits.dtype != torch.float32 or not may_run(logits.device):
        return None
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    stats = row_stats(logits, _no_temperature(len(logits), logits.device), empty_stats(logits))
    best, parent, token, doubt = beam_select(logits, stats, scores, count)
    return (best, parent, token), doubt != 0


@formed_once
def _no_temperature(rows: int, device: torch.device) -> Tensor:
    return torch.ones(rows, dtype=torch.float64, device=device)


def _by_the_book(logits: Tensor, scores: Tensor, count: int, normalized: bool) -> Candidates:
    batch_size, num_beams = scores.shape
    vocab_size = logits.shape[-1]
    log_probs = logits if normalized else torch.log_softmax(logits, dim=-1)
    accumulated = (log_probs.view(batch_size, num_beams, vocab_size) + scores[:, :, None]).flatten(1)
    best, where = accumulated.topk(count)
    return best, where // vocab_size, where % vocab_size


def _accumulate(values: Tensor, scores: Tensor, shifts: tuple[Tensor, Tensor] | None) -> Tensor:
    """What ``values`` become, rounded where transformers rounds: shifts are each row's maximum and its log-sum."""
    if shifts is None:
        return values + scores
    top, log_sum = shifts
    return (values - top).sub_(log_sum).add_(scores)


def _normalizers(logits: Tensor, maxima: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum of each row and the logarithm of its sum of exp(logit - maximum), [N, 1] each.

    The sum is the one that torch's log-softmax forms, in its order: the log-softmax of the largest logit is its
    negative.
    """
    rows, vocab_size = logits.shape
    top, group = maxima.max(dim=1, keepdim=True)
    at = group * _WIDTH + _members(logits, torch.arange(rows, device=logits.device)[:, None], group)[:, 0].argmax(
        dim=1, keepdim=True
    )
    height = min(rows, _CHUNK * max(1, 2**16 // vocab_size))
    space = torch.empty(height, vocab_size, dtype=logits.dtype, device=logits.device)
    best = torch.empty_like(top)
    for first in range(0, rows, height):
        some = slice(first, min(first + height, rows))
        log_probs = torch.log_softmax(logits[some], dim=-1, out=space[: some.stop - first])
        torch.gather(log_probs, 1, at[some], out=best[some])
    return top, best.neg_()


def _members(logits: Tensor, row: Tensor, group: Tensor) -> Tensor:
    """The logits of some groups: row and group [B, M] give [B, M, 64], -inf behind the end of the vocabulary."""
    rows, vocab_size = logits.shape
    whole = vocab_size // _WIDTH
    grouped = logits.as_strided((rows, whole, _WIDTH), (logits.stride(0), _WIDTH, 1), logits.storage_offset())
    if whole * _WIDTH == vocab_size:
        return grouped[row, group]
    rest = logits.new_full((rows, _WIDTH), -torch.inf)
    rest[:, : vocab_size - whole * _WIDTH] = logits[:, whole * _WIDTH :]
    return torch.where((group == whole)[..., None], rest[row], grouped[row, group.clamp(max=whole - 1)])


@cache
def _subtracts_in_order() -> bool:
    """Whether this torch's log-softmax is (logit - maximum) - log-sum, rounded after each."""
    logits = torch.randn(2, _SMALL + 3, generator=torch.Generator().manual_seed(0), device="cpu").mul_(5)
    log_probs = torch.log_softmax(logits, dim=-1)
    top, at = logits.max(dim=1, keepdim=True)
    return torch.equal(log_probs, logits - top + log_probs.gather(1, at))
