"""The plain part of regular expressions as a tree, None for the rest: what every engine reads alike.

Literals, escaped punctuation, sets of ASCII characters, ``.``, groups, ``|`` and counts. Of ``\\d``, ``\\w``, ``\\s``
and their opposites the ASCII part is known; what they mean beyond it depends on the engine's tables and is one symbol
of its own, above the bytes. Flags, anchors, lazy counts, names, classes of Unicode: None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SYMBOLS", "Alternatives", "Node", "Repeat", "Sequence_", "Symbols", "parse_regex", "texts_node"]

_ASCII = frozenset(range(128))
_DIGITS = frozenset(b"0123456789")
_WORDS = _DIGITS | frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SPACES = frozenset(b"\t\n\v\f\r ")
# Shorthands: their ASCII part and a symbol for the rest.
_SHORTHANDS = {
    "d": _DIGITS | {256},
    "w": _WORDS | {257},
    "s": _SPACES | {258},
    "D": (_ASCII - _DIGITS) | {259},
    "W": (_ASCII - _WORDS) | {260},
    "S": (_ASCII - _SPACES) | {261},
}
SYMBOLS = 262
_ESCAPES = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11}
_META = frozenset("\\.+*?()|[]{}^$")
_DEEPEST = 50  # groups inside each other
_MOST = 10_000  # as a count


@dataclass(frozen=True)
class Symbols:
    """One symbol of a set: bytes, and from 256 on what a shorthand means beyond ASCII."""

    of: frozenset[int]


@dataclass(frozen=True)
class Sequence_:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Alternatives:
    """One of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """``least`` to ``most`` times, None: any number of times from ``least`` up."""

    part: Node
    least: int
    most: int | None


Node = Symbols | Sequence_ | Alternatives | Repeat


def _bytes_between(*ranges: tuple[int, int]) -> Node:
    return Sequence_(tuple(Symbols(frozenset(range(low, high + 1))) for low, high in ranges))


_REST = (0x80, 0xBF)
# Every character beyond ASCII in UTF-8: no surrogates, nothing longer than it need be (Unicode, table 3-7).
_BEYOND_ASCII = Alternatives(
    (
        _bytes_between((0xC2, 0xDF), _REST),
        _bytes_between((0xE0, 0xE0), (0xA0, 0xBF), _REST),
        _bytes_between((0xE1, 0xEC), _REST, _REST),
        _bytes_between((0xED, 0xED), (0x80, 0x9F), _REST),
        _bytes_between((0xEE, 0xEF), _REST, _REST),
        _bytes_between((0xF0, 0xF0), (0x90, 0xBF), _REST, _REST),
        _bytes_between((0xF1, 0xF3), _REST, _REST, _REST),
        _bytes_between((0xF4, 0xF4), (0x80, 0x8F), _REST, _REST),
    )
)


class _NotPlainError(Exception):
    """Something that is not of the plain part."""


def parse_regex(pattern: str) -> Node | None:
    """The tree of a pattern, or None where it is not plain.

    >>> parse_regex("a{2}")
    Repeat(part=Symbols(of=frozenset({97})), least=2, most=2)
    >>> parse_regex("^a") is None
    True
    """
    try:
        return _Reader(pattern).whole()
    except _NotPlainError:
        return None


def texts_node(texts: Sequence[str]) -> Node:
    """The tree of "one of these texts"."""
    return Alternatives(tuple(_literal(text) for text in texts))


def _literal(text: str) -> Node:
    parts = tuple(Symbols(frozenset({byte})) for byte in text.encode())
    return parts[0] if len(parts) == 1 else Sequence_(parts)


class _Reader:
    """Reads one pattern from the left."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.place, self.depth = pattern, 0, 0
        if any("\ud800" <= one <= "\udfff" for one in pattern):
            raise _NotPlainError

    def whole(self) -> Node:
        node = self._alternatives()
        if self.place < len(self.pattern):
            raise _NotPlainError
        return node

    def _peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def _next(self) -> str:
        found = self._peek()
        if not found:
            raise _NotPlainError
        self.place += 1
        return found

    def _alternatives(self) -> Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self.place += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Alternatives(tuple(parts))

    def _sequence(self) -> Node:
        parts = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._counted(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence_(tuple(parts))

    def _atom(self) -> Node:
        """A character, a set, a group or an escape."""
        one = self._next()
        if one == "(":
            return self._group()
        if one == "[":
            return self._set()
        if one == ".":
            return Alternatives((Symbols(_ASCII - {10}), _BEYOND_ASCII))
        if one == "\\":
            return Symbols(self._escaped())
        if one in _META:
            raise _NotPlainError
        return _literal(one)

    def _group(self) -> Node:
        """What follows an opening parenthesis, which may be followed by ``?:`` and by nothing else of its kind."""
        if self._peek() == "?":
            self.place += 1
            if self._next() != ":":
                raise _NotPlainError
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _NotPlainError
        node = self._alternatives()
        self.depth -= 1
        if self._next() != ")":
            raise _NotPlainError
        return node

    def _escaped(self) -> frozenset[int]:
        """What follows a backslash: a set of symbols."""
        one = self._next()
        if one in _SHORTHANDS:
            return frozenset(_SHORTHANDS[one])
        if one in _ESCAPES:
            return frozenset({_ESCAPES[one]})
        # Of other punctuation some engines make anchors, as of "<", or nothing at all.
        if one in _META or one in "-/\"'":
            return frozenset({ord(one)})
        raise _NotPlainError

    def _counted(self, node: Node) -> Node:
        """An atom with the count behind it, where there is one."""
        least, most = 1, None
        one = self._peek()
        if one == "" or one not in "?*+{":
            return node
        self.place += 1
        if one == "{":
            least, most = self._count()
        else:
            least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}[one]
        if self._peek() in ("?", "+", "*", "{"):  # lazy, possessive, or counted twice
            raise _NotPlainError
        return Repeat(node, least, most)

    def _count(self) -> tuple[int, int | None]:
        """``m}``, ``m,}`` or ``m,n}``."""
        end = self.pattern.find("}", self.place)
        low, comma, high = self.pattern[self.place : end if end > 0 else self.place].partition(",")
        self.place = end + 1
        numbers = [low, high] if high else [low]
        if not all(one.isascii() and one.isdigit() and int(one) <= _MOST for one in numbers):
            raise _NotPlainError
        least = int(low)
        most = int(high) if high else None if comma else least
        if most is not None and (most < least or most == 0):
            raise _NotPlainError
        return least, most

    def _set(self) -> Node:
        """What follows an opening bracket."""
        negated = self._peek() == "^"
        self.place += negated
        found: frozenset[int] = frozenset()
        while not found or self._peek() != "]":
            found |= self._members()
        self.place += 1
        if not negated:
            return Symbols(found)
        if max(found) > 255:
            raise _NotPlainError
        inside = _ASCII - found
        return Alternatives((Symbols(inside), _BEYOND_ASCII)) if inside else _BEYOND_ASCII

    def _members(self) -> frozenset[int]:
        """One member of a set: a character, a range or a shorthand."""
        first = self._member()
        if self._peek() != "-" or self.pattern[self.place + 1 : self.place + 2] == "]":
            return first
        self.place += 1
        last = self._member()
        if len(first) > 1 or len(last) > 1 or min(last) < min(first):
            raise _NotPlainError
        return frozenset(range(min(first), min(last) + 1))

    def _member(self) -> frozenset[int]:
        one = self._next()
        if one == "\\":
            return self._escaped()
        # Brackets, and two of these marks together, are operations on sets in some engines.
        if one in "[]" or not one.isascii() or (one in "&-~|" and self._peek() == one):
            raise _NotPlainError
        return frozenset({ord(one)})
