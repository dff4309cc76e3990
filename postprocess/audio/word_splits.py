"""Whisper's tokens to text and to words: whole characters from byte pieces, then spaces and punctuation."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

REPLACEMENT = "\ufffd"
WRITTEN_TIMES = re.compile(r"<\|(\d+\.\d+)\|>")
WITHOUT_SPACES = frozenset({"chinese", "japanese", "thai", "lao", "myanmar", "cantonese"})
PREPENDED = "\"'“¡¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class WhisperVocabulary:
    """What Whisper's token ids stand for. An adapter fills it once for a tokenizer."""

    pieces: Sequence[bytes]  # the bytes of each id's token
    special_ids: frozenset[int]
    languages: Mapping[int, str]  # the special ids that name a language, and its name ("english")
    timestamp_begin: int  # the id of 0.00 seconds; every id from here on that is not special is a time
    prompt_id: int  # begins the text of a prompt
    start_id: int  # begins what was transcribed
    eos_id: int  # ids from here on are words of their own
    language: str | None = None  # the tokenizer's own, where no chunk names one
    clean: Callable[[str], str] | None = None  # the tokenizer's clean-up of spaces, where it has one

    @cached_property
    def _alone(self) -> list[str | None]:
        """The text of each token; None where it is not whole characters."""
        texts = [piece.decode("utf-8", "replace") for piece in self.pieces]
        return [None if REPLACEMENT in text else text for text in texts]

    @cached_property
    def _opens(self) -> list[bool]:
        """Whether a token that is whole characters begins a word."""
        return [text is not None and (i >= self.eos_id or opens_word(text)) for i, text in enumerate(self._alone)]

    @cached_property
    def _is_text(self) -> Array:
        """By id, whether a token is text; the last entry stands for every id above the others."""
        table = np.arange(max(self.timestamp_begin, *self.special_ids) + 2) < self.timestamp_begin
        table[list(self.special_ids)] = False
        return table

    def text_mask(self, ids: Array) -> Array:
        """[T] bool: tokens that are neither times nor special. ids: [T]."""
        mask: Array = self._is_text[np.minimum(ids, len(self._is_text) - 1)]
        return mask

    def read(self, ids: Sequence[int]) -> str:
        """The text of tokens. Bytes that are no character become U+FFFD, as the tokenizer's own decoding has it."""
        text = b"".join([self.pieces[i] for i in ids]).decode("utf-8", "replace")
        return text if self.clean is None else self.clean(text)

    def write_all(self, sequences: Sequence[Array]) -> list[str]:
        """The text of each sequence of tokens [n_k] without times that are written out in it."""
        if not sequences:
            return []
        pieces = [self.pieces[i] for i in np.concatenate(sequences).tolist()]
        ends = accumulate(map(len, sequences), initial=0)
        texts = [b"".join(pieces[a:b]).decode("utf-8", "replace") for a, b in pairwise(ends)]
        texts = texts if self.clean is None else [self.clean(text) for text in texts]
        return [WRITTEN_TIMES.sub("", text) if "<|" in text else text for text in texts]


def opens_word(text: str) -> bool:
    """A space before it, or nothing but one run of punctuation (or of space)."""
    return text.startswith(" ") or text.strip() in string.punctuation


def split_words(
    ids: Sequence[int], vocabulary: WhisperVocabulary, language: str | None = None
) -> list[tuple[str, int, int]]:
    """Words with the tokens they span, ``(text, first, last)``; the text of all words is the text of the tokens.

    ids: text tokens. language: its name; Chinese, Japanese, Thai, Lao, Burmese and Cantonese are split at every
    character, all others at spaces and punctuation, and punctuation joins the word it belongs to.
    Cost: one pass over the tokens (transformers decodes the growing piece for every token).
    """
    texts, firsts, lasts, opens = split_characters(ids, vocabulary)
    if (language or vocabulary.language or "english") not in WITHOUT_SPACES:
        texts, firsts, lasts = _join_at_openings(texts, firsts, lasts, opens)
    join_punctuation(texts, firsts, lasts)
    return [(text, a, b) for text, a, b in zip(texts, firsts, lasts, strict=True) if text]


def split_characters(
    ids: Sequence[int], vocabulary: WhisperVocabulary
) -> tuple[list[str], list[int], list[int], list[bool]]:
    """The shortest runs of tokens that are whole characters: text, first and last token, whether it opens a word."""
    alone, opening = vocabulary._alone, vocabulary._opens
    if vocabulary.clean is None:
        texts = [alone[i] for i in ids]
        if None not in texts:
            places = list(range(len(ids)))
            return texts, places, places.copy(), [opening[i] for i in ids]  # type: ignore[return-value]
    return _split_byte_pieces(ids, vocabulary)


def _split_byte_pieces(
    ids: Sequence[int], vocabulary: WhisperVocabulary
) -> tuple[list[str], list[int], list[int], list[bool]]:
    """Texts of the shortest runs of tokens that spell whole characters, their first and last token, and whether each
    opens a word. A character of several bytes may be spread over tokens."""
    whole = vocabulary.read(ids)
    texts: list[str] = []
    firsts: list[int] = []
    lasts: list[int] = []
    opens: list[bool] = []
    first = done = 0
    for place in range(len(ids)):
        text = vocabulary.read(ids[first : place + 1])
        broken = text.find(REPLACEMENT)
        # A replacement that the full text has in this place too will not become a character any more.
        if broken < 0 or done + broken >= len(whole) or whole[done + broken] == REPLACEMENT:
            texts.append(text)
            firsts.append(first)
            lasts.append(place)
            opens.append(ids[first] >= vocabulary.eos_id or opens_word(text))
            first, done = place + 1, done + len(text)
    return texts, firsts, lasts, opens


def _join_at_openings(
    texts: list[str], firsts: list[int], lasts: list[int], opens: list[bool]
) -> tuple[list[str], list[int], list[int]]:
    begins = [place for place, opened in enumerate(opens) if opened or place == 0]
    ends = [*begins[1:], len(texts)]
    words = ["".join(texts[a:b]) for a, b in zip(begins, ends, strict=False)]
    return words, [firsts[a] for a in begins], [lasts[b - 1] for b in ends[: len(begins)]]


def join_punctuation(
    words: list[str], firsts: list[int], lasts: list[int], *, prepended: str = PREPENDED, appended: str = APPENDED
) -> None:
    """Opening punctuation joins the word after it, closing punctuation the word before it; emptied words stay as ""."""
    following = len(words) - 1
    for place in range(len(words) - 2, -1, -1):
        if words[place].startswith(" ") and words[place].strip() in prepended:
            firsts[following] = firsts[place]
            words[following] = words[place] + words[following]
            words[place] = ""
        else:
            following = place
    before = 0
    for place in range(1, len(words)):
        if not words[before].endswith(" ") and words[place] in appended:
            if words[place]:
                firsts[before] = firsts[before] if words[before] else firsts[place]
                lasts[before] = lasts[place]
            words[before] += words[place]
            words[place] = ""
        else:
            before = place
