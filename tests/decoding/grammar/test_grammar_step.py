"""A grammar a row through a loop: a toy matcher that counts, against the tokens it allows one at a time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding.grammar.grammar_step import GrammarStep, go_on_together
from afterlogits.decoding.grammar.token_history import NothingKnown, TokenHistory

VOCAB, END = 40, 39


class Ladder(NothingKnown):
    """Allows a token up to ``step`` above the last one, and the end from 30 on."""

    quick = True

    def __init__(self, step: int, tokens: Sequence[int] = ()) -> None:
        self.step, self.tokens = step, list(tokens)

    @property
    def ended(self) -> bool:
        return bool(self.tokens) and self.tokens[-1] == END

    def allowed(self) -> set[int]:
        last = self.tokens[-1] if self.tokens else 0
        return {*range(last, min(last + self.step, END - 1) + 1), *([END] if last >= 30 else [])}

    def fill(self, bitmask: Tensor, row: int) -> None:
        words = [sum(1 << (t - 32 * w) for t in self.allowed() if 32 * w <= t < 32 * w + 32) for w in range(2)]
        bitmask[row] = torch.tensor(words, dtype=torch.int64).to(torch.int32)

    def allows(self, token_id: int) -> bool:
        return token_id in self.allowed()

    def accept(self, token_id: int) -> bool:
        if not self.allows(token_id):
            return False
        self.tokens.append(token_id)
        return True

    def rollback(self, count: int) -> None:
        del self.tokens[len(self.tokens) - count :]

    def fork(self) -> Ladder:
        return Ladder(self.step, self.tokens)

    def forced(self) -> Sequence[int]:
        return sorted(self.allowed()) if len(self.allowed()) == 1 else []


def kept(logits: Tensor) -> list[set[int]]:
    return [set((row > -torch.inf).nonzero().flatten().tolist()) for row in logits]


def test_a_row_keeps_to_its_own_grammar_and_a_free_row_to_none() -> None:
    """From 0: the first row climbs by one, the second by three, the third by anything."""
    step = GrammarStep([Ladder(1), Ladder(3), None], VOCAB)
    assert kept(step.apply(torch.zeros(3, VOCAB))) == [{0, 1}, {0, 1, 2, 3}, set(range(VOCAB))]
    step.advance(torch.tensor([1, 3, 17]))
    assert kept(step.apply(torch.zeros(3, VOCAB)))[:2] == [{1, 2}, {3, 4, 5, 6}]


def test_after_its_end_a_row_is_left_alone() -> None:
    """What follows is padding."""
    step = GrammarStep([Ladder(40)], VOCAB)
    step.apply(torch.zeros(1, VOCAB))
    for token in (33, END, 0, 7):
        step.advance(torch.tensor([token]))
    assert kept(step.apply(torch.zeros(1, VOCAB))) == [set(range(VOCAB))]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_rows_that_part_join_and_leave(seed: int) -> None:
    """Drawn tokens and selections, repeated rows among them: each row allows what its own tokens allow."""
    rng = random.Random(seed)
    oracle = [rng.choice([None, Ladder(rng.randint(1, 9))]) for _ in range(rng.randint(1, 4))]
    step = GrammarStep([None if one is None else one.fork() for one in oracle], VOCAB)
    step.together = rng.random() < 0.5
    for _ in range(12):
        dtype = rng.choice([torch.float32, torch.float64])
        found = kept(step.apply(torch.zeros(len(oracle), VOCAB, dtype=dtype)))
        free = set(range(VOCAB))
        assert found == [free if one is None or one.ended else one.allowed() for one in oracle]
        if rng.random() < 0.4:  # as beams do, before they advance
            rows = [rng.randrange(len(oracle)) for _ in range(rng.randint(1, 5))]
            step.select_rows(torch.tensor(rows))
            oracle = [None if (one := oracle[row]) is None else one.fork() for row in rows]
            found = [found[row] for row in rows]
        tokens = [rng.choice(sorted(allowed)) for allowed in found]
        step.advance(torch.tensor(tokens))
        if rng.random() < 0.5:
            go_on_together([step])
        for one, token in zip(oracle, tokens, strict=True):
            if one is not None and not one.ended:
                assert one.accept(token)
        if rng.random() < 0.4:
            rows = [rng.randrange(len(oracle)) for _ in range(rng.randint(1, 5))]
            step.select_rows(torch.tensor(rows))
            oracle = [None if (one := oracle[row]) is None else one.fork() for row in rows]


def test_a_history_goes_to_any_tokens() -> None:
    """Guessed tokens are taken back, others accepted; a token that is not allowed leaves the row free until it is."""
    history = TokenHistory(Ladder(2))
    history.go_to([1, 3, 5])
    history.go_to([1, 3, 4, 6])
    assert history.tokens == [1, 3, 4, 6]
    history.go_to([1, 9])
    assert not history.constrains
    history.go_to([1, 2])
    assert history.constrains
    assert history.tokens == [1, 2]


def test_tokens_that_are_certain() -> None:
    """A ladder of no height goes nowhere."""
    step = GrammarStep([Ladder(0), Ladder(1), None], VOCAB)
    assert step.forced() == [[0], [], ()]


FORKED = """
import os, signal, torch
from afterlogits.decoding.grammar.grammar_step import GrammarStep, go_on_together
from tests.decoding.grammar.test_grammar_step import VOCAB, Ladder

def masked():
    step = GrammarStep([Ladder(2)], VOCAB)
    step.begin()
    return step.apply(torch.zeros(1, VOCAB)).isfinite().sum().item()

assert masked() == 3
child = os.fork()
if child == 0:
    signal.alarm(20)  # a thread that the fork left behind would be waited for for ever
    os._exit(0 if masked() == 3 else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_has_a_thread_of_its_own() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=120)
