"""Biases of sequences as tensors: which of them the end of the history could complete, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..options.numpy_or_torch import sent
from ..options.token_ids import token_id
from ..options.validation import as_option
from ..triton_kernels.penalise import penalise, takes

Biases: TypeAlias = Mapping[tuple[int, ...], float]
# A mapping, the form generation configs are saved in, [[[10, 45], -2.0], [[64], -7.5]], or one mapping per row.
SequenceBias: TypeAlias = Biases | Sequence[Sequence[Any]] | Sequence[Biases]

_Term: TypeAlias = tuple[tuple[int, ...], float]


class SequenceBiasTable:
    """Sequences and their biases, matched against the end of the history all at once.

    Rows with equal mappings share one of the M lists of terms. Only the D columns of tokens that end some sequence of
    a row's mapping are read and written, never [B, V]. A column adds its biases one after the other, in the order of
    the row's own mapping: a row rounds the same whatever its neighbours' mappings are.
    """

    def __init__(
        self,
        sequence_bias: SequenceBias,
        batch_size: int,
        vocab_size: int,
        *,
        device: torch.device | str = "cpu",
        name: str = "sequence_bias",
    ) -> None:
        rows = _read_rows(sequence_bias, batch_size, name)
        _check_tokens(rows, vocab_size, name)
        keys = [tuple(row.items()) for row in rows]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        # The list of terms of each row, [B]; None where all rows share one.
        self._of_row = torch.tensor([number[key] for key in keys], device=device) if len(number) > 1 else None
        lists = [_in_order(key) for key in number]
        places = self._place(lists, device)
        self._stack(lists, places, device)

    def _place(self, lists: list[list[_Term]], device: torch.device | str) -> list[dict[tuple[int, ...], int]]:
        """Lay the terms out by length: prefixes [M, E, L] for every length, values [M, S], and where each term is."""
        self._prefixes: list[Tensor] = []
        values: list[list[float]] = [[] for _ in lists]
        places: list[dict[tuple[int, ...], int]] = [{} for _ in lists]
        for length in sorted({len(sequence) for terms in lists for sequence, _ in terms}):
            groups = [[term for term in terms if len(term[0]) == length] for terms in lists]
            start, width = len(values[0]), max(map(len, groups))
            for group, value, place in zip(groups, values, places, strict=True):
                value += [bias for _, bias in group] + [0.0] * (width - len(group))
                place.update((sequence, start + i) for i, (sequence, _) in enumerate(group))
            self._prefixes.append(_prefixes(groups, width, length, device))
        self._values = torch.tensor(values, dtype=torch.float32, device=device).reshape(len(lists), -1)
        self.context_length = max((prefixes.shape[2] for prefixes in self._prefixes), default=0)
        return places

    def _stack(
        self, lists: list[list[_Term]], places: list[dict[tuple[int, ...], int]], device: torch.device | str
    ) -> None:
        """The columns [M, D] and, for each, the places of its terms in their order: [R, M, D]."""
        nowhere = self._values.shape[1]  # the place of a term that adds 0
        stacks: list[dict[int, list[int]]] = []
        for terms, place in zip(lists, places, strict=True):
            stack: dict[int, list[int]] = {}
            for sequence, _ in terms:
                stack.setdefault(sequence[-1], []).append(place[sequence])
            stacks.append(stack)
        width = max(map(len, stacks))
        rounds = max((len(column) for stack in stacks for column in stack.values()), default=0)
        columns, order = [], []
        for stack in stacks:
            entries = list(stack.items()) or [(0, [])]
            # Spare slots repeat the first one, so that writing a column twice writes the same value.
            entries += entries[:1] * (width - len(entries))
            columns.append([column for column, _ in entries])
            order.append([terms + [nowhere] * (rounds - len(terms)) for _, terms in entries])
        self.columns = torch.tensor(columns, dtype=torch.int64, device=device)
        # [M], columns that are no spares; and what the kernel is given for so many rows of a type.
        self._lengths = sent(torch.tensor([len(stack) for stack in stacks], device="cpu"), torch.device(device))
        self._laid_out: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor, Tensor]] = {}
        self._order = torch.tensor(order, dtype=torch.int64, device=device).reshape(*self.columns.shape, rounds)
        self._order = self._order.permute(2, 0, 1).contiguous()

    def add_(self, logits: Tensor, token_ids: Tensor) -> Tensor:
        """Add the biases of the sequences that `token_ids` [B, T] could complete, in place."""
        if self._order.shape[0] == 0:
            return logits
        if takes(logits):
            return self._by_kernel(logits, token_ids)
        total, columns = self._totals(token_ids, logits)
        return logits.scatter_(1, columns, logits.gather(1, columns) + total)

    def _by_kernel(self, logits: Tensor, token_ids: Tensor) -> Tensor:
        """The same in one launch; columns, and what single tokens add to them, are laid out once for the rows."""
        key = (logits.shape[0], logits.dtype)
        if key not in self._laid_out:
            total, columns = self._totals(token_ids, logits)
            used = self._lengths if self._of_row is None else self._lengths[self._of_row]
            self._laid_out = {key: (total.float(), columns.contiguous(), used.expand(key[0]).contiguous())}
            return penalise(logits, *self._laid_out[key][1:], bias=self._laid_out[key][0])
        total, columns, used = self._laid_out[key]
        if self.context_length:
            total = self._totals(token_ids, logits)[0].float()
        return penalise(logits, columns, used, bias=total)

    def _totals(self, token_ids: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to each column, in the type of the logits, and the columns: [B, D] each."""
        rows = logits.shape[0]
        values, order, columns = self._values, self._order, self.columns
        if self._of_row is not None:
            values, order, columns = values[self._of_row], order[:, self._of_row], columns[self._of_row]
        added = torch.where(self._matches(token_ids, rows), values, 0.0).to(logits.dtype)  # [B, S]
        added = torch.cat([added, added.new_zeros((rows, 1))], dim=1)
        total = torch.zeros((rows, columns.shape[1]), dtype=logits.dtype, device=logits.device)
        for places in order:
            total += added.gather(1, places.expand(rows, -1))
        return total, columns.expand(rows, -1)

    def _matches(self, token_ids: Tensor, rows: int) -> Tensor:
        """[B, S]: which sequences the history is about to complete."""
        matches = []
        length = token_ids.shape[1]
        for prefixes in self._prefixes:
            context = prefixes.shape[2]
            if context > length:
                matches.append(torch.zeros((rows, prefixes.shape[1]), dtype=torch.bool, device=prefixes.device))
                continue
            ending = token_ids[:, length - context :].to(prefixes.device)
            of_rows = prefixes if self._of_row is None else prefixes[self._of_row]
            matches.append((ending[:, None, :] == of_rows).all(dim=-1).expand(rows, -1))
        return torch.cat(matches, dim=1)

    def select_rows(self, rows: Tensor) -> None:
        """Keep these rows, which may repeat or change order."""
        self._laid_out = {}
        if self._of_row is not None:
            self._of_row = self._of_row[rows]


def _read_rows(sequence_bias: SequenceBias, batch_size: int, name: str) -> list[dict[tuple[int, ...], float]]:
    """The mapping of each row, or the one of all."""
    if not isinstance(sequence_bias, Mapping | Sequence) or isinstance(sequence_bias, str | bytes):
        raise TypeError(f"{name} must be a mapping, or one per row; got {sequence_bias!r}")
    if isinstance(sequence_bias, Mapping) or not any(isinstance(entry, Mapping) for entry in sequence_bias):
        return [_as_mapping(sequence_bias, name)]
    rows = [_as_mapping(entry, name) for entry in sequence_bias]
    if len(rows) != batch_size:
        raise ValueError(f"{name} must be one mapping, or one per row, {batch_size}; got {len(rows)}")
    return rows


def _prefixes(groups: list[list[_Term]], width: int, length: int, device: torch.device | str) -> Tensor:
    """All but the last token of the sequences of one length, [M, E, length - 1]; zeros behind the end of a group."""
    filler = [(0,) * (length - 1)]
    table = [[sequence[:-1] for sequence, _ in group] + filler * (width - len(group)) for group in groups]
    return torch.tensor(table, dtype=torch.int64, device=device).reshape(len(groups), width, length - 1)


def _in_order(terms: Sequence[_Term]) -> list[_Term]:
    """The order transformers 5.23 adds in: single tokens, then by length in order of first appearance."""
    rank: dict[int, int] = {1: 0}
    for sequence, _ in terms:
        rank.setdefault(len(sequence), len(rank))
    return sorted(terms, key=lambda term: rank[len(term[0])])


def _as_mapping(entry: Any, name: str) -> dict[tuple[int, ...], float]:
    try:
        pairs = [(tuple(sequence), bias) for sequence, bias in (entry.items() if isinstance(entry, Mapping) else entry)]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must map sequences of token ids to numbers; got {entry!r}") from error
    return {tuple(token_id(token, name) for token in sequence): bias_of(bias, name) for sequence, bias in pairs}


def bias_of(value: Any, name: str) -> float:
    """``value`` as a float, if it is a number other than NaN."""
    number = as_option(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
        raise TypeError(f"{name} must hold numbers as biases; got {value!r}")
    return float(number)


def _check_tokens(rows: Sequence[Biases], vocab_size: int, name: str) -> None:
    for row, mapping in enumerate(rows):
        place = f" in row {row}" if len(rows) > 1 else ""
        for sequence in mapping:
            if not sequence:
                raise ValueError(f"{name} must hold sequences of at least one token; got an empty one{place}")
            for token in sequence:
                if not 0 <= token < vocab_size:
                    raise ValueError(f"{name} must hold token ids in [0, {vocab_size}); got {token}{place}")
