"""Prompt lookup: guess that what followed the last few tokens before will follow them again.

The longest n-gram counts first, then its latest earlier occurrence; a guess that reaches the end of the text goes on
from its own beginning, so that a loop of any period is guessed as long as one likes. Source: Saxena 2023 for the idea;
Ziv and Lempel 1977 for copies that overlap themselves. Greedy tokens do not depend on what is guessed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .speculative import Draft

__all__ = ["NgramMemory", "PromptLookup", "best_width", "updated_rate"]

# What one more position of one row costs in a forward pass, in passes over a single position of the batch. Measured
# 0.01 to 0.02 on two cores; less where the batch is far from filling the machine.
POSITION_COST = 0.015
# A row's share of right guesses before anything is known of it, and how fast newer guesses outweigh older ones.
FIRST_RATE, MEMORY = 0.8, 0.7


class NgramMemory:
    """One row's tokens, and for every n-gram of up to ``max_ngram_size`` tokens where it was last followed by another.

    Cost: ``max_ngram_size`` dictionary entries a token, the same number of look-ups a guess.
    >>> memory = NgramMemory(2); memory.extend([5, 6, 7, 8, 5, 6]); memory.guess(6)
    [7, 8, 5, 6, 7, 8]
    """

    def __init__(self, max_ngram_size: int):
        self.tokens: list[int] = []
        self._follows: list[dict[tuple[int, ...], int]] = [{} for _ in range(max_ngram_size)]

    def extend(self, token_ids: list[int]) -> None:
        """Append tokens. The n-grams at the very end are left out until something follows them."""
        tokens = self.tokens
        for token_id in token_ids:
            end = len(tokens)
            for size, follows in enumerate(self._follows[:end], start=1):
                follows[tuple(tokens[end - size :])] = end
            tokens.append(token_id)

    def guess(self, count: int) -> list[int]:
        """What followed the longest known n-gram at the end, ``count`` tokens; [] where there is none."""
        tokens, end = self.tokens, len(self.tokens)
        for size in range(min(len(self._follows), end), 0, -1):
            start = self._follows[size - 1].get(tuple(tokens[end - size :]))
            if start is not None:
                return [tokens[start + index % (end - start)] for index in range(count)]
        return []


def best_width(rates: list[float], available: list[int]) -> int:
    """How many guesses a row to have checked at once, so that most tokens come out for the work.

    rates: the chance that a guess of row i is right if those before it were. available: how many guesses it has. A row
    with ``w`` guesses gives ``1 + rate + ... + rate**w`` tokens; every row is as wide as the widest.
    >>> best_width([1.0], [10]), best_width([0.0], [10])
    (10, 0)
    """
    best, width = 0.0, 0
    powers, tokens = [1.0] * len(rates), float(len(rates))
    for count in range(max(available, default=0) + 1):
        if count:
            powers = [
                power * rate if count <= has else 0.0 for power, rate, has in zip(powers, rates, available, strict=True)
            ]
            tokens += sum(powers)
        value = tokens / (1 + POSITION_COST * len(rates) * count)
        if value > best:
            best, width = value, count
    return width


class PromptLookup:
    """The drafter that looks its tokens up. It has no model and no probabilities.

    num_tokens: the most guesses a row; how many there are in a round follows from how many were right so far
    (``best_width``). eos_token_id: guesses are cut before one. starts: [B] where a row's own tokens begin, for prompts
    padded on the left.
    """

    guesses_first = False  # one pass more would be spent on guesses that do not know the first token

    def __init__(
        self,
        *,
        num_tokens: int = 10,
        max_ngram_size: int = 3,
        eos_token_id: Tensor | None = None,
        starts: Tensor | None = None,
    ):
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be at least 1; got {num_tokens}")
        if max_ngram_size < 1:
            raise ValueError(f"max_ngram_size must be at least 1; got {max_ngram_size}")
        self.num_tokens = num_tokens
        self.max_ngram_size = max_ngram_size
        self.eos = frozenset() if eos_token_id is None else frozenset(eos_token_id.flatten().tolist())
        self.starts = starts
        self._rows: list[NgramMemory] | None = None
        self._read: list[int] = []  # how many of each row's tokens have been read
        self._counts: list[int] = []  # how many guesses each row was given last
        self._rates: list[float] = []

    def draft(self, token_ids: Tensor, lengths: Tensor, limit: int) -> Draft:
        """Guesses for every row, as wide as the widest of them; given the tokens on the host, it guesses there."""
        ends: list[int] = lengths.tolist()
        rows = self._catch_up(token_ids, ends)
        guesses = [self._before_eos(row.guess(min(self.num_tokens, limit))) for row in rows]
        width = best_width(self._rates, [len(guess) for guess in guesses])
        guesses = [guess[:width] for guess in guesses]
        self._counts = [len(guess) for guess in guesses]
        padded = [guess + [0] * (width - len(guess)) for guess in guesses]
        drafted = torch.tensor(padded, dtype=torch.long, device="cpu").reshape(len(rows), width)
        return Draft(drafted, torch.tensor(self._counts, device="cpu"))

    def hear(self, counts: Tensor, chances: Tensor | None) -> None:
        """It knows them."""

    def finish(self, lengths: Tensor) -> None:
        """Nothing is learnt."""

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        if self._rows is None:
            self.starts = None if self.starts is None else self.starts.cpu()[rows]
            return
        keep: list[int] = rows.tolist()
        self._rows = [self._rows[row] for row in keep]
        self._read = [self._read[row] for row in keep]
        self._counts = [self._counts[row] for row in keep]
        self._rates = [self._rates[row] for row in keep]

    def _catch_up(self, token_ids: Tensor, ends: list[int]) -> list[NgramMemory]:
        """Take in what the rows have become since the last guesses, and how many of those were right."""
        if self._rows is None:
            self._rows = [NgramMemory(self.max_ngram_size) for _ in ends]
            self._read = [0] * len(ends) if self.starts is None else self.starts.tolist()
            self._counts, self._rates = [0] * len(ends), [FIRST_RATE] * len(ends)
        else:
            accepted = [max(end - read - 1, 0) for end, read in zip(ends, self._read, strict=True)]
            self._rates = [
                updated_rate(rate, right, count)
                for rate, right, count in zip(self._rates, accepted, self._counts, strict=True)
            ]
        first = min(self._read)
        news: list[list[int]] = token_ids[:, first : max(ends)].tolist()
        for row, new, read, end in zip(self._rows, news, self._read, ends, strict=True):
            row.extend(new[read - first : end - first])
        self._read = [max(end, read) for end, read in zip(ends, self._read, strict=True)]
        return self._rows

    def _before_eos(self, guess: list[int]) -> list[int]:
        return guess[: next((place for place, token_id in enumerate(guess) if token_id in self.eos), len(guess))]


def updated_rate(rate: float, right: int, count: int) -> float:
    """The rate after ``right`` of ``count`` guesses were accepted; of the wrong ones the first counts."""
    if count == 0:
        return rate + (FIRST_RATE - rate) / 10  # a row that is not tried for long gets another chance
    tried = min(right + 1, count)
    return MEMORY**tried * rate + (1 - MEMORY**tried) * min(right, tried) / tried
