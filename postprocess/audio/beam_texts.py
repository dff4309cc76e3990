"""The texts that beams of a CTC search write: a tree of prefixes, grown one symbol at a time, and the words in it.

Every prefix is one node however it was reached, so beams of one text can be merged by number. A delimiter after a
delimiter, or at the beginning, adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np

from .word_scores import HotWords, WordModel

Array = np.ndarray[Any, Any]


class TextTree:
    """Prefixes of all rows of a batch. The first nodes are the empty texts from which the rows begin, one each."""

    def __init__(
        self, rows: int, symbols: Sequence[str], space: int, model: WordModel | None, hot_words: HotWords
    ) -> None:
        """symbols: what each symbol writes. space: the one between words, or -1. model, hot_words: what words score."""
        self.symbols, self.space, self.model, self.hot_words = symbols, space, model, hot_words
        self.scored = model is not None or bool(hot_words.words)
        # Symbols of several characters may spell one text in two ways; then texts themselves tell the nodes apart.
        self.spelled = any(len(symbol) > 1 for index, symbol in enumerate(symbols) if index != space)
        self._children: dict[int, int] = {}  # by node and symbol
        self._spellings: dict[tuple[int, str], int] = {}
        self._partial: dict[str, float] = {"": 0.0}
        start = model.start() if model is not None else None
        self._nodes = [_Node("", row, start) for row in range(rows)] if self.scored or self.spelled else []
        self.count, capacity = rows, max(1024, rows)
        self.parents, self.last = np.full(capacity, -1), np.full(capacity, space)
        self.open = np.zeros(capacity, dtype=bool)  # a word is being written
        self.bonus = np.zeros(capacity)  # what the words score beside the sound

    def grow(self, nodes: Array, symbols: Array) -> Array:
        """The node of each text [N] with one more symbol [N] that changes it."""
        keys = nodes * len(self.symbols) + symbols
        found = np.fromiter(map(self._children.get, keys.tolist(), repeat(-1)), dtype=np.int64, count=len(keys))
        new = np.flatnonzero(found < 0)
        if len(new):
            unknown, first, member = np.unique(keys[new], return_index=True, return_inverse=True)
            nodes, symbols = nodes[new[first]], symbols[new[first]]
            if self._nodes:
                added = [self._child(*pair) for pair in zip(nodes.tolist(), symbols.tolist(), strict=True)]
            else:
                begin = self._publish(nodes, symbols, symbols != self.space)
                added = list(range(begin, self.count))
            self._children.update(zip(unknown.tolist(), added, strict=True))
            found[new] = np.array(added)[member.reshape(-1)]
        return found

    def _publish(self, nodes: Array | int, symbols: Array | int, is_open: Array | bool) -> int:
        """Add nodes to the arrays. Returns how many there were."""
        before = self.count
        self.count += np.size(nodes)
        while self.count > len(self.parents):
            for name in ("parents", "last", "open", "bonus"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate((column, np.zeros_like(column))))
        added = slice(before, self.count)
        self.parents[added], self.last[added], self.open[added] = nodes, symbols, is_open
        return before

    def _child(self, node: int, symbol: int) -> int:
        """The node of a text that grows by one symbol: a new one, or the one that spells the same text already."""
        parent = self._nodes[node]
        part = "" if symbol == self.space else parent.part + self.symbols[symbol]
        if self.spelled and part:
            known = self._spellings.setdefault((parent.text, part), self.count)
            if known < self.count:
                return known
        child = self._publish(node, symbol, bool(part))
        self._nodes.append(self._finish_word(parent, child) if not part else _Node(part, parent.text))
        if self.scored:
            words = self._nodes[self._nodes[child].text]
            self.bonus[child] = words.raw + self.hot_words.weight * words.hot + self._partial_score(part)
        return child

    def _finish_word(self, parent: _Node, child: int) -> _Node:
        before = self._nodes[parent.text]
        score, state = 0.0, None
        if self.model is not None:
            score, state = self.model.extend(before.state, parent.part, False)
        return _Node("", child, state, before.raw + score, before.hot + (parent.part in self.hot_words))

    def _partial_score(self, part: str) -> float:
        score = self._partial.get(part)
        if score is None:
            favoured = self.model is None or self.hot_words.begins(part)
            score = self.hot_words.partial(part) if favoured else self.model.partial(part)  # type: ignore[union-attr]
            self._partial[part] = score
        return score

    def last_word_score(self, node: int) -> float:
        """What the words of a node's text score when the open one is the last."""
        if not self.scored:
            return 0.0
        part, words = self._nodes[node].part, self._nodes[self._nodes[node].text]
        raw = words.raw
        if self.model is not None:
            raw += self.model.extend(words.state, part, True)[0]
        return raw + self.hot_words.weight * (words.hot + (part in self.hot_words))

    def without_space(self, node: int) -> int:
        """The node before the last delimiter, which tells texts that differ in nothing else together."""
        ends = self.last[node] == self.space and self.parents[node] >= 0
        return int(self.parents[node]) if ends else node

    def text(self, node: int) -> str:
        """The whole text of a node."""
        parents, last = self._way_back
        found = []
        while parents[node] >= 0:
            found.append(self.symbols[last[node]])
            node = parents[node]
        return "".join(reversed(found)).strip(" ")

    @cached_property
    def _way_back(self) -> tuple[list[int], list[int]]:
        """The columns as lists, for the end of a search: single numbers of arrays are slow to read."""
        return self.parents[: self.count].tolist(), self.last[: self.count].tolist()


@dataclass
class _Node:
    """What words need to know of a prefix."""

    part: str  # the word being written
    text: int  # the node of the words before it
    state: Any = None  # of the finished words, where this node ends one: the model's state,
    raw: float = 0.0  # its score,
    hot: int = 0  # and hot words among them
