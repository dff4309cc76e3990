"""The plain part of regular expressions, read by its tree; what is beyond it is None."""

from __future__ import annotations

import pytest

from afterlogits.decoding.grammar.regex_syntax import Alternatives, Repeat, Sequence_, Symbols, parse_regex, texts_node


def one(text: str) -> Symbols:
    return Symbols(frozenset(text.encode()))


def test_trees() -> None:
    """Counts bind to the last atom, sequences before alternatives; sets are of bytes."""
    assert parse_regex("ab|c") == Alternatives((Sequence_((one("a"), one("b"))), one("c")))
    assert parse_regex("ab{2,}") == Sequence_((one("a"), Repeat(one("b"), 2, None)))
    assert parse_regex("(?:ab)?") == Repeat(Sequence_((one("a"), one("b"))), 0, 1)
    assert parse_regex("[a-c.-]") == one("abc.-")
    assert parse_regex(r"\.\n") == Sequence_((one("."), one("\n")))
    assert parse_regex("é") == Sequence_((Symbols(frozenset({0xC3})), Symbols(frozenset({0xA9}))))
    assert parse_regex("(|a)") == Alternatives((Sequence_(()), one("a")))
    assert texts_node(["a", "é"]) == Alternatives((one("a"), parse_regex("é")))  # type: ignore[arg-type]


def test_shorthands_keep_apart_what_engines_read_unlike() -> None:
    """The ASCII part is known; a symbol above the bytes stands for the rest, another one for each shorthand."""
    digits, words = parse_regex(r"\d"), parse_regex(r"[\w]")
    assert isinstance(digits, Symbols)
    assert isinstance(words, Symbols)
    assert digits.of & set(range(256)) == set(b"0123456789")
    assert len(digits.of - set(range(256))) == 1
    assert digits.of - words.of == digits.of - set(range(256))


# Anchors, flags, names, looks, lazy and double counts, what is no count, operations on sets, classes, half a pattern.
NOT_PLAIN = (
    "^a a$ (?i)a (?P<n>a) (?=a) a*? a{2}{3} a{,2} a{x} a{0} a{3,2} a{20000} [a&&b] [[a]] []a] [é] [^\\d] [a-\\d]"
)
NOT_PLAIN += " [b-a] \\p{L} \\b \\x41 \\< (a a) [a a\\ * a{2 \ud800"


@pytest.mark.parametrize("pattern", [*NOT_PLAIN.split(), "(" * 60 + "a" + ")" * 60])
def test_what_is_not_plain(pattern: str) -> None:
    assert parse_regex(pattern) is None
