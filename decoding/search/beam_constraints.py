"""Phrases that a sequence must contain, and how far a sequence has come with them.

A ``PhraseProgress`` is never changed: ``after(token)`` gives the next one. So a beam keeps one object per step, and the
cost of a step does not grow with the sequence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

__all__ = ["DisjunctiveConstraint", "PhrasalConstraint", "PhraseProgress", "read_force_words"]


@dataclass(frozen=True)
class PhrasalConstraint:
    """The tokens ``token_ids`` must occur, one after another."""

    token_ids: tuple[int, ...]

    def __init__(self, token_ids: Sequence[int]):
        object.__setattr__(self, "token_ids", _tokens("token_ids", token_ids))

    @property
    def length(self) -> int:
        """How many tokens the phrase has."""
        return len(self.token_ids)

    def next_tokens(self, done: Sequence[int]) -> list[int]:
        """What continues the part that is ``done``; nothing when it is complete."""
        return list(self.token_ids[len(done) : len(done) + 1])


@dataclass(frozen=True)
class DisjunctiveConstraint:
    """One of the phrases ``nested_token_ids`` must occur; none of them may begin with another."""

    nested_token_ids: tuple[tuple[int, ...], ...]

    def __init__(self, nested_token_ids: Sequence[Sequence[int]]):
        if not isinstance(nested_token_ids, (list, tuple)) or not nested_token_ids:
            raise ValueError(f"nested_token_ids must be a non-empty list of lists; got {nested_token_ids!r}")
        phrases = tuple(_tokens("nested_token_ids", phrase) for phrase in nested_token_ids)
        for first in range(len(phrases)):
            for other in range(len(phrases)):
                if first != other and phrases[other][: len(phrases[first])] == phrases[first]:
                    raise ValueError(
                        f"nested_token_ids must not hold a phrase that another begins with; got {list(phrases[first])} "
                        f"and {list(phrases[other])}"
                    )
        object.__setattr__(self, "nested_token_ids", phrases)

    @property
    def length(self) -> int:
        """How many tokens the longest of the phrases has."""
        return max(len(phrase) for phrase in self.nested_token_ids)

    @cached_property
    def _continuations(self) -> dict[tuple[int, ...], list[int]]:
        table: dict[tuple[int, ...], dict[int, None]] = {}
        for phrase in self.nested_token_ids:
            for end in range(len(phrase)):
                table.setdefault(phrase[:end], {})[phrase[end]] = None
        return {prefix: list(tokens) for prefix, tokens in table.items()}

    def next_tokens(self, done: Sequence[int]) -> list[int]:
        """What continues the part that is ``done``, in the order given; nothing when a phrase is complete."""
        return list(self._continuations.get(tuple(done), ()))


Constraint = PhrasalConstraint | DisjunctiveConstraint


@dataclass(frozen=True)
class PhraseProgress:
    """Which constraints are ``pending`` (in the order they are tried), which one is begun, how many are complete.

    One token moves at most one constraint. A token that does not continue the one begun puts it back, at the end of
    the pending ones, and is not tried as the beginning of another.
    >>> progress = PhraseProgress.of([PhrasalConstraint([3, 4])], prompt=[3])
    >>> progress.advance_tokens(), progress.after(4).is_complete, progress.after(5).bank
    ([4], True, 0)
    """

    pending: tuple[Constraint, ...]
    unit: int  # the longest constraint: what one complete constraint is worth
    begun: Constraint | None = None
    done: tuple[int, ...] = ()
    num_complete: int = 0

    @classmethod
    def of(cls, constraints: Sequence[Constraint], prompt: Iterable[int] = ()) -> "PhraseProgress":
        """The progress after ``prompt``."""
        progress = cls(tuple(constraints), max(constraint.length for constraint in constraints))
        for token_id in prompt:
            progress = progress.after(token_id)
        return progress

    @property
    def is_complete(self) -> bool:
        """Whether every constraint is met and none is half-way."""
        return not self.pending and self.begun is None

    @property
    def bank(self) -> int:
        """How much has been done: complete constraints count ``unit`` each.

        The one begun counts as many tokens as it would be short of if it were as long as the longest.
        """
        return self._bank(len(self.done))

    def _bank(self, done: int) -> int:
        partial = 0 if self.begun is None else self.unit - (self.begun.length - done)
        return self.num_complete * self.unit + partial

    def advance_tokens(self) -> list[int]:
        """Tokens that make progress: of the constraint begun, or the first of every pending one. May repeat."""
        if self.begun is not None:
            return self.begun.next_tokens(self.done)
        return [token_id for constraint in self.pending for token_id in constraint.next_tokens(())]

    def after(self, token_id: int) -> "PhraseProgress":
        """The progress once ``token_id`` has followed."""
        if self.is_complete:
            return self
        if self.begun is not None:
            if token_id not in self.begun.next_tokens(self.done):
                return replace(self, pending=(*self.pending, self.begun), begun=None, done=())
            return self._step(self.pending, self.begun, (*self.done, token_id))
        for index, constraint in enumerate(self.pending):
            if token_id in constraint.next_tokens(()):
                return self._step(self.pending[:index] + self.pending[index + 1 :], constraint, (token_id,))
        return self

    def _step(self, pending: tuple[Constraint, ...], begun: Constraint, done: tuple[int, ...]) -> "PhraseProgress":
        if begun.next_tokens(done):
            return replace(self, pending=pending, begun=begun, done=done)
        return replace(self, pending=pending, begun=None, done=(), num_complete=self.num_complete + 1)

    def advances(self) -> list[tuple[int, int]]:
        """Every token of ``advance_tokens`` with the bank it leads to.

        As in transformers, the copies made for the alternatives of a disjunctive constraint that is already begun share
        one path: the second alternative is read as following the first, so its bank may come out lower than it is, and
        those of its neighbours higher.
        """
        tokens = self.advance_tokens()
        if not isinstance(self.begun, DisjunctiveConstraint) or len(tokens) < 2:
            return [(token_id, self.after(token_id).bank) for token_id in tokens]
        path = list(self.done)
        still_open: list[bool | None] = []  # begun still, complete (None) or put back (False)
        for token_id in tokens:
            if token_id in self.begun.next_tokens(path):
                path.append(token_id)
                still_open.append(True if self.begun.next_tokens(path) else None)
            else:
                still_open.append(False)
        banks = {True: self._bank(len(path)), None: (self.num_complete + 1) * self.unit}
        banks[False] = self.num_complete * self.unit
        return [(token_id, banks[state]) for token_id, state in zip(tokens, still_open, strict=True)]


def read_force_words(force_words_ids: object) -> list[Constraint]:
    """``force_words_ids`` of transformers as constraints: a list of phrases, or of lists of alternative phrases.

    >>> read_force_words([[5, 6], [[7], [8, 9]]])
    [PhrasalConstraint(token_ids=(5, 6)), DisjunctiveConstraint(nested_token_ids=((7,), (8, 9)))]
    """
    if not isinstance(force_words_ids, list) or not force_words_ids:
        raise ValueError(f"force_words_ids must be a non-empty list of lists; got {force_words_ids!r}")
    constraints: list[Constraint] = []
    for word in force_words_ids:
        if not isinstance(word, list) or not word:
            raise ValueError(f"force_words_ids must be a non-empty list of lists; got {force_words_ids!r}")
        constraints.append(DisjunctiveConstraint(word) if isinstance(word[0], list) else PhrasalConstraint(word))
    return constraints


def _tokens(name: str, token_ids: object) -> tuple[int, ...]:
    if not isinstance(token_ids, (list, tuple)) or not token_ids:
        raise ValueError(f"{name} must hold non-empty lists of token ids; got {token_ids!r}")
    if any(not isinstance(token_id, int) or token_id < 0 for token_id in token_ids):
        raise ValueError(f"{name} must hold token ids of at least 0; got {list(token_ids)}")
    return tuple(token_ids)
