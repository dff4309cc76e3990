"""Masks that are known from before: those of an engine that makes every one anew, whatever its rows have done."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from afterlogits.decoding.grammar import known_masks
from afterlogits.decoding.grammar.known_masks import KnownMask, KnownMasks, KnownMatcher, MaskStore, TokenBytes
from afterlogits.decoding.grammar.regex_syntax import parse_regex, texts_node
from afterlogits.decoding.grammar.token_history import NothingKnown

WORDS = ["abba", "abc", "acca", "bb", "bcabca", "cccb"]
TOKENS = [None, b"a", b"b", b"c", b"ab", b"bb", b"ca", b"cab", b"abc", None]
END, VOCAB = 0, len(TOKENS)


class Words(NothingKnown):
    """Allows what one of ``WORDS`` goes on with, and the end behind one; forces a token where one byte must come and it
    is the only token."""

    quick = True

    def __init__(self, made: list[int], tokens: Sequence[int] = ()) -> None:
        self.made, self.tokens = made, list(tokens)

    @property
    def ended(self) -> bool:
        return END in self.tokens

    def text(self) -> bytes:
        return b"".join(TOKENS[token] or b"" for token in self.tokens)

    def allows(self, token_id: int) -> bool:
        text = TOKENS[token_id]
        if text is None:
            return token_id == END and self.text().decode() in WORDS
        return any(word.encode().startswith(self.text() + text) for word in WORDS)

    def fill(self, bitmask: Tensor, row: int) -> None:
        self.made[0] += 1
        bitmask[row] = sum(1 << token for token in range(VOCAB) if self.allows(token))

    def accept(self, token_id: int) -> bool:
        if self.ended or not self.allows(token_id):
            return False
        self.tokens.append(token_id)
        return True

    def rollback(self, count: int) -> None:
        del self.tokens[len(self.tokens) - count :]

    def fork(self) -> Words:
        return Words(self.made, self.tokens)

    def forced(self) -> Sequence[int]:
        found = [token for token in range(VOCAB) if self.allows(token)]
        return found if len(found) == 1 else []


def mask_of(matcher: Words | KnownMatcher) -> int:
    bitmask = torch.zeros((1, 1), dtype=torch.int32)
    matcher.fill(bitmask, 0)
    return int(bitmask)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_masks, "_AFTER", 3)


def masks() -> KnownMasks:
    return KnownMasks(texts_node(WORDS), TokenBytes(VOCAB, lambda token: TOKENS[token]))


def test_masks_are_those_of_the_engine() -> None:
    """Drawn walks of rows that fork, go back, are asked, refused and end; most masks are found and not made."""
    rng, known, compared, made, oracle_made = random.Random(0), masks(), 0, [0], [0]
    for _ in range(60):
        rows = [(KnownMatcher(Words(made), known), Words(oracle_made))]
        for _ in range(14):
            mine, theirs = rng.choice(rows)
            action = rng.random()
            if action < 0.15:
                rows.append((mine.fork(), theirs.fork()))
            elif action < 0.35 and theirs.tokens:
                count = rng.randint(1, len(theirs.tokens))
                mine.rollback(count)
                theirs.rollback(count)
            elif not theirs.ended:
                assert list(mine.forced()) == list(theirs.forced())
                assert mask_of(mine) == mask_of(theirs)
                token = rng.randrange(VOCAB)
                assert theirs.forced() or mine.allows(token) == theirs.allows(token)
                assert mine.accept(token) == theirs.accept(token)
                compared += 1
            assert mine.ended == theirs.ended
            assert mine.told().tokens == theirs.tokens if rng.random() < 0.2 else True  # type: ignore[attr-defined]
    assert compared > 300
    assert made[0] < oracle_made[0] // 2


def test_what_the_automaton_does_not_know_is_asked_of_the_engine() -> None:
    """A token that goes on, and whose bytes are not known: from there on every mask is made."""
    made = [0]
    known = KnownMasks(texts_node(WORDS), TokenBytes(VOCAB, lambda token: None if token == 4 else TOKENS[token]))
    for _ in range(3):
        matcher, oracle = KnownMatcher(Words(made), known), Words([0])
        for token in (4, 2):
            assert mask_of(matcher) == mask_of(oracle)
            assert matcher.accept(token)
            assert oracle.accept(token)
        assert mask_of(matcher) == mask_of(oracle)
    assert matcher.known() is None


def test_a_pattern_that_is_too_large_is_given_up() -> None:
    node = parse_regex("(a|b|c){30000}")
    assert node is None
    node = parse_regex("((a|b|c){10000}){3}")
    assert node is not None
    known = KnownMasks(node, TokenBytes(VOCAB, lambda token: TOKENS[token]))
    assert [known.begun() for _ in range(6)] == [False] * 6


def test_masks_that_never_come_again_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_masks, "_TRIES", 2)
    known = masks()
    for number in range(2):
        assert known.learns
        known.keep(number, np.zeros(1, dtype=np.int32))
    assert not known.learns


def test_the_store_keeps_those_used_last() -> None:
    """Room for two masks of the three; the one looked up last and the newest stay."""
    one, two, three = (KnownMask(np.array([number], dtype=np.int32), VOCAB) for number in (1, 2, 3))
    store = MaskStore(most=one.size + max(two.size, three.size))
    store.put("one", one)
    store.put("two", two)
    assert store.get("one") is one
    store.put("three", three)
    assert store.get("two") is None
    assert not two.kept
    assert store.get("one") is one
    assert store.get("three") is three


def test_a_mask_says_what_it_allows() -> None:
    """Of 64 tokens 1, 33 and 63; the last is past a vocabulary of 60."""
    mask = KnownMask(np.array([2, -(2**31) + 2], dtype=np.int32), 60)
    assert [token for token in range(60) if mask.allows(token)] == [1, 33]
    assert mask.tokens is None or mask.tokens.tolist() == [1, 33]
