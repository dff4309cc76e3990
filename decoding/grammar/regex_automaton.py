"""What a regular expression allows next, told apart as far as tokens can tell: states with one key have one mask.

Positions of the pattern and what may follow each (Glushkov 1961), sets of positions made only as they are reached. Two
states whose next bytes are the same to the depth of the longest token allow the same tokens, however unlike what comes
behind is: inside ``([a-z]{2,9} ){400}`` 4,000 states have a dozen keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from ..options.forkable_lock import forkable_lock
from ..options.numpy_or_torch import Array
from .regex_syntax import SYMBOLS, Alternatives, Node, Repeat, Sequence_, Symbols

__all__ = ["DEAD", "RegexAutomaton", "TooLargeError"]

DEAD = -1
_POSITIONS, _EDGES = 20_000, 200_000  # of a pattern that is worth it
_LOOKED_AT = 10_000  # states, or states at their depths, before masks were found again
_BYTES = 256


class TooLargeError(Exception):
    """A pattern, or what was seen of it, is more than is worth keeping."""


class _Positions:
    """The positions of a pattern: the set of symbols at each, what follows it, and which may be the last.

    Position 0 stands before the pattern.
    """

    def __init__(self, node: Node) -> None:
        self.symbols: list[frozenset[int]] = [frozenset()]
        self.follow: list[set[int]] = [set()]
        self._edges = 0
        may_be_empty, first, last = self._add(node)
        self._link([0], first)
        self.last = frozenset([*last, 0] if may_be_empty else last)

    def _add(self, node: Node) -> tuple[bool, list[int], list[int]]:
        """Whether the part may be empty, its first positions and its last."""
        if isinstance(node, Symbols):
            if len(self.symbols) > _POSITIONS:
                raise TooLargeError
            self.symbols.append(node.of)
            self.follow.append(set())
            place = len(self.symbols) - 1
            return False, [place], [place]
        if isinstance(node, Repeat):
            return self._add_repeat(node)
        if isinstance(node, Alternatives):
            found = [self._add(part) for part in node.parts]
            empty, first, last = zip(*found, strict=True)
            return any(empty), [*chain.from_iterable(first)], [*chain.from_iterable(last)]
        assert isinstance(node, Sequence_)
        return self._chained(self._add(part) for part in node.parts)

    def _chained(self, parts: Iterable[tuple[bool, list[int], list[int]]]) -> tuple[bool, list[int], list[int]]:
        """One part after the other."""
        empty, first, last = True, list[int](), list[int]()
        for may_be_empty, firsts, lasts in parts:
            self._link(last, firsts)
            first = first + firsts if empty else first
            last = last + lasts if may_be_empty else lasts
            empty = empty and may_be_empty
        return empty, first, last

    def _add_repeat(self, node: Repeat) -> tuple[bool, list[int], list[int]]:
        """``x{m,n}`` as x, m times, and behind it a chain of x that may end after each; a loop where n is None."""
        empty, first, last = self._chained(self._add(node.part) for _ in range(max(node.least - 1, 0)))
        may_be_empty, firsts, lasts = self._add(node.part)
        loops = node.most is None
        if loops:
            self._link(lasts, firsts)
        own, ends = may_be_empty or node.least == 0, list(lasts)
        for _ in range(0 if node.most is None else node.most - max(node.least, 1)):
            _, behind, tail = self._add(node.part)
            self._link(lasts, behind)
            ends, lasts = ends + tail, tail
        self._link(last, firsts)
        return empty and own, first + firsts if empty else first, last + ends if own else ends

    def _link(self, before: Iterable[int], after: list[int]) -> None:
        for place in before:
            self.follow[place].update(after)
            self._edges += len(after)
        if self._edges > _EDGES:
            raise TooLargeError


def _numbered(symbols: list[frozenset[int]]) -> tuple[list[frozenset[int]], list[int]]:
    """The different sets of symbols, and the number of each position's."""
    numbers = {one: number for number, one in enumerate(dict.fromkeys(symbols))}
    return list(numbers), [numbers[one] for one in symbols]


def _width(class_of: list[int], number: int) -> int:
    """With how many bytes a class begins: two or more where it is what a shorthand means beyond ASCII."""
    return class_of[:_BYTES].count(number) + 2 * (number in class_of[_BYTES:])


class RegexAutomaton:
    """The states of a pattern, made as they are reached: numbers from 0, the beginning; ``DEAD`` is none.

    Raises TooLargeError, here or later, where the pattern has more positions or states than are worth keeping.
    """

    def __init__(self, node: Node) -> None:
        positions = _Positions(node)
        self._follow = [tuple(sorted(one)) for one in positions.follow]
        self._last = positions.last
        self._sets, self._set_of = _numbered(positions.symbols)
        # Symbols that the same sets hold go the same way everywhere: one class, which is what a state goes on by.
        members = [tuple(symbol in one for one in self._sets) for symbol in range(SYMBOLS)]
        self._classes = [one for one in dict.fromkeys(members) if any(one)]
        self._class_of = [self._classes.index(one) if any(one) else DEAD for one in members]
        self._has_rest = any(one >= 0 for one in self._class_of[_BYTES:])
        self._width = [_width(self._class_of, number) for number in range(len(self._classes))]
        self._states: list[frozenset[int]] = [frozenset({0})]
        self._numbers = {self._states[0]: 0}
        self._rows: list[tuple[int, ...] | None] = [None]
        self._looks: dict[tuple[int, int], int] = {}
        self._look_numbers: dict[tuple[int, ...], int] = {}
        self._lock = forkable_lock()
        self.most = _LOOKED_AT  # states, or states at their depths, that may be looked at

    def go(self, state: int, text: bytes) -> int | None:
        """The state behind ``text``, ``DEAD`` where it does not go on so; None where only the engine knows."""
        for byte in text:
            if byte >= 128 and self._has_rest:
                return None
            kind = self._class_of[byte]
            state = DEAD if kind < 0 else self._row(state)[kind]
            if state < 0:
                return DEAD
        return state

    def key(self, state: int, depth: int) -> tuple[bool, int] | None:
        """What decides which tokens of at most ``depth`` bytes come next, and whether the end may; None where the
        pattern does not go on."""
        if not self.choices(state):
            return None
        with self._lock:
            return not self._last.isdisjoint(self._states[state]), self._look(state, depth)

    def choices(self, state: int) -> int:
        """How many bytes may come next."""
        return sum(width for width, after in zip(self._width, self._row(state), strict=True) if after >= 0)

    def forces_one(self, state: int) -> bool:
        """Whether one byte must come, and behind it is a choice or the end."""
        behind = [after for after in self._row(state) if after >= 0]
        if self.choices(state) != 1:
            return False
        return self.choices(behind[0]) > 1 or not self._last.isdisjoint(self._states[behind[0]])

    def longest(self, flat: Array, token: Array, lengths: Array) -> int:
        """At least the bytes of the longest token that may ever come, at least 1.

        flat: the bytes of all tokens uint8, one after the other. token: int64, of which token each is. lengths: int64.
        """
        alive = np.array([one >= 0 for one in self._class_of[:_BYTES]])
        pairs = np.zeros((_BYTES, _BYTES), dtype=bool)
        for before, after in {
            (self._set_of[place], self._set_of[behind]) for place, some in enumerate(self._follow) for behind in some
        }:
            pairs |= np.outer(self._bytes_of(before), self._bytes_of(after))
        if self._has_rest:
            alive[128:] = pairs[128:] = pairs[:, 128:] = True
        together = pairs[flat[:-1], flat[1:]] | (token[:-1] != token[1:])
        never = np.zeros(len(lengths), dtype=bool)
        never[token[~alive[flat]]] = never[token[1:][~together]] = True
        return max(int(lengths[~never].max(initial=1)), 1)

    def _bytes_of(self, number: int) -> Array:
        found = np.zeros(_BYTES, dtype=bool)
        found[[symbol for symbol in self._sets[number] if symbol < _BYTES]] = True
        return found

    def _row(self, state: int) -> tuple[int, ...]:
        """The state behind each class of symbols."""
        row = self._rows[state]
        if row is None:
            with self._lock:
                row = self._rows[state] = self._made_row(self._states[state])
        return row

    def _made_row(self, places: frozenset[int]) -> tuple[int, ...]:
        behind: dict[int, list[int]] = {}
        for place in {one for each in places for one in self._follow[each]}:
            behind.setdefault(self._set_of[place], []).append(place)
        row = []
        for sets in self._classes:
            after = frozenset(place for number, some in behind.items() if sets[number] for place in some)
            row.append(self._number(after) if after else DEAD)
        return tuple(row)

    def _number(self, places: frozenset[int]) -> int:
        found = self._numbers.get(places)
        if found is None:
            if len(self._states) >= self.most:
                raise TooLargeError
            found = len(self._states)
            self._states.append(places)
            self._rows.append(None)
            self._numbers[places] = found
        return found

    def _look(self, state: int, depth: int) -> int:
        """A number for all that may be read from ``state`` on, ``depth`` symbols deep."""
        if depth == 0:
            return 0
        found = self._looks.get((state, depth))
        if found is None:
            if len(self._looks) >= self.most:
                raise TooLargeError
            row = self._rows[state]
            if row is None:
                row = self._rows[state] = self._made_row(self._states[state])
            seen = (depth, *(DEAD if after < 0 else self._look(after, depth - 1) for after in row))
            found = self._look_numbers.setdefault(seen, len(self._look_numbers) + 1)
            self._looks[state, depth] = found
        return found
