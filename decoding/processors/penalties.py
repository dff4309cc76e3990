"""Penalties on tokens already produced: repetition, encoder repetition, presence, frequency.

Each comes as a function of the whole history and as a step of a generation loop. The step keeps the different tokens
of every row (`SeenTokens`) and touches only those logits, so that its cost follows the number of different tokens a
row holds, never the length of its history and never the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..options.per_row import expand_rows, row_column, row_count, row_option, select_option
from ..options.token_ids import check_token_ids
from ..options.validation import FINITE, POSITIVE, RowOption, check_logits
from ..triton_kernels.penalise import penalise, penalise_seen, takes
from .token_counts import SeenSet, SeenTokens, count_tokens

# Logits at a time: torch gives a second thread to more than 32,768, and their cache lines stay in a cache of 1 MB.
_PIECE = 36_000


def apply_repetition_penalty(
    logits: Tensor, token_ids: Tensor, penalty: RowOption, *, ignore_length: RowOption = 0
) -> Tensor:
    """Divide the positive logits of tokens already present by ``penalty`` and multiply the negative ones.

    logits: [B, V] float. token_ids: [B, T] the history, prompt included. penalty: > 0, float or [B]; 1.0 is off.
    ignore_length: int or [B], the leading positions that do not count. transformers 5.23 passes the length of the left
    padding here; 4.57 passes nothing, and its pad tokens are penalised.
    Returns [B, V]. A token counts once however often it occurs; ids of V and above count for nothing.
    NaN stays NaN, -inf stays -inf, an empty history changes nothing. Reads no device value.
    Cost: one copy of the logits and one gather and scatter of the history.
    Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1; multiplying negative logits is transformers' addition.
    >>> apply_repetition_penalty(torch.tensor([[2.0, -2.0, 3.0]]), torch.tensor([[0, 1, 0]]), 2.0)
    tensor([[ 1., -4.,  3.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    batch_size = logits.shape[0]
    option = row_option("penalty", penalty, batch_size, POSITIVE)
    ignored = row_count("ignore_length", ignore_length, batch_size).to(token_ids.device)
    return _penalise_all(logits, token_ids, option, _positions(token_ids) >= ignored.reshape(-1, 1))


def apply_encoder_repetition_penalty(logits: Tensor, encoder_token_ids: Tensor, penalty: RowOption) -> Tensor:
    """Favour tokens of the encoder's input: the repetition penalty with ``1 / penalty``, over a fixed list.

    logits: [B, V]. encoder_token_ids: [B, S], or [B / K, S] when every input has K beams. penalty: > 0, float or [B];
    above 1.0 raises the tokens of the input. Ids of V and above count for nothing (transformers raises an IndexError).
    Cost: one copy of the logits and one gather and scatter of the input.
    >>> apply_encoder_repetition_penalty(torch.tensor([[2.0, -2.0, 3.0]]), torch.tensor([[0, 1]]), 2.0)
    tensor([[ 4., -1.,  3.]])
    """
    check_logits(logits)
    check_token_ids(encoder_token_ids, name="encoder_token_ids")
    batch_size = logits.shape[0]
    token_ids = expand_rows("encoder_token_ids", encoder_token_ids, batch_size)
    option = row_option("penalty", penalty, batch_size, POSITIVE)
    # The reciprocal is taken in float64, as Python does for a number, and rounded once.
    return _penalise_all(logits, token_ids, 1.0 / option, None)


def apply_presence_penalty(
    logits: Tensor, token_ids: Tensor, penalty: RowOption, *, ignore_length: RowOption = 0
) -> Tensor:
    """Subtract ``penalty`` from every token that occurs in the history, once.

    logits: [B, V]. token_ids: [B, T]; vLLM counts generated tokens only, so pass those, or the whole sequence with
    ``ignore_length`` set to the length of the prompt. penalty: finite, float or [B]; 0.0 is off.
    Cost: one copy of the logits and one sort of the history; `CountPenaltyStep` sorts it once for a whole loop.
    Source: vLLM `SamplingParams.presence_penalty` (vllm/model_executor/layers/utils.py), after OpenAI's API.
    >>> apply_presence_penalty(torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 0]]), 0.5)
    tensor([[1.5000, 1.0000]])
    """
    return _apply_counts(logits, token_ids, penalty, ignore_length, presence=True)


def apply_frequency_penalty(
    logits: Tensor, token_ids: Tensor, penalty: RowOption, *, ignore_length: RowOption = 0
) -> Tensor:
    """Subtract ``penalty`` times its number of occurrences from every token of the history.

    Arguments as for `apply_presence_penalty`. Source: vLLM `SamplingParams.frequency_penalty`.
    logits: [B, V]. token_ids: [B, T]. Cost: as for `apply_presence_penalty`.
    >>> apply_frequency_penalty(torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 0]]), 0.5)
    tensor([[1., 1.]])
    """
    return _apply_counts(logits, token_ids, penalty, ignore_length, presence=False)


class RepetitionPenaltyStep:
    """`apply_repetition_penalty` as a step of a loop. Holds [N, U] seen tokens; `apply` writes in place."""

    def __init__(self, token_ids: Tensor, penalty: RowOption, *, vocab_size: int, ignore_length: RowOption = 0) -> None:
        check_token_ids(token_ids)
        batch_size = token_ids.shape[0]
        self.penalty = row_option("penalty", penalty, batch_size, POSITIVE, token_ids.device)
        ignored = row_count("ignore_length", ignore_length, batch_size)
        self.seen = SeenSet(token_ids, vocab_size, ignored.to(token_ids.device))
        self._lowering = _lowering(self.penalty)

    def apply(self, logits: Tensor) -> Tensor:
        """Penalise in place the tokens that each row has: logits [N, V], returned; reads those entries alone."""
        return _penalise_seen_(logits, self.seen, self.penalty, self._lowering)

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that each row was given, [N]."""
        self.seen.advance(token_ids)

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.seen.select_rows(rows)
        self.penalty = select_option(self.penalty, rows)


class EncoderRepetitionPenaltyStep:
    """`apply_encoder_repetition_penalty` as a step of a loop: the table is built once and never advances."""

    def __init__(self, encoder_token_ids: Tensor, penalty: RowOption, *, vocab_size: int, batch_size: int) -> None:
        check_token_ids(encoder_token_ids, name="encoder_token_ids")
        token_ids = expand_rows("encoder_token_ids", encoder_token_ids, batch_size)
        option = row_option("penalty", penalty, batch_size, POSITIVE, token_ids.device)
        self.penalty = 1.0 / option
        self.seen = SeenSet(token_ids, vocab_size)
        self._lowering = _lowering(self.penalty)

    def apply(self, logits: Tensor) -> Tensor:
        """Favour in place the tokens of each row's input: logits [N, V], returned; reads those entries alone."""
        return _penalise_seen_(logits, self.seen, self.penalty, self._lowering)

    def advance(self, token_ids: Tensor) -> None:
        """The encoder's input does not change."""

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.seen.select_rows(rows)
        self.penalty = select_option(self.penalty, rows)


class CountPenaltyStep:
    """`apply_frequency_penalty`, then `apply_presence_penalty`, as one step over one table of counts."""

    def __init__(
        self,
        token_ids: Tensor,
        *,
        frequency_penalty: RowOption = 0.0,
        presence_penalty: RowOption = 0.0,
        vocab_size: int,
        ignore_length: RowOption = 0,
    ) -> None:
        check_token_ids(token_ids)
        batch_size, device = token_ids.shape[0], token_ids.device
        self.frequency_penalty = row_option("frequency_penalty", frequency_penalty, batch_size, FINITE, device)
        self.presence_penalty = row_option("presence_penalty", presence_penalty, batch_size, FINITE, device)
        self._uses_frequency = bool((self.frequency_penalty != 0).any())
        self._uses_presence = bool((self.presence_penalty != 0).any())
        ignored = row_count("ignore_length", ignore_length, batch_size)
        self.seen = SeenTokens(token_ids, vocab_size, ignored.to(device))
        self._columns: tuple[Tensor, Tensor] | None = None  # both penalties as a kernel takes them, [N] float32

    def apply(self, logits: Tensor) -> Tensor:
        """Subtract both penalties in place from the tokens that each row has: logits [N, V], returned."""
        if takes(logits):
            return self._by_kernel(logits)
        ids, counts = self.seen.ids, self.seen.counts
        frequency = row_column(self.frequency_penalty, logits)
        # Every slot of a row that has seen a token holds one that was seen.
        presence = row_column(self.presence_penalty, logits)
        if self.seen.maybe_empty:
            presence = presence * (self.seen.used > 0)[:, None]
        for rows, tokens, count, often, once in _parts(ids, logits, ids, counts, frequency, presence):
            values = rows.gather(1, tokens)
            if self._uses_frequency:
                values = _subtract(values, count * often)
            if self._uses_presence:
                values = _subtract(values, once)
            rows.scatter_(1, tokens, values)
        return logits

    def _by_kernel(self, logits: Tensor) -> Tensor:
        """The same in one launch."""
        ids, counts, used = self.seen.table
        if self._columns is None:
            both = (self.frequency_penalty, self.presence_penalty)
            frequency, presence = (option.float().expand(len(ids)).contiguous() for option in both)
            self._columns = frequency, presence
        frequency, presence = self._columns
        return penalise(
            logits,
            ids,
            used,
            counts=counts,
            frequency=frequency if self._uses_frequency else None,
            presence=presence if self._uses_presence else None,
        )

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that each row was given, [N]."""
        self.seen.advance(token_ids)

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.seen.select_rows(rows)
        self.frequency_penalty = select_option(self.frequency_penalty, rows)
        self.presence_penalty = select_option(self.presence_penalty, rows)
        self._columns = None


def _positions(token_ids: Tensor) -> Tensor:
    return torch.arange(token_ids.shape[1], device=token_ids.device)


def _penalise_all(logits: Tensor, token_ids: Tensor, penalty: Tensor, counted: Tensor | None) -> Tensor:
    """Penalise every counted token of the history; positions that do not count repeat one that does."""
    out = logits.clone()
    if token_ids.shape[1] == 0:
        return out
    inside = token_ids < logits.shape[1]
    counted = inside if counted is None else inside & counted
    some = counted.to(torch.uint8).argmax(dim=1, keepdim=True)  # a position that counts, where there is one
    token_ids = torch.where(counted, token_ids, token_ids.gather(1, some)).clamp_(max=logits.shape[1] - 1).long()
    factor = _off_where_empty(row_column(penalty, logits), ~counted.any(dim=1))
    return _penalise_(out, token_ids, factor, _lowering(penalty))


def _off_where_empty(factor: Tensor, empty: Tensor) -> Tensor:
    """1.0, which changes nothing, for rows that have seen no token: their slots point at an arbitrary one."""
    return torch.where(empty[:, None], 1.0, factor)


def _penalise_seen_(logits: Tensor, seen: SeenSet, penalty: Tensor, lowering: bool | None) -> Tensor:
    """Penalise in place the tokens that each row has seen; on a device in one launch where triton's kernels run."""
    if takes(logits):
        return penalise_seen(logits, seen.ids, penalty, seen.empty if seen.maybe_empty else None)
    factor = row_column(penalty, logits)
    if seen.maybe_empty:
        factor = _off_where_empty(factor, seen.empty)
    return _penalise_(logits, seen.ids, factor, lowering)


def _lowering(penalty: Tensor) -> bool | None:
    """True if every penalty is at least 1, False if every one is at most 1, None if they are mixed."""
    if penalty.numel() == 0 or float(penalty.max()) > torch.finfo(torch.float32).max:
        return None
    if bool((penalty >= 1).all()):
        return True
    return False if bool((penalty <= 1).all()) else None


def _penalise_(logits: Tensor, token_ids: Tensor, factor: Tensor, lowering: bool | None) -> Tensor:
    """Divide positive logits of the tokens by ``factor`` and multiply negative ones, in place.

    logits: [N, V]. token_ids: [N, U], distinct in a row or equal where a slot is spare. factor: [N, 1] or [1, 1].
    lowering: whether every factor is at least 1, or none is above 1; None where rows differ.
    """
    # CUDA divides by a number through its reciprocal, and transformers divides by a number.
    inverse = factor.reciprocal() if logits.is_cuda else None
    for rows, tokens, by in _parts(token_ids, logits, token_ids, factor):
        values = rows.gather(1, tokens).to(by.dtype)  # [R, U]
        negative = values < 0 if lowering is None else None
        product = values * by
        quotient = values.div_(by) if inverse is None else values.mul_(inverse)
        # The quotient for positive logits and the product for negative ones: the smaller of the two if the factor is
        # at least 1, the larger if it is at most 1, several times faster than choosing by sign.
        if negative is not None:
            changed = torch.where(negative, product, quotient)
        else:
            changed = (torch.minimum if lowering else torch.maximum)(product, quotient)
        rows.scatter_(1, tokens, changed.to(rows.dtype))
    return logits


def _parts(token_ids: Tensor, *tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The tensors by groups of rows: on the CPU so that the logits touched stay in the cache between read and write."""
    rows, width = token_ids.shape
    if tensors[0].requires_grad:  # whose pieces may not be written into
        return [tensors]
    count = rows * width // _PIECE if token_ids.device.type == "cpu" else 1
    return zip(*(tensor.chunk(min(max(count, 1), max(rows, 1))) for tensor in tensors), strict=True)


def _subtract(values: Tensor, penalty: Tensor) -> Tensor:
    """values - penalty, rounded to the type of the logits after each penalty, as vLLM applies them; may write."""
    if values.dtype == penalty.dtype:
        return values.sub_(penalty)
    return (values.to(penalty.dtype) - penalty).to(values.dtype)


def _apply_counts(
    logits: Tensor, token_ids: Tensor, penalty: RowOption, ignore_length: RowOption, *, presence: bool
) -> Tensor:
    """Subtract ``penalty`` times how often a token stands in the history, or once for being there (``presence``)."""
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    batch_size, vocab_size = logits.shape
    option = row_option("penalty", penalty, batch_size, FINITE)
    ignored = row_count("ignore_length", ignore_length, batch_size).to(token_ids.device)
    counted = (token_ids < vocab_size) & (_positions(token_ids) >= ignored.reshape(-1, 1))
    _, ids, counts = count_tokens(token_ids, counted)
    if presence:
        counts = (counts > 0).to(counts.dtype)
    values = _subtract(logits.gather(1, ids), row_column(option, logits) * counts)
    return logits.scatter(1, ids, values)
