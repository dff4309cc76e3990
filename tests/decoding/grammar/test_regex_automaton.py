"""Automata of patterns: the language of Python's ``re``, and states of one key that allow the same tokens."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from afterlogits.decoding.grammar.regex_automaton import DEAD, RegexAutomaton, TooLargeError
from afterlogits.decoding.grammar.regex_syntax import parse_regex

CASES = 400


def drawn_pattern(rng: random.Random, depth: int = 0) -> str:
    """A pattern of the plain part over a few characters."""
    kind = rng.random()
    if depth > 3 or kind < 0.4:
        return rng.choice(["a", "b", "c", "[ab]", "[^a]", ".", r"\d", "é", "[b-c]", "x", r"\."])
    if kind < 0.6:
        return drawn_pattern(rng, depth + 1) + drawn_pattern(rng, depth + 1)
    if kind < 0.8:
        return f"({drawn_pattern(rng, depth + 1)}|{rng.choice([drawn_pattern(rng, depth + 1), ''])})"
    return f"({drawn_pattern(rng, depth + 1)}){rng.choice(['*', '+', '?', '{2}', '{0,2}', '{1,3}', '{2,}', '{0,}'])}"


def automaton_of(pattern: str) -> RegexAutomaton:
    node = parse_regex(pattern)
    assert node is not None
    return RegexAutomaton(node)


def accepts(automaton: RegexAutomaton, text: str) -> bool | None:
    state = automaton.go(0, text.encode())
    if state is None or state == DEAD:
        return None if state is None else False
    key = automaton.key(state, 1)
    return True if key is None else key[0]  # nothing can follow: the end of the pattern


def test_language_is_that_of_re() -> None:
    """Drawn patterns and texts of up to 6 characters; beyond ASCII a shorthand's automaton does not know."""
    rng, compared = random.Random(0), 0
    for _ in range(CASES):
        pattern = drawn_pattern(rng)
        automaton, oracle = automaton_of(pattern), re.compile(pattern)
        for _ in range(12):
            text = "".join(rng.choice("abcx1.éü\n") for _ in range(rng.randint(0, 6)))
            found = accepts(automaton, text)
            compared += found is not None
            assert found in (None, oracle.fullmatch(text) is not None), (pattern, text)
    assert compared > 4000


def test_one_key_one_mask() -> None:
    """States of one key allow the same tokens of that length, of all texts of up to 3 characters."""
    rng, shared = random.Random(1), 0
    texts = [text for size in (1, 2, 3) for text in _words("abc1x", size)]
    for _ in range(60):
        automaton = automaton_of(drawn_pattern(rng))
        masks: dict[object, list[bool]] = {}
        for state in {automaton.go(0, text.encode()) for text in ["", *texts]} - {None, DEAD}:
            assert state is not None
            mask = [automaton.go(state, text.encode()) not in (None, DEAD) for text in texts]
            key = automaton.key(state, 3)
            if key is None:
                assert not any(mask)
            else:
                shared += key in masks
                assert masks.setdefault(key, mask) == mask
    assert shared > 30


def _words(letters: str, size: int) -> list[str]:
    return [""] if size == 0 else [word + letter for word in _words(letters, size - 1) for letter in letters]


def test_many_states_have_few_keys() -> None:
    """4,000 states; those of a word's first 5 letters are 5 keys at depth 4, and so on."""
    automaton = automaton_of("([a-z]{2,9} ){400}")
    automaton.most = 50_000
    keys, state = set(), 0
    for _ in range(380):
        for letter in "abcdefghi ":
            keys.add(automaton.key(state, 4))
            state = automaton.go(state, letter.encode()) or 0
    assert len(keys) <= 12


def test_longest_token_that_may_come() -> None:
    """Two spaces in a row never come, a run of letters may, however long; of 9 letters the automaton cannot tell."""
    tokens = [b"ab", b"    ", b"a b", b"abcdefghij", b"A" * 20, b" x"]
    lengths = np.array([len(token) for token in tokens])
    given = np.frombuffer(b"".join(tokens), dtype=np.uint8), np.repeat(np.arange(len(tokens)), lengths), lengths
    assert automaton_of("([a-z]{2,9} ){4}").longest(*given) == 10
    assert automaton_of("( [a-z])+").longest(*given) == 3
    assert automaton_of("1").longest(*given) == 1


def test_what_must_come() -> None:
    """After a a single b and then a choice; after x a run."""
    automaton = automaton_of("ab[cd]|xyz+")
    states = [automaton.go(0, text) for text in (b"", b"a", b"x")]
    assert [automaton.choices(state) for state in states if state is not None] == [2, 1, 1]
    assert [automaton.forces_one(state) for state in states if state is not None] == [False, True, False]


@pytest.mark.parametrize("pattern", ["a{9000}b{9000}c{9000}", "a?" * 700, "(.*a.{12}){3}"])
def test_patterns_that_are_too_large(pattern: str) -> None:
    """By their positions, by what follows each, or by the states that are reached."""
    with pytest.raises(TooLargeError):
        automaton = automaton_of(pattern)
        rng = random.Random(0)
        for _ in range(1000):
            text = bytes(rng.choice(b"ab") for _ in range(40))
            automaton.key(automaton.go(0, text) or 0, 40)
