"""Tokens forbidden or forced by position: suppressed tokens, forced first and last tokens.

Every row of a batch has the same length, that of `token_ids` [B, T]; only the positions may differ from row to row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options.per_row import row_count, select_option
from ..options.token_ids import TokenList, TokenSet, check_token_ids, fill_where_, token_set, tokens_for
from ..options.validation import RowOption, check_logits


def apply_suppress_tokens(logits: Tensor, suppress_tokens: TokenList) -> Tensor:
    """Set the listed tokens to -inf.

    logits: [B, V]. suppress_tokens: one id, a list, or one list per row; ids outside the vocabulary are ignored, as in
    transformers. Returns [B, V].
    Cost: one copy of the logits and a write of the listed columns.
    Source: transformers 5.23 `SuppressTokensLogitsProcessor`.
    >>> apply_suppress_tokens(torch.zeros(1, 3), [0, 2])
    tensor([[-inf, 0., -inf]])
    """
    check_logits(logits)
    return tokens_for(logits, suppress_tokens, "suppress_tokens").fill_(logits.clone(), -math.inf)


def apply_begin_suppress_tokens(
    logits: Tensor, token_ids: Tensor, suppress_tokens: TokenList, *, begin_index: RowOption
) -> Tensor:
    """Set the listed tokens to -inf where the history is exactly ``begin_index`` tokens long.

    logits: [B, V]. token_ids: [B, T]; only T is read. begin_index: int or [B], the length at which generation begins.
    Cost: one copy of the logits and a write of the listed columns.
    Source: transformers 5.23 `SuppressTokensAtBeginLogitsProcessor`.
    >>> apply_begin_suppress_tokens(torch.zeros(1, 3), torch.tensor([[5, 6]]), [0], begin_index=2)
    tensor([[-inf, 0., 0.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    begin = row_count("begin_index", begin_index, logits.shape[0])
    tokens = tokens_for(logits, suppress_tokens, "suppress_tokens")
    return fill_where_(logits.clone(), tokens, -math.inf, begin == token_ids.shape[1])


def apply_forced_bos(logits: Tensor, token_ids: Tensor, bos_token_id: TokenList) -> Tensor:
    """Force the first generated token of an encoder-decoder model: acts when the history is one token long.

    bos_token_id: one id, or one list per row. A forced row is 0 at the forced token and -inf elsewhere.
    logits: [B, V]. token_ids: [B, T]; only T is read. Cost: one write of [B, V] where it acts, one copy otherwise.
    Source: transformers 5.23 `ForcedBOSTokenLogitsProcessor`.
    >>> apply_forced_bos(torch.ones(1, 3), torch.tensor([[2]]), 1)
    tensor([[-inf, 0., -inf]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    tokens = tokens_for(logits, bos_token_id, "bos_token_id", outside="raise")
    # An encoder-decoder's history starts with one token, that of the decoder's start.
    return _force(logits.clone(), tokens, torch.tensor(token_ids.shape[1] == 1, device="cpu"))


def apply_forced_eos(logits: Tensor, token_ids: Tensor, eos_token_id: TokenList, *, max_length: RowOption) -> Tensor:
    """Force the EOS tokens where one token is left to ``max_length``: they are 0, everything else is -inf.

    logits: [B, V]. token_ids: [B, T]; only T is read. max_length: int or [B], the length of the finished sequence,
    prompt included. EOS tokens outside of the vocabulary raise ValueError.
    Cost: one write of [B, V] where it acts, one copy otherwise.
    Source: transformers 5.23 `ForcedEOSTokenLogitsProcessor`.
    >>> apply_forced_eos(torch.ones(1, 3), torch.tensor([[5, 6]]), 1, max_length=3)
    tensor([[-inf, 0., -inf]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    limit = row_count("max_length", max_length, logits.shape[0])
    tokens = tokens_for(logits, eos_token_id, "eos_token_id", outside="raise")
    # The token being chosen is the last one that fits.
    return _force(logits.clone(), tokens, limit == token_ids.shape[1] + 1)


class SuppressTokensStep:
    """`apply_suppress_tokens`, or `apply_begin_suppress_tokens` with ``begin_index``, as a step of a loop."""

    def __init__(
        self,
        suppress_tokens: TokenList,
        *,
        batch_size: int,
        vocab_size: int,
        begin_index: RowOption | None = None,
        length: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.tokens = token_set(suppress_tokens, "suppress_tokens", batch_size, vocab_size, device=device)
        self.begin = None if begin_index is None else row_count("begin_index", begin_index, batch_size)
        self.length = length

    def apply(self, logits: Tensor) -> Tensor:
        """Set the tokens to -inf in place, at every step or at ``begin_index`` alone: logits [N, V], returned."""
        if self.begin is None:
            return self.tokens.fill_(logits, -math.inf)
        return fill_where_(logits, self.tokens, -math.inf, self.begin == self.length)

    def advance(self, token_ids: Tensor) -> None:
        """One more token in every row, whichever it is: only the length counts."""
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.tokens = self.tokens.select_rows(rows)
        if self.begin is not None:
            # One position for all rows stays one.
            self.begin = select_option(self.begin, rows)


class ForcedTokenStep:
    """`apply_forced_bos` and `apply_forced_eos` as a step of a loop: the tokens are forced at length ``position``."""

    def __init__(
        self,
        token_id: TokenList,
        *,
        position: RowOption,
        batch_size: int,
        vocab_size: int,
        length: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.tokens = token_set(token_id, "token_id", batch_size, vocab_size, outside="raise", device=device)
        self.position = row_count("position", position, batch_size)
        self.length = length

    def apply(self, logits: Tensor) -> Tensor:
        """Leave nothing but the forced tokens in rows that are at the position: 0 there and -inf elsewhere, [N, V]."""
        return _force(logits, self.tokens, self.position == self.length)

    def advance(self, token_ids: Tensor) -> None:
        """One more token in every row, whichever it is: only the length counts."""
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.tokens = self.tokens.select_rows(rows)
        self.position = select_option(self.position, rows)


def _force(logits: Tensor, tokens: TokenSet, where: Tensor) -> Tensor:
    """Rows of `where` become 0 at their tokens and -inf elsewhere."""
    if not bool(where.any()):
        return logits
    if where.dim():
        logits.masked_fill_(where.to(logits.device)[:, None], -math.inf)
    else:
        logits.fill_(-math.inf)
    return fill_where_(logits, tokens, 0.0, where)
