"""Masks remembered of regular expressions and choices: those that the engine itself makes at every place."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from afterlogits.adapters.generation.grammar_engines import GrammarEngine
from afterlogits.decoding.grammar import known_masks
from afterlogits.decoding.grammar.known_masks import KnownMatcher
from tests.builders.text_models import bytelevel
from tests.decoding.grammar.test_regex_automaton import drawn_pattern

PATTERNS = [
    *(
        "([a-z]{2,9} ){40}",
        r"\d{4}-\d{2}-\d{2}",
        r"( [a-z]{2,5}){3}\.",
        '"[^"\\\\]*"',
        r"(yes|no|perhaps)( .*)?",
        r"\w+ \S+",
    ),
    *("(ab)+c", "(the|them|there) (cat|cats)", ".{3,8}", "é?[a-z ]*", r"\d+(\.\d{1,3})?"),
]
CHOICES = [["yes", "no"], ["perhaps", "per cent", "person"], ["é", "ée", "naïve"], ["a" * 20, "a" * 20 + "b"]]


def mask_of(matcher: Any, vocab: int) -> bytes:
    bitmask = torch.zeros((1, (vocab + 31) // 32), dtype=torch.int32)
    matcher.fill(bitmask, 0)
    return bitmask.numpy().tobytes()


def allowed(mask: bytes, vocab: int) -> list[int]:
    return [token for token in range(vocab) if mask[token >> 3] >> (token & 7) & 1]


def test_masks_are_those_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns of every kind and drawn ones, choices; drawn walks that go back and fork; forced tokens too."""
    pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'afterlogits[grammar]'")
    monkeypatch.setattr(known_masks, "_AFTER", 0)
    tokenizer = bytelevel()
    vocab, rng, compared, found = len(tokenizer), random.Random(0), 0, 0
    engine = GrammarEngine("llguidance", tokenizer, vocab, [tokenizer.eos_token_id])
    constraints: list[tuple[str, Any]] = [("regex", one) for one in PATTERNS] + [("choices", one) for one in CHOICES]
    constraints += [("regex", drawn_pattern(rng)) for _ in range(60)]
    for constraint in constraints:
        for _ in range(3):
            mine = engine.matcher(constraint)
            assert isinstance(mine, KnownMatcher)
            theirs = mine.matcher.fork()
            for _ in range(16):
                known = mine.known() is not None
                forced = list(theirs.forced())
                assert list(mine.forced()) == forced
                mask = mask_of(theirs, vocab)
                assert mask_of(mine, vocab) == mask, (constraint, mine._tokens)
                compared, found = compared + 1, found + known
                choice = rng.choice(allowed(mask, vocab) or [0])
                assert mine.accept(choice) == theirs.accept(choice)
                assert mine.ended == theirs.ended
                if theirs.ended and rng.random() < 0.5:
                    break
                if rng.random() < 0.2 and mine._tokens:
                    count = rng.randint(1, len(mine._tokens))
                    mine.rollback(count)
                    theirs.rollback(count)
                elif rng.random() < 0.2:
                    mine, theirs = mine.fork(), theirs.fork()
                if theirs.ended:
                    break
    print(f"{compared} masks compared, {found} of them known")
    assert found > 500
