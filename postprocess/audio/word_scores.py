"""What a beam's words are worth beside the sound: an n-gram model, words to favour, and an own reader of ARPA files."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

TO_NATURAL = 1.0 / math.log10(math.e)
USUAL_LENGTH = 6  # characters of an unknown word from where on its penalty grows


class WordModel(Protocol):
    """An n-gram model over words, as the beam search asks it."""

    def start(self) -> Any:
        """The state before the first word."""

    def extend(self, state: Any, word: str, is_last: bool) -> tuple[float, Any]:
        """The weighted score of ``word`` after ``state``, that of the end added to the last; the next state."""

    def partial(self, part: str) -> float:
        """The score of the beginning of a word."""


@dataclass(frozen=True)
class NgramCounts:
    """An n-gram model with back-off, in logarithms to the base 10, as an ARPA file holds it."""

    order: int
    logprobs: dict[tuple[str, ...], float]
    backoffs: dict[tuple[str, ...], float]

    def __contains__(self, word: str) -> bool:
        return (word,) in self.logprobs

    def logprob(self, history: tuple[str, ...], word: str) -> float:
        """log10 P(word | history), by the longest n-gram that is known."""
        word = word if (word,) in self.logprobs else "<unk>"
        history = history[-(self.order - 1) :] if self.order > 1 else ()
        penalty = 0.0
        while True:
            found = self.logprobs.get((*history, word))
            if found is not None:
                return penalty + found
            if not history:
                return penalty + UNKNOWN_WORD
            penalty += self.backoffs.get(history, 0.0)
            history = history[1:]

    def words(self) -> set[str]:
        """All words but the model's own marks."""
        return {gram[0] for gram in self.logprobs if len(gram) == 1} - {"<s>", "</s>", "<unk>"}


UNKNOWN_WORD = -100.0  # log10, for a model that has no <unk>


def read_arpa(path: str | Path) -> NgramCounts:
    """Read an n-gram model in ARPA format.

    Raises ValueError naming the file and the line if it is none.
    """
    logprobs: dict[tuple[str, ...], float] = {}
    backoffs: dict[tuple[str, ...], float] = {}
    size = 0
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip()
            section = re.fullmatch(r"\\(\d+)-grams:", text)
            if section:
                size = int(section[1])
            elif text == "\\end\\":
                return NgramCounts(size, logprobs, backoffs)
            elif size and text:
                _read_gram(text, size, logprobs, backoffs, f"line {number} of {path}")
    raise ValueError(f"path must be an ARPA file that ends with \\end\\; got {path}")


def _read_gram(
    text: str, size: int, logprobs: dict[tuple[str, ...], float], backoffs: dict[tuple[str, ...], float], where: str
) -> None:
    logprob, *rest = text.split()
    gram = tuple(rest[:size])
    if len(gram) != size or len(rest) > size + 1:
        raise ValueError(f"n-grams must have {size} words and at most one back-off; got {text!r} in {where}")
    logprobs[gram] = float(logprob)
    if len(rest) > size:
        backoffs[gram] = float(rest[size])


@dataclass(frozen=True)
class NgramModel:
    """`NgramCounts` with the weights of shallow fusion: what pyctcdecode's ``LanguageModel`` computes with KenLM."""

    counts: NgramCounts
    words: Collection[str] | None = None  # known words; None trusts the counts and favours no beginning of a word
    alpha: float = 0.5  # weight of the model
    beta: float = 1.5  # for every word
    unknown_offset: float = -10.0  # log10, for words that are not known
    score_boundary: bool = True  # the beginning and the end of a sentence count

    def start(self) -> tuple[str, ...]:
        """The state before the first word."""
        return ("<s>",) if self.score_boundary else ()

    def extend(self, state: tuple[str, ...], word: str, is_last: bool) -> tuple[float, tuple[str, ...]]:
        """The score of one more word, as a natural logarithm, weighted, and the state after it; unknown words cost
        more."""
        score = self.counts.logprob(state, word)
        if word not in self.counts or (self._known and word not in self._known):
            score += self.unknown_offset
        history = (*state, word if word in self.counts else "<unk>")[-max(1, self.counts.order - 1) :]
        if is_last and self.score_boundary:
            score += self.counts.logprob(history, "</s>")
        return self.alpha * score * TO_NATURAL + self.beta, history

    def partial(self, part: str) -> float:
        """What an unfinished word costs that begins no known one, more for each letter beyond the usual length."""
        known = self.words is not None and part in self._beginnings
        score = 0.0 if known else self.unknown_offset
        return score * len(part) / USUAL_LENGTH if len(part) > USUAL_LENGTH else score

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(word for word in self.words or () if word in self.counts)

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(word[:end] for word in self._known for end in range(1, len(word) + 1))


@dataclass(frozen=True)
class HotWords:
    """Words that the search favours: ``weight`` for each that a text has, a share of it for its beginning."""

    words: tuple[str, ...] = ()
    weight: float = 10.0
    _shortest: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(words: Iterable[str], weight: float = 10.0) -> HotWords:
        """Phrases are split into their words."""
        split = tuple(word for phrase in words for word in phrase.split())
        shortest: dict[str, int] = {}
        for word in sorted(split, key=len, reverse=True):
            shortest.update({word[:end]: len(word) for end in range(1, len(word) + 1)})
        return HotWords(split, weight, shortest)

    @cached_property
    def _whole(self) -> frozenset[str]:
        return frozenset(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._whole

    def begins(self, part: str) -> bool:
        """Whether a hot word begins with these letters."""
        return part in self._shortest

    def partial(self, part: str) -> float:
        """The weight of an unfinished hot word: its share of the shortest hot word that begins so."""
        return self.weight * len(part) / self._shortest[part] if part in self._shortest else 0.0


@dataclass(frozen=True)
class PyctcdecodeModel:
    """A ``LanguageModel`` of pyctcdecode (KenLM behind it) as a `WordModel`."""

    model: Any

    def start(self) -> Any:
        """The model's own state before the first word."""
        return self.model.get_start_state()

    def extend(self, state: Any, word: str, is_last: bool) -> tuple[float, Any]:
        """The model's score of one more word, and its state after it."""
        score, following = self.model.score(state, word, is_last_word=is_last)
        return float(score), following

    def partial(self, part: str) -> float:
        """The model's score of an unfinished word."""
        return float(self.model.score_partial_token(part))
