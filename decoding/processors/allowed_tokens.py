"""Masks over the whole vocabulary: packed bits, allowed prefixes, values made finite, scores normalised."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..grammar.bitmask import mask_tokens_
from ..options.token_ids import TokenList, check_token_ids, token_set
from ..options.validation import check_logits

# Tokens for every row, or one list per row; None leaves a row alone.
AllowedTokens: TypeAlias = TokenList | Sequence[Sequence[int] | None]
PrefixAllowed = Callable[[int, Tensor], Sequence[int]]


def apply_token_bitmask(logits: Tensor, bitmask: Tensor) -> Tensor:
    """Set to -inf every token whose bit is 0.

    logits: [B, V]. bitmask: int32 [B, ceil(V / 32)] or one row of it; bit j of word w, lowest first, stands for token
    32 * w + j, and 1 allows it: the layout of xgrammar's and llguidance's grammar matchers. Bits past V are ignored.
    A row without an allowed token becomes -inf throughout; samplers refuse such a row.
    Cost: a copy of the logits and one read of the bits; then the allowed or the forbidden tokens alone where they are
    few, or one more pass.
    >>> apply_token_bitmask(torch.zeros(1, 3), torch.tensor([[0b101]], dtype=torch.int32))
    tensor([[0., -inf, 0.]])
    """
    check_logits(logits)
    return mask_tokens_(logits.clone(), bitmask)


def apply_allowed_tokens(logits: Tensor, allowed_token_ids: AllowedTokens) -> Tensor:
    """Set to -inf every token that is not listed.

    logits: [B, V]. allowed_token_ids: a list of ids, or one list per row, None for a row that may take any token. Ids
    outside the vocabulary and empty lists raise ValueError naming the row. Returns [B, V].
    Cost: one write of [B, V]; a mask that changes at every step is cheaper as packed bits, `apply_token_bitmask`.
    Source: vLLM `SamplingParams.allowed_token_ids`.
    >>> apply_allowed_tokens(torch.zeros(2, 3), [[0, 2], None])
    tensor([[0., -inf, 0.],
            [0., 0., 0.]])
    """
    check_logits(logits)
    return AllowedTokensStep(
        allowed_token_ids, batch_size=logits.shape[0], vocab_size=logits.shape[1], device=logits.device
    ).apply(logits.clone())


def apply_prefix_allowed_tokens(
    logits: Tensor, token_ids: Tensor, prefix_allowed_tokens_fn: PrefixAllowed, *, num_beams: int = 1
) -> Tensor:
    """Keep only the tokens that ``prefix_allowed_tokens_fn(batch_id, token_ids)`` returns for each row.

    logits: [B * K, V] and token_ids: [B * K, T], K = ``num_beams`` consecutive rows per batch item. Returns the logits
    with -inf added to every other token. Where the allowed tokens of every beam of an item are -inf already, those
    tokens become 0 instead, so that the constraint holds: the rule of transformers 5.23, absent in 4.57.
    Raises ValueError where the function returns no token. Costs one Python call per row, one read and one write of the
    logits.
    >>> apply_prefix_allowed_tokens(torch.zeros(1, 3), torch.tensor([[1]]), lambda item, ids: [2])
    tensor([[-inf, -inf, 0.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    if num_beams < 1 or logits.shape[0] % num_beams:
        raise ValueError(f"num_beams must be >= 1 and divide the {logits.shape[0]} rows of logits; got {num_beams}")
    items = torch.arange(logits.shape[0] // num_beams, device="cpu").repeat_interleave(num_beams).tolist()
    return _allow(logits, token_ids, prefix_allowed_tokens_fn, items, num_beams)


def apply_finite(logits: Tensor) -> Tensor:
    """Replace NaN by 0, +inf by the largest and -inf by the smallest finite value of the type.

    logits: [B, V]. Cost: one pass. Source: transformers 5.23 `InfNanRemoveLogitsProcessor`.
    >>> apply_finite(torch.tensor([[float("nan"), 1.0]]))
    tensor([[0., 1.]])
    """
    check_logits(logits)
    return torch.nan_to_num(logits)


def apply_renormalize(logits: Tensor) -> Tensor:
    """Log-probabilities: log_softmax over the vocabulary, as `renormalize_logits` does after every other operation.

    logits: [B, V]. Cost: one log_softmax. Source: transformers 5.23 `LogitNormalization`.
    >>> apply_renormalize(torch.zeros(1, 2)).exp()
    tensor([[0.5000, 0.5000]])
    """
    check_logits(logits)
    return logits.log_softmax(dim=-1)


class AllowedTokensStep:
    """`apply_allowed_tokens` as a step of a loop; nothing to advance."""

    def __init__(
        self,
        allowed_token_ids: AllowedTokens,
        *,
        batch_size: int,
        vocab_size: int,
        device: torch.device | str = "cpu",
    ) -> None:
        lists: Any = allowed_token_ids
        self.restricted: Tensor | None = None  # [B] bool, where only some rows are
        if isinstance(lists, Sequence) and any(row is None for row in lists):
            self.restricted = torch.tensor([row is not None for row in lists], device=device)
            # A free row has an empty list, which ``restricted`` keeps from being read as one that allows nothing.
            lists = [[] if row is None else row for row in lists]
        self.tokens = token_set(lists, "allowed_token_ids", batch_size, vocab_size, outside="raise", device=device)
        counts = torch.zeros(max(batch_size, 1), dtype=torch.int64, device=device)
        if self.tokens.rows is None:
            counts += len(self.tokens.columns)
        else:
            counts.index_add_(0, self.tokens.rows, torch.ones_like(self.tokens.rows))
        empty = counts == 0 if self.restricted is None else (counts == 0) & self.restricted
        if bool(empty.any()):
            place = "" if self.tokens.rows is None else f" in row {int(empty.nonzero()[0])}"
            raise ValueError(f"allowed_token_ids must list at least one token; got none{place}")

    def apply(self, logits: Tensor) -> Tensor:
        """Set what is not allowed to -inf in the rows that are restricted, in place: logits [N, V], returned."""
        return self.tokens.keep_(logits, self.restricted)

    def advance(self, token_ids: Tensor) -> None:
        """What is allowed does not depend on the history."""

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.tokens = self.tokens.select_rows(rows)
        if self.restricted is not None:
            self.restricted = self.restricted[rows]


class PrefixAllowedTokensStep:
    """`apply_prefix_allowed_tokens` as a step of a loop. Keeps the history, since the function reads it."""

    def __init__(self, token_ids: Tensor, prefix_allowed_tokens_fn: PrefixAllowed, *, num_beams: int = 1) -> None:
        check_token_ids(token_ids)
        if num_beams < 1 or token_ids.shape[0] % num_beams:
            raise ValueError(f"num_beams must be >= 1 and divide the {token_ids.shape[0]} rows; got {num_beams}")
        self.allowed = prefix_allowed_tokens_fn
        self.num_beams = num_beams
        self.items = torch.arange(token_ids.shape[0] // num_beams, device="cpu").repeat_interleave(num_beams)
        self.length = token_ids.shape[1]
        self.buffer = token_ids.clone()

    def apply(self, logits: Tensor) -> Tensor:
        """Ask the function for each row's tokens and set all others to -inf; reads the history on the host."""
        history = self.buffer[:, : self.length]
        return _allow(logits, history, self.allowed, self.items.tolist(), self.num_beams)

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to each row, [N]; the buffer grows by half when it is full."""
        if self.length == self.buffer.shape[1]:
            # Half as much again, so that appending costs a constant in the long run.
            room = torch.empty_like(self.buffer[:, :1]).expand(-1, self.length // 2 + 16)
            self.buffer = torch.cat([self.buffer, room], dim=1)
        self.buffer[:, self.length] = token_ids
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.buffer = self.buffer[rows]
        # Numbers of the host, for the function takes Python's.
        self.items = self.items[rows.cpu()]


def _allow(logits: Tensor, token_ids: Tensor, allowed: PrefixAllowed, items: list[int], num_beams: int) -> Tensor:
    """The logits where each row keeps what ``allowed`` lists for its batch item, of ``items``, and -inf elsewhere.

    Where every beam of an item is left with -inf alone, what is listed becomes 0.
    """
    lists = _listed(token_ids, allowed, items)
    masked = torch.full_like(logits, -math.inf)
    usual = bool((logits.amax(dim=-1) < math.inf).all())
    if not usual:
        masked += logits  # a sum with -inf leaves a NaN what it is and makes one of +inf
    for row, tokens in enumerate(lists):
        try:
            masked[row, tokens] = logits[row, tokens]
        except IndexError as error:
            text = f"prefix_allowed_tokens_fn must return ids in [0, {logits.shape[1]}); got {tokens} in row {row}"
            raise ValueError(text) from error
    kept = [masked[row, tokens] if usual else masked[row] for row, tokens in enumerate(lists)]
    stuck = [bool(values.amax() == -math.inf) for values in kept]
    # Beams of an item stand or fall together: one that still has a token carries the item.
    for first in range(0, len(lists), num_beams):
        if all(stuck[first : first + num_beams]):
            for row in range(first, first + num_beams):
                masked[row].fill_(-math.inf)[lists[row]] = 0.0
    return masked


def _listed(token_ids: Tensor, allowed: PrefixAllowed, items: list[int]) -> list[Sequence[int]]:
    """The function's answer for each row, checked to be lists of at least one token."""
    lists = [allowed(item, token_ids[row]) for row, item in enumerate(items)]
    for row, tokens in enumerate(lists):
        if not hasattr(tokens, "__len__"):
            kind = type(tokens).__name__
            raise TypeError(f"prefix_allowed_tokens_fn must return a list of token ids; got {kind} in row {row}")
    for item, tokens in zip(items, lists, strict=True):
        if len(tokens) == 0:
            raise ValueError(f"prefix_allowed_tokens_fn must return at least one token; got none for batch item {item}")
    return lists
