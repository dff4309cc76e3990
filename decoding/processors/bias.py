"""Additive bias: of single tokens, of sequences that the next token would complete, and of words that are banned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..options.token_ids import TokenList, check_token_ids, token_id, token_list
from ..options.validation import check_logits
from .bias_table import Biases, SequenceBias, SequenceBiasTable, bias_of

TokenBias = Mapping[int, float] | Sequence[Mapping[int, float]] | Tensor
BadWords = Sequence[Sequence[int]] | Sequence[Sequence[Sequence[int]]]


def apply_logit_bias(logits: Tensor, bias: TokenBias) -> Tensor:
    """Add a bias to chosen tokens.

    logits: [B, V]. bias: {token: bias}, one such mapping per row, or a tensor [V] or [B, V]. Tokens outside the
    vocabulary raise ValueError. A bias of -inf bans its token; those of a mapping are read as float32.
    Cost: one copy of the logits and the listed columns; a pass over [B, V] for a tensor.
    Source: OpenAI's `logit_bias`, as in vLLM and llama.cpp (`llama_sampler_init_logit_bias`).
    >>> apply_logit_bias(torch.zeros(1, 3), {2: 1.5})
    tensor([[0.0000, 0.0000, 1.5000]])
    """
    check_logits(logits)
    if isinstance(bias, Tensor):
        if bias.shape not in (logits.shape, logits.shape[1:]):
            raise ValueError(
                f"bias must have shape {list(logits.shape[1:])} or {list(logits.shape)}; got {list(bias.shape)}"
            )
        # Added in the logits' type, so that a dense bias rounds as a listed one does.
        return logits + bias.to(device=logits.device, dtype=logits.dtype)
    table = SequenceBiasTable(_single_tokens(bias, "bias"), *logits.shape, device=logits.device, name="bias")
    return table.add_(logits.clone(), _no_history(logits.device))


def apply_sequence_bias(logits: Tensor, token_ids: Tensor, sequence_bias: SequenceBias) -> Tensor:
    """Add a bias to the last token of each listed sequence whose other tokens end the history.

    logits: [B, V]. token_ids: [B, T]. sequence_bias: {(tokens): bias}, transformers' list form, or one mapping per
    row. A sequence of one token is always biased; one whose prefix is longer than the history never is; biases that
    meet on one token add up, in the type of the logits and in the order transformers 5.23 adds them: single tokens,
    then the sequences grouped by length in order of first appearance.
    Raises ValueError for an empty sequence or a token outside the vocabulary.
    Cost: one copy of the logits, a comparison of the listed tokens with the end of each row, D columns rewritten.
    Source: transformers 5.23 `SequenceBiasLogitsProcessor`.
    >>> apply_sequence_bias(torch.zeros(1, 3), torch.tensor([[0, 1]]), {(1, 2): -2.0, (0,): 1.0})
    tensor([[ 1.,  0., -2.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    table = SequenceBiasTable(sequence_bias, *logits.shape, device=logits.device)
    return table.add_(logits.clone(), token_ids)


def apply_bad_words(
    logits: Tensor, token_ids: Tensor, bad_words_ids: BadWords, *, eos_token_id: TokenList | None = None
) -> Tensor:
    """Set to -inf every token that would complete one of the listed sequences.

    bad_words_ids: a list of token sequences, or one such list per row. A sequence that is a single EOS token is left
    out, so that a generation can end. A list that is empty, or empty once EOS is left out, bans nothing (transformers
    raises a ValueError). A logit of +inf becomes NaN, as in transformers: the ban is a bias of -inf.
    logits: [B, V]. token_ids: [B, T].
    Cost: as for `apply_sequence_bias`. Source: transformers 5.23 `NoBadWordsLogitsProcessor`.
    >>> apply_bad_words(torch.zeros(1, 3), torch.tensor([[0, 1]]), [[1, 2], [0]])
    tensor([[-inf, 0., -inf]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    table = SequenceBiasTable(
        bad_words_bias(bad_words_ids, eos_token_id), *logits.shape, device=logits.device, name="bad_words_ids"
    )
    return table.add_(logits.clone(), token_ids)


class SequenceBiasStep:
    """`apply_sequence_bias` as a step of a loop. Holds the last tokens of each row, as many as the longest prefix."""

    _name = "sequence_bias"

    def __init__(self, token_ids: Tensor, sequence_bias: SequenceBias, *, vocab_size: int) -> None:
        check_token_ids(token_ids)
        rows, device = token_ids.shape[0], token_ids.device
        self.table = SequenceBiasTable(sequence_bias, rows, vocab_size, device=device, name=self._name)
        self.recent = self._last(token_ids)

    def apply(self, logits: Tensor) -> Tensor:
        """Add the biases of the sequences that a token would complete, in place: logits [N, V], returned."""
        return self.table.add_(logits, self.recent)

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that each row was given, [N]; as many are kept as the longest sequence has before its last."""
        # Single tokens alone need no history.
        if self.table.context_length:
            self.recent = self._last(torch.cat([self.recent, token_ids.reshape(-1, 1).to(self.recent.dtype)], dim=1))

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.recent = self.recent[rows]
        self.table.select_rows(rows)

    def _last(self, token_ids: Tensor) -> Tensor:
        return token_ids[:, max(token_ids.shape[1] - self.table.context_length, 0) :]


class BadWordsStep(SequenceBiasStep):
    """`apply_bad_words` as a step of a loop."""

    _name = "bad_words_ids"

    def __init__(
        self, token_ids: Tensor, bad_words_ids: BadWords, *, vocab_size: int, eos_token_id: TokenList | None = None
    ) -> None:
        super().__init__(token_ids, bad_words_bias(bad_words_ids, eos_token_id), vocab_size=vocab_size)


class LogitBiasStep:
    """`apply_logit_bias` as a step of a loop; nothing to advance."""

    def __init__(
        self,
        bias: TokenBias,
        *,
        batch_size: int,
        vocab_size: int,
        device: torch.device | str = "cpu",
        name: str = "bias",
    ) -> None:
        self.dense: Tensor | None = None
        if isinstance(bias, Tensor):
            if bias.shape not in ((batch_size, vocab_size), (vocab_size,)):
                raise ValueError(
                    f"{name} must have shape {[vocab_size]} or {[batch_size, vocab_size]}; got {list(bias.shape)}"
                )
            self.dense = bias.to(device)
            return
        self.table = SequenceBiasTable(_single_tokens(bias, name), batch_size, vocab_size, device=device, name=name)
        self.history = _no_history(device)

    def apply(self, logits: Tensor) -> Tensor:
        """Add the biases in place, as one dense row or token by token: logits [N, V], returned."""
        if self.dense is not None:
            return logits.add_(self.dense.to(logits.dtype))
        return self.table.add_(logits, self.history)

    def advance(self, token_ids: Tensor) -> None:
        """A logit bias does not depend on the history."""

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        if self.dense is None:
            self.table.select_rows(rows)
        elif self.dense.dim() == 2:
            self.dense = self.dense[rows]


def bad_words_bias(bad_words_ids: BadWords, eos_token_id: TokenList | None) -> SequenceBias:
    """Bad words as a sequence bias of -inf, single EOS tokens left out."""
    eos = _end_tokens(eos_token_id)
    if not _is_list(bad_words_ids):
        raise TypeError(f"bad_words_ids must be a list of lists of token ids; got {bad_words_ids!r}")
    nested = any(map(_holds_lists, bad_words_ids))
    rows: Sequence[Any] = bad_words_ids if nested else [bad_words_ids]
    for word in (word for row in rows for word in row):
        _check_word(word)
    # A ban is a bias of -inf, as in transformers: +inf and it make NaN, which a fill would hide.
    mappings = [{tuple(word): -math.inf for word in row if not (len(word) == 1 and word[0] in eos)} for row in rows]
    return mappings if nested else mappings[0]


def _end_tokens(eos_token_id: TokenList | None) -> set[int]:
    """Every token that ends some row."""
    name = "eos_token_id"
    ends = token_list([] if eos_token_id is None else eos_token_id, name)
    return {token_id(token, name) for row in ends for token in token_list(row, name)}


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _holds_lists(words: Any) -> bool:
    return isinstance(words, Sequence) and any(isinstance(word, Sequence) for word in words)


def _check_word(word: Any) -> None:
    if not _is_list(word):
        raise TypeError(f"bad_words_ids must be a list of lists of token ids; got {word!r} in it")
    for token in word:
        token_id(token, "bad_words_ids")


def _single_tokens(bias: Mapping[int, float] | Sequence[Mapping[int, float]], name: str) -> SequenceBias:
    rows = [bias] if isinstance(bias, Mapping) else bias
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(f"{name} must be {{token: bias}}, one such mapping per row, or a tensor; got {bias!r}")
    read: list[Biases] = [
        {(token_id(token, name),): bias_of(value, name) for token, value in row.items()} for row in rows
    ]
    return read[0] if isinstance(bias, Mapping) else read


def _no_history(device: torch.device | str) -> Tensor:
    return torch.zeros((1, 0), dtype=torch.int64, device=device)
