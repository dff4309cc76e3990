"""Bans on repeating an n-gram: of the sequence itself, or of the encoder's input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options.per_row import expand_rows, row_count, select_option
from ..options.token_ids import check_token_ids
from ..options.validation import RowOption, check_logits
from .ngram_index import NgramIndex, NgramRows


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
    Cost: one copy of the logits and ``ngram_size`` comparisons of [B, S].
    Source: transformers 5.23 `EncoderNoRepeatNGramLogitsProcessor`.
    >>> source = torch.tensor([[1, 2]])
    >>> apply_encoder_no_repeat_ngram(torch.zeros(1, 4), torch.tensor([[1]]), 2, encoder_token_ids=source)
    tensor([[0., 0., -inf, 0.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    check_token_ids(encoder_token_ids, name="encoder_token_ids")
    source = expand_rows("encoder_token_ids", encoder_token_ids, logits.shape[0])
    return _ban_continuations(logits, token_ids, source, row_count("ngram_size", ngram_size, logits.shape[0]))


class NoRepeatNgramStep:
    """`apply_no_repeat_ngram` as a step of a loop.

    On the CPU the last tokens, up to `TAIL` of them, are compared with the context as they stand; older ones are in a
    sorted `NgramIndex`, rebuilt when the tail is full. A step thus costs a comparison of at most [N, TAIL] and a few
    binary searches however long the history is. On a device the comparison with the whole history is one small kernel
    that waits for nothing, and there is no index.
    """

    TAIL = 1024

    def __init__(self, token_ids: Tensor, ngram_size: RowOption) -> None:
        check_token_ids(token_ids)
        self.ngram_size = row_count("ngram_size", ngram_size, token_ids.shape[0])
        self.sizes = _distinct(self.ngram_size)
        self._overlap = 0  # tokens of the tail that the index holds too: the context of the first tail windows
        self._history = token_ids[:, :0]  # what the index was built from, [N0, S]
        self._tail = token_ids
        self._room = 0
        self._rows = torch.arange(token_ids.shape[0], device=token_ids.device)  # each row's place in the index
        self._index: dict[int, NgramIndex] = {}
        self._settle()

    def apply(self, logits: Tensor) -> Tensor:
        """Ban in place what would complete an n-gram of the row: by comparison in the tail, by the index before it."""
        tail = self._tail[:, : self._tail.shape[1] - self._room]
        for size in self.sizes:
            if tail.shape[1] < size - 1:
                continue
            on = None if self.ngram_size.dim() == 0 else (self.ngram_size == size).to(tail.device)
            context = tail[:, tail.shape[1] - size + 1 :]
            recent = tail[:, max(self._overlap - size + 1, 0) :]
            if recent.shape[1] >= size:
                matches = _windows_after(recent, context, size)
                ban_(logits, recent[:, size - 1 :], matches if on is None else matches & on[:, None])
            # Windows that reach into both are in the tail: it keeps the index's last tokens as context.
            if self._history.shape[1] >= size:
                _ban_found_(logits, *self._index[size].continuations(context, self._rows))
        return logits

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to each row, [N]; a full tail moves into the index."""
        if self._room == 0:
            self._room = 64 + self._tail.shape[1] // 2
            self._tail = torch.cat([self._tail, self._tail.new_empty((self._tail.shape[0], self._room))], dim=1)
        self._tail[:, self._tail.shape[1] - self._room] = token_ids
        self._room -= 1
        self._settle()

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does. The
        index is shared, not copied."""
        self._tail = self._tail[:, : self._tail.shape[1] - self._room][rows]
        self._room = 0
        self._rows = self._rows[rows]
        self.ngram_size = select_option(self.ngram_size, rows)

    def _settle(self) -> None:
        """Move a full tail into the index."""
        tail = self._tail[:, : self._tail.shape[1] - self._room]
        if tail.device.type != "cpu" or tail.shape[1] - self._overlap <= self.TAIL:
            return
        indexed = self._history[self._rows] if self._index else tail[:, :0]
        self._history = torch.cat([indexed, tail[:, self._overlap :]], dim=1)
        self._rows = torch.arange(tail.shape[0], device="cpu")
        self._index = {
            size: NgramIndex(self._history, size, None if self.ngram_size.dim() == 0 else self.ngram_size == size)
            for size in self.sizes
        }
        self._overlap = min(max(self.sizes, default=1) - 1, self._history.shape[1])
        self._tail, self._room = self._history[:, self._history.shape[1] - self._overlap :].clone(), 0


class EncoderNoRepeatNgramStep:
    """`apply_encoder_no_repeat_ngram` as a step of a loop: the encoder's n-grams are indexed once.

    On the CPU up to `FEW` rows look theirs up in Python, more of them all at once.
    """

    FEW = 16

    def __init__(self, token_ids: Tensor, ngram_size: RowOption, *, encoder_token_ids: Tensor) -> None:
        check_token_ids(token_ids)
        check_token_ids(encoder_token_ids, name="encoder_token_ids")
        batch_size, inputs = token_ids.shape[0], encoder_token_ids.shape[0]
        self.ngram_size = row_count("ngram_size", ngram_size, batch_size)
        self.sizes = _distinct(self.ngram_size)
        self._source = encoder_token_ids
        self._rows = expand_rows("encoder_token_ids", torch.arange(inputs, device=token_ids.device), batch_size)
        self._index: dict[int, NgramIndex] = {}
        self._few: NgramRows | None = None
        self._recent = self._last(token_ids)
        if token_ids.device.type == "cpu" and batch_size <= self.FEW:
            sizes = self.ngram_size.expand(batch_size).tolist()
            self._few = NgramRows(encoder_token_ids, self._rows.tolist(), sizes, self._recent)
        elif token_ids.device.type == "cpu":
            self._index = {size: NgramIndex(encoder_token_ids, size) for size in self.sizes}

    def apply(self, logits: Tensor) -> Tensor:
        """Ban in place what would complete an n-gram of the rows' inputs: logits [N, V], returned."""
        if self._few is not None:
            _ban_few_(logits, *self._few.continuations(logits.shape[1]))
            return logits
        for size in self.sizes:
            if self._recent.shape[1] < size - 1 or self._source.shape[1] < size:
                continue
            on = None if self.ngram_size.dim() == 0 else (self.ngram_size == size).to(self._recent.device)
            context = self._recent[:, self._recent.shape[1] - size + 1 :]
            if size in self._index:
                found, tokens = self._index[size].continuations(context, self._rows)
                if on is not None:
                    found, tokens = found[on[found]], tokens[on[found]]
                _ban_found_(logits, found, tokens)
            else:
                source = self._source[self._rows]
                matches = _windows_after(source, context, size)
                ban_(logits, source[:, size - 1 :], matches if on is None else matches & on[:, None])
        return logits

    def advance(self, token_ids: Tensor) -> None:
        """One more token of each row, [N]."""
        if self._few is not None:
            self._few.advance(token_ids.tolist())
        else:
            self._recent = self._last(torch.cat([self._recent, token_ids.reshape(-1, 1).to(self._recent.dtype)], dim=1))

    def select_rows(self, rows: Tensor) -> None:
        """Go on with these rows, [M] int64."""
        if self._few is not None:
            self._few.select(rows.tolist())
            return
        self._recent = self._recent[rows]
        self._rows = self._rows[rows]
        self.ngram_size = select_option(self.ngram_size, rows)

    def _last(self, token_ids: Tensor) -> Tensor:
        return token_ids[:, max(token_ids.shape[1] - max(self.sizes, default=1) + 1, 0) :]


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


def _ban_few_(logits: Tensor, rows: list[int], token_ids: list[int]) -> None:
    """Set logits[rows[i], token_ids[i]] to -inf in place, on the CPU; written by numpy, whose call is a fifth of
    torch's, where numpy knows the type and no gradient is asked for."""
    if not rows:  # as at most steps
        return
    if logits.dtype == torch.bfloat16 or logits.requires_grad:
        logits[rows, token_ids] = -math.inf
    else:
        logits.numpy()[rows, token_ids] = -math.inf


def _ban_found_(logits: Tensor, rows: Tensor, token_ids: Tensor) -> None:
    if not len(rows):  # as at most steps
        return
    inside = token_ids < logits.shape[1]
    logits[rows[inside], token_ids[inside]] = -math.inf


def _distinct(ngram_size: Tensor) -> list[int]:
    """The sizes in use, smallest first; 0 is off."""
    return sorted(set(ngram_size.reshape(-1).tolist()) - {0})


def _ban_continuations(logits: Tensor, token_ids: Tensor, source: Tensor, ngram_size: Tensor) -> Tensor:
    out = logits.clone()
    for size in _distinct(ngram_size):
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
    # A column of the context at a time: ``size - 1`` comparisons of [B, S], no window is copied.
    matches = torch.ones((source.shape[0], windows), dtype=torch.bool, device=source.device)
    for offset in range(size - 1):
        last = token_ids[:, token_ids.shape[1] - size + 1 + offset, None]
        matches &= source[:, offset : offset + windows] == last
    return matches
