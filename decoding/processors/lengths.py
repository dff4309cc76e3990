"""How long a row must become, and how its end is made likelier: minimum lengths, exponential decay of the length.

Every row of a batch has the same length, that of `token_ids` [B, T]; only the limits may differ from row to row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options.per_row import arithmetic_dtype, row_count, row_option, select_option
from ..options.token_ids import TokenList, TokenSet, check_token_ids, fill_where_, token_set, tokens_for
from ..options.validation import POSITIVE, RowOption, check_logits


def apply_min_length(
    logits: Tensor, token_ids: Tensor, min_length: RowOption, *, eos_token_id: TokenList, prompt_length: RowOption = 0
) -> Tensor:
    """Set the EOS tokens to -inf while the history is shorter than ``min_length``.

    logits: [B, V]. token_ids: [B, T]; only T is read.
    min_length: int or [B]. prompt_length: int or [B], positions that do not count: with the length of the prompt this
    is transformers' `min_new_tokens`, with 0 its `min_length`. eos_token_id: one id, a list, or one list per row.
    Cost: one copy of the logits and a write of the listed columns.
    Source: transformers 5.23 `MinLengthLogitsProcessor`.
    >>> apply_min_length(torch.zeros(1, 3), torch.tensor([[5, 6]]), 3, eos_token_id=1)
    tensor([[0., -inf, 0.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    minimum = row_count("min_length", min_length, logits.shape[0])
    prompt = row_count("prompt_length", prompt_length, logits.shape[0])
    tokens = tokens_for(logits, eos_token_id, "eos_token_id")
    return fill_where_(logits.clone(), tokens, -math.inf, token_ids.shape[1] < minimum + prompt)


def apply_min_new_tokens(
    logits: Tensor, token_ids: Tensor, min_new_tokens: RowOption, *, prompt_length: RowOption, eos_token_id: TokenList
) -> Tensor:
    """Set the EOS tokens to -inf while fewer than ``min_new_tokens`` follow the ``prompt_length`` tokens of the prompt.

    logits: [B, V]. token_ids: [B, T]; only T is read. Cost and rules: as for `apply_min_length`.
    Source: transformers 5.23 `MinNewTokensLengthLogitsProcessor`.
    >>> prompt_and_one = torch.tensor([[5, 6, 7]])
    >>> apply_min_new_tokens(torch.zeros(1, 3), prompt_and_one, 2, prompt_length=2, eos_token_id=1)
    tensor([[0., -inf, 0.]])
    """
    check_logits(logits)
    minimum = row_count("min_new_tokens", min_new_tokens, logits.shape[0])
    return apply_min_length(logits, token_ids, minimum, eos_token_id=eos_token_id, prompt_length=prompt_length)


def apply_exponential_decay(
    logits: Tensor,
    token_ids: Tensor,
    factor: RowOption,
    *,
    start: RowOption,
    eos_token_id: TokenList,
    prompt_length: RowOption = 0,
) -> Tensor:
    """Raise the EOS logits by ``abs(logit) * (factor ** n - 1)``, n tokens after ``start`` of them were generated.

    logits: [B, V]. token_ids: [B, T]; only T is read.
    factor: > 0, float or [B]; 1.0 is off. start: int or [B], new tokens before the increase begins. An EOS logit that
    is -inf, +inf or NaN is left alone, the rule of transformers 5.23. The power is taken in float64; one too large for
    it counts as infinity, where transformers raises an OverflowError.
    Cost: one copy of the logits, and one Python power per row from ``start`` on.
    Source: transformers 5.23 `ExponentialDecayLengthPenalty`.
    >>> apply_exponential_decay(torch.tensor([[1.0, -2.0]]), torch.zeros(1, 4).long(), 2.0, start=2, eos_token_id=1)
    tensor([[1., 4.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    batch_size = logits.shape[0]
    factors = row_option("factor", factor, batch_size, POSITIVE)
    begin = row_count("start", start, batch_size) + row_count("prompt_length", prompt_length, batch_size)
    tokens = tokens_for(logits, eos_token_id, "eos_token_id", outside="raise")
    increase = _increases(factors, begin, token_ids.shape[1])
    if increase is None:
        return logits.clone()
    return _raise_eos(logits.clone(), tokens, increase)


class MinLengthStep:
    """`apply_min_length` as a step of a loop; ``length`` is that of the prompt when the loop starts."""

    def __init__(
        self,
        min_length: RowOption,
        *,
        eos_token_id: TokenList,
        batch_size: int,
        vocab_size: int,
        length: int,
        prompt_length: RowOption = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.minimum = row_count("min_length", min_length, batch_size) + row_count(
            "prompt_length", prompt_length, batch_size
        )
        self.tokens = token_set(eos_token_id, "eos_token_id", batch_size, vocab_size, device=device)
        self.length = length

    def apply(self, logits: Tensor) -> Tensor:
        """Set the ends to -inf in place in rows that are too short: logits [N, V], returned."""
        return fill_where_(logits, self.tokens, -math.inf, self.length < self.minimum)

    def advance(self, token_ids: Tensor) -> None:
        """One more token in every row, whichever it is: only the length counts."""
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.tokens = self.tokens.select_rows(rows)
        self.minimum = select_option(self.minimum, rows)


class ExponentialDecayStep:
    """`apply_exponential_decay` as a step of a loop."""

    def __init__(
        self,
        factor: RowOption,
        *,
        start: RowOption,
        eos_token_id: TokenList,
        batch_size: int,
        vocab_size: int,
        length: int,
        prompt_length: RowOption = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.factor = row_option("factor", factor, batch_size, POSITIVE)
        self.begin = row_count("start", start, batch_size) + row_count("prompt_length", prompt_length, batch_size)
        self.tokens = token_set(eos_token_id, "eos_token_id", batch_size, vocab_size, outside="raise", device=device)
        self.length = length

    def apply(self, logits: Tensor) -> Tensor:
        """Raise the ends in rows that are past the start, by |logit| * (factor**steps - 1): logits [N, V], returned."""
        increase = _increases(self.factor, self.begin, self.length)
        return logits if increase is None else _raise_eos(logits, self.tokens, increase)

    def advance(self, token_ids: Tensor) -> None:
        """One more token in every row, whichever it is: only the length counts."""
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.tokens = self.tokens.select_rows(rows)
        self.factor = select_option(self.factor, rows)
        self.begin = select_option(self.begin, rows)


def _increases(factor: Tensor, begin: Tensor, length: int) -> Tensor | None:
    """``factor ** (length - begin) - 1`` per row in float64, 0 before `begin`; None where every row is before it."""
    if not bool((begin < length).any()):
        return None
    # Python's own power, row by row: torch.pow may round the last bit differently.
    shape = (factor + begin).shape
    pairs = zip(factor.expand(shape).reshape(-1).tolist(), begin.expand(shape).reshape(-1).tolist(), strict=True)
    increase = [_power(base, length - start) - 1.0 if length > start else 0.0 for base, start in pairs]
    return torch.tensor(increase, dtype=torch.float64, device="cpu")


def _power(base: float, exponent: int) -> float:
    try:
        # Python raises where C's power is infinite.
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _raise_eos(logits: Tensor, tokens: TokenSet, increase: Tensor) -> Tensor:
    """Add ``abs(logit) * increase`` to the finite logits of the tokens; `increase` is [1] or [B]."""
    increase = increase.to(device=logits.device, dtype=arithmetic_dtype(logits.dtype))
    if tokens.rows is None:
        values = logits.index_select(1, tokens.columns)
        # -inf stays -inf: |-inf| times the increase would make it NaN.
        added = (values.abs() * increase[:, None]).to(logits.dtype).masked_fill_(~values.isfinite(), 0.0)
        return logits.index_copy_(1, tokens.columns, values + added)
    values = logits[tokens.rows, tokens.columns]
    # Flat places of unlike rows, each with its own row's increase.
    scale = increase[tokens.rows] if len(increase) > 1 else increase
    added = (values.abs() * scale).to(logits.dtype).masked_fill_(~values.isfinite(), 0.0)
    return logits.index_put_((tokens.rows, tokens.columns), values + added)
