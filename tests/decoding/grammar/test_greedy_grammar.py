"""Greedy choice inside grammars without masks: the token of the mask and an argmax after it, for every row."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding.grammar.bitmask import allowed, few_allowed
from afterlogits.decoding.grammar.grammar_step import go_on_together
from afterlogits.decoding.grammar.greedy_grammar import GreedyGrammar
from afterlogits.decoding.grammar.known_masks import KnownMask


@cache
def drawn_tokens(vocab: int, seed: int, tokens: tuple[int, ...]) -> tuple[list[int], frozenset[int]]:
    """What is forced, and what is allowed, after ``tokens``."""
    rng = random.Random(f"{seed} {tokens}")
    if rng.random() < 0.3:
        forced = [rng.randrange(vocab - 1), 0]
        return forced, frozenset(forced[:1])
    share = rng.choice([0.0, 0.002, 0.05, 0.3, 0.9, 1.0])
    return [], frozenset(token for token in range(vocab) if rng.random() < share)


class Drawn:
    """Allows a set drawn anew after every token: one forced token, few, most or all; ends by the last token.

    Where nothing is forced the mask of some places is known.
    """

    learns = False

    def __init__(self, vocab: int, seed: int, quick: bool, tokens: Sequence[int] = ()) -> None:
        self.vocab, self.seed, self.quick, self.tokens = vocab, seed, quick, list(tokens)

    def known(self) -> KnownMask | None:
        if self.forced() or random.Random(f"known {self.seed} {self.tokens}").random() < 0.4:
            return None
        bitmask = torch.zeros((1, (self.vocab + 31) // 32), dtype=torch.int32)
        self.fill(bitmask, 0)
        return KnownMask(bitmask[0].numpy(), self.vocab)

    @property
    def ended(self) -> bool:
        return self.vocab - 1 in self.tokens

    def forced(self) -> Sequence[int]:
        return drawn_tokens(self.vocab, self.seed, tuple(self.tokens))[0]

    def allowed(self) -> frozenset[int]:
        return drawn_tokens(self.vocab, self.seed, tuple(self.tokens))[1]

    def fill(self, bitmask: Tensor, row: int) -> None:
        bits = torch.ones(bitmask.shape[1] * 32, dtype=torch.int64)  # those past the vocabulary are 1
        bits[: self.vocab] = 0
        bits[list(self.allowed())] = 1
        bitmask[row] = (bits.view(-1, 32) << torch.arange(32)).sum(1).to(torch.int32)

    def allows(self, token_id: int) -> bool:
        assert not self.forced()
        return token_id in self.allowed()

    def accept(self, token_id: int) -> bool:
        if token_id not in self.allowed():
            return False
        self.tokens.append(token_id)
        return True

    def rollback(self, count: int) -> None:
        del self.tokens[len(self.tokens) - count :]

    def fork(self) -> Drawn:
        return Drawn(self.vocab, self.seed, self.quick, self.tokens)


def drawn_logits(rng: random.Random, rows: int, vocab: int) -> Tensor:
    """Normal, with many equals, or with infinite ones and NaN here and there."""
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(rng.randrange(2**32)))
    kind = rng.random()
    if kind < 0.3:
        logits = (logits * 3).round()
    elif kind < 0.5:
        for special in (math.inf, -math.inf, math.nan):
            for _ in range(rng.choice([1, vocab // 2])):
                logits[rng.randrange(rows), rng.randrange(vocab)] = special
    return logits


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_equals_a_mask_and_an_argmax(seed: int) -> None:
    """Free rows, quick matchers and others, rows that part before they advance and after, every set and logits."""
    rng = random.Random(seed)
    vocab = rng.choice([3, 33, 500, 700, 2**14 + 5])
    rows = rng.randint(1, 4)
    oracle = [rng.choice([None, Drawn(vocab, rng.randrange(99), rng.random() < 0.7)]) for _ in range(rows)]
    greedy = GreedyGrammar([None if one is None else one.fork() for one in oracle], vocab)
    greedy.at_once, greedy.together = rng.random() < 0.5, rng.random() < 0.5
    if rng.random() < 0.5:
        greedy.begin()

    def part() -> Tensor:
        nonlocal oracle
        chosen = [rng.randrange(len(oracle)) for _ in range(rng.randint(1, 4))]
        greedy.select_rows(torch.tensor(chosen))
        oracle = [None if (one := oracle[row]) is None else one.fork() for row in chosen]
        return torch.tensor(chosen)

    for _ in range(6 if vocab < 2**14 else 3):
        logits = drawn_logits(rng, len(oracle), vocab)
        expected = logits.clone()
        for row, one in enumerate(oracle):
            if one is not None and not one.ended:
                kept = torch.zeros(vocab, dtype=torch.bool)
                kept[list(one.allowed())] = True
                expected[row, ~kept] = -math.inf
        shown = logits.double() if rng.random() < 0.1 else logits
        tokens = greedy.choose(shown)
        assert tokens.tolist() == expected.argmax(1).tolist()
        if rng.random() < 0.3:  # as beams do
            tokens = tokens[part()]
        greedy.advance(tokens)
        if rng.random() < 0.5:
            go_on_together([greedy])
        for row, one in enumerate(oracle):
            # Where nothing is allowed the token is 0, which is not allowed either: from then on the row is free.
            if one is not None and not one.ended and not one.accept(int(tokens[row])):
                oracle[row] = None
        if rng.random() < 0.3:
            part()


def test_rows_that_keep_to_the_largest_logits_need_no_mask() -> None:
    """The first step makes a mask; after a token from the top of the list the matcher is asked, and no mask is made."""
    halves = [Half(0), Half(0)]
    greedy = GreedyGrammar(halves, 1000)
    for step in range(5):
        logits = torch.randn(2, 1000, generator=torch.Generator().manual_seed(step))
        expected = logits[:, ::2].argmax(1) * 2
        tokens = greedy.choose(logits)
        assert tokens.tolist() == expected.tolist()
        greedy.advance(tokens)
        assert [half.filled for half in halves] == [1, 1]


class Half(Drawn):
    """Allows even tokens."""

    def __init__(self, seed: int, tokens: Sequence[int] = ()) -> None:
        super().__init__(1000, seed, True, tokens)
        self.filled = 0

    def fill(self, bitmask: Tensor, row: int) -> None:
        self.filled += 1
        super().fill(bitmask, row)

    def known(self) -> KnownMask | None:
        return None

    def forced(self) -> Sequence[int]:
        return []

    def allowed(self) -> frozenset[int]:
        return frozenset(range(0, 1000, 2))


@pytest.mark.parametrize("tokens", [[], [0], [31, 32, 39], [1, 38]])
def test_few_allowed_tokens_are_listed(tokens: list[int]) -> None:
    """In 40 tokens and in words of many more; those past the vocabulary are left out."""
    bits = torch.zeros(64, dtype=torch.int64)
    bits[[*tokens, 40, 63]] = 1
    words = (bits.view(2, 32) << torch.arange(32)).sum(1).to(torch.int32).numpy()
    assert allowed(words, torch.arange(40).numpy()).nonzero()[0].tolist() == tokens
    wide = torch.zeros(64, dtype=torch.int32).numpy()
    wide[:2] = words
    found = few_allowed(wide, 40)
    assert found is not None
    assert found.tolist() == tokens
    assert few_allowed(torch.full((64,), 1, dtype=torch.int32).numpy(), 40) is None
