"""Bans on repeating an n-gram: of the sequence itself, or of the encoder's input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .row_tensors import expand_rows, row_count
from .rows import RowOption, check_logits
from .token_sets import check_token_ids


def apply_no_repeat_ngram(logits: Tensor, token_ids: Tensor, ngram_size: RowOption) -> Tensor:
    """Set to -inf every token that would complete an n-gram the sequence already contains.

    logits: [B, V] float. token_ids: [B, T], the sequence so far, prompt and padding included: pad tokens count, as in
    transformers. ngram_size: int or [B]; 0 is off, 1 bans every token seen, a size above T bans nothing.
    Ids of V and above are matched as context but never banned. Returns [B, V].
    Cost: one copy of the logits and ``ngram_size`` comparisons of [B, T]; on the CPU the matches are read back.
    Source: Paulus et al. 2017, arXiv:1705.04304, section 2.5; transformers 5.23 `NoRepeatNGramLogitsProcessor`.
    >>> apply_no_repeat_ngram(torch.zeros(1, 4), torch.tensor([[1, 2, 3, 1]]), 2)
    tensor([[0., 0., -inf, 0.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    return _ban_continuations(logits, token_ids, token_ids, row_count("ngram_size", ngram_size, logits.shape[0]))


def apply_encoder_no_repeat_ngram(
    logits: Tensor, token_ids: Tensor, ngram_size: RowOption, *, encoder_token_ids: Tensor
) -> Tensor:
    """Set to -inf every token that would complete an n-gram of the encoder's input.

    logits: [B, V]. token_ids: [B, T], the sequence so far. encoder_token_ids: [B, S], or [B / K, S] when every input
    has K beams. ngram_size: int or [B]; 0 is off. Nothing is banned while the sequence is shorter than an n-gram's
    first ``ngram_size - 1`` tokens. Ids of V and above are never banned (transformers raises an IndexError).
    >>> source = torch.tensor([[1, 2]])
    >>> apply_encoder_no_repeat_ngram(torch.zeros(1, 4), torch.tensor([[1]]), 2, encoder_token_ids=source)
    tensor([[0., 0., -inf, 0.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    check_token_ids(encoder_token_ids, name="encoder_token_ids")
    source = expand_rows("encoder_token_ids", encoder_token_ids, logits.shape[0])
    return _ban_continuations(logits, token_ids, source, row_count("ngram_size", ngram_size, logits.shape[0]))


def ban_(logits: Tensor, token_ids: Tensor, banned: Tensor) -> Tensor:
    """Set logits[i, token_ids[i, j]] to -inf in place wherever banned[i, j]; ids outside the vocabulary are skipped.

    The CPU writes the few banned entries. On a device, counting them would stall the stream, so every position writes
    the smaller of its logit and -inf or +inf.
    """
    banned = banned & (token_ids < logits.shape[1])
    if logits.device.type == "cpu":
        rows, places = banned.nonzero(as_tuple=True)
        logits[rows, token_ids[rows, places].long()] = -math.inf
        return logits
    columns = token_ids.clamp(max=logits.shape[1] - 1).long()
    ceiling = torch.full_like(columns, math.inf, dtype=logits.dtype).masked_fill_(banned, -math.inf)
    return logits.scatter_reduce_(1, columns, ceiling, "amin")


def _ban_continuations(logits: Tensor, token_ids: Tensor, source: Tensor, ngram_size: Tensor) -> Tensor:
    out = logits.clone()
    for size in sorted(set(ngram_size.reshape(-1).tolist()) - {0}):
        if source.shape[1] < size or token_ids.shape[1] < size - 1:
            continue
        matches = _windows_after(source, token_ids, size)  # [B, S - size + 1]
        if ngram_size.dim():
            matches &= (ngram_size == size).to(matches.device)[:, None]
        ban_(out, source[:, size - 1 :], matches)
    return out


def _windows_after(source: Tensor, token_ids: Tensor, size: int) -> Tensor:
    """Which windows of `size` tokens of `source` start with the last `size - 1` tokens of `token_ids`."""
    windows = source.shape[1] - size + 1
    matches = torch.ones((source.shape[0], windows), dtype=torch.bool, device=source.device)
    for offset in range(size - 1):
        last = token_ids[:, token_ids.shape[1] - size + 1 + offset, None]
        matches &= source[:, offset : offset + windows] == last
    return matches
