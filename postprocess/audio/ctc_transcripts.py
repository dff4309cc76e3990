"""What a CTC model's ids stand for, and what its emissions write: texts, characters and words with their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..records import Column, rows_of_records
from .frame_times import frame_times

Array = np.ndarray[Any, Any]
PACKED = 8  # letters of a symbol that fit the words of a table


@dataclass(frozen=True)
class CtcAlphabet:
    """What the ids of a CTC model stand for. V ids, S different symbols."""

    symbols: tuple[str, ...]  # [S], as they are written out: the delimiter is a space
    symbol_of_id: Tensor  # [V + 1] int64; the last entry serves every id outside [0, V)
    blank: int  # the symbol that is never written; -1 where there is none
    spaces: Tensor  # [S] bool, the symbols that end a word

    @cached_property
    def distinct(self) -> bool:
        """No two ids of the vocabulary have one string."""
        ids = self.symbol_of_id[:-1]
        return len(ids) == 0 or int(ids.max()) == len(ids) - 1

    @cached_property
    def vocab_size(self) -> int:
        """V, read once: the length of a tensor takes as long as a small operation."""
        return len(self.symbol_of_id) - 1

    @cached_property
    def written(self) -> Array:
        """[S] the symbols as objects, so that a gather of them makes no new strings."""
        return np.array([*self.symbols, None], dtype=object)[:-1]

    @cached_property
    def codes(self) -> Array:
        """[S] the code point of every symbol of one character, -1 of the others."""
        return np.array([ord(symbol) if len(symbol) == 1 else -1 for symbol in self.symbols], dtype=np.int32)

    @cached_property
    def widths(self) -> Array:
        """[S] the characters of every symbol."""
        return np.array([len(symbol) for symbol in self.symbols], dtype=np.int64)

    @cached_property
    def packed(self) -> Array | None:
        """[S] the characters of every symbol in eight bytes, filled up with nulls; None where one does not fit."""
        fits = (len(s) <= PACKED and "\0" not in s and max(s, default="") <= "\xff" for s in self.symbols)
        if not all(fits):
            return None
        packed = np.array([symbol.encode("latin-1") for symbol in self.symbols], dtype=f"S{PACKED}")
        return packed.view(np.uint64)


def ctc_alphabet(
    tokens: Sequence[str], *, blank: str | None, delimiter: str | None = "|", space: str = " ", unknown: str = "<unk>"
) -> CtcAlphabet:
    """The alphabet of a vocabulary.

    tokens: the string of every id, in order. blank: the string that stands for "nothing" (transformers' pad token).
    delimiter: the string between words, written as ``space``. unknown: what ids outside the vocabulary are written as.
    >>> ctc_alphabet(["_", "a", "|"], blank="_").symbols
    ('_', 'a', ' ', '<unk>')
    """
    place: dict[str, int] = {}
    ids = [place.setdefault(token, len(place)) for token in (*tokens, unknown)]
    symbols = tuple(space if token == delimiter else token for token in place)
    return CtcAlphabet(
        symbols,
        torch.tensor(ids, device="cpu"),
        place.get(blank, -1) if blank is not None else -1,
        torch.tensor([symbol == space for symbol in symbols], device="cpu"),
    )


@dataclass(frozen=True)
class CtcTranscripts:
    """Emissions of a batch in one column, rows one after another. B rows, N emissions; frames are half-open."""

    alphabet: CtcAlphabet
    row_splits: Tensor  # [B + 1] int64: row b is emissions row_splits[b] to row_splits[b + 1]
    symbols: Tensor  # [N] int64
    starts: Tensor  # [N] int64, first frame within the row
    ends: Tensor  # [N] int64, the frame after the last

    @cached_property
    def _writing(self) -> tuple[str, Array | None] | None:
        """All that is written, row after row, and the places [N + 1] in it where the emissions begin and the last ends:
        None where each is one character. None altogether where symbols are too long to be packed."""
        symbols = self.symbols.numpy()
        codes = self.alphabet.codes[symbols]
        if not len(codes) or codes.min() >= 0:
            return codes.tobytes().decode("utf-32-le", "surrogatepass"), None
        if self.alphabet.packed is None:
            return None
        bounds = np.zeros(len(symbols) + 1, dtype=np.int64)
        np.cumsum(self.alphabet.widths[symbols], out=bounds[1:])
        return self.alphabet.packed[symbols].tobytes().translate(None, b"\0").decode("latin-1"), bounds

    @cached_property
    def _pieces(self) -> str | tuple[Array, Array]:
        """What each emission writes: one string where every piece is one character, else a table and places [N] in it,
        so that strings of a row are looked up just before they are written."""
        if self._writing is not None and self._writing[1] is None:
            return self._writing[0]
        return self.alphabet.written, self.symbols.numpy()

    def texts(self) -> list[str]:
        """The text of each row, stripped as transformers strips it; two delimiters stay two spaces."""
        splits = self.row_splits.numpy()
        return [text.strip() for text in self._joined(splits[:-1], splits[1:])]

    def _joined(self, first: Array, end: Array) -> list[str]:
        """What the emissions from ``first`` to before ``end`` write together, for each of such runs."""
        if self._writing is None:
            pieces = self.alphabet.written.take(self.symbols.numpy()).tolist()
            return ["".join(pieces[a:b]) for a, b in zip(first.tolist(), end.tolist(), strict=True)]
        text, bounds = self._writing
        if bounds is not None:
            first, end = bounds[first], bounds[end]
        return [text[a:b] for a, b in zip(first.tolist(), end.tolist(), strict=True)]

    def characters(self) -> list[list[dict[str, Any]]]:
        """``{"char", "start_offset", "end_offset"}`` of each emission of each row; not stripped."""
        columns = (self._pieces, self.starts.numpy(), self.ends.numpy())
        return rows_of_records(("char", "start_offset", "end_offset"), columns, self.row_splits.tolist())

    @cached_property
    def word_runs(self) -> tuple[Tensor, Tensor, Tensor]:
        """First and last emission [M] of every word, and the splits [B + 1] of the words by row."""
        letter = ~self.alphabet.spaces[self.symbols]
        opens, closes = letter.clone(), letter.clone()
        opens[1:] &= ~letter[:-1]
        closes[:-1] &= ~letter[1:]
        borders = self.row_splits[1:-1]
        inner = borders[(borders > 0) & (borders < len(letter))]
        opens[inner] = letter[inner]
        closes[inner - 1] = letter[inner - 1]
        first, last = opens.nonzero().flatten(), closes.nonzero().flatten()
        return first, last, torch.searchsorted(first, self.row_splits)

    def words(self) -> list[list[dict[str, Any]]]:
        """``{"word", "start_offset", "end_offset"}`` of each word of each row: the runs between delimiters."""
        first, last, splits = self.word_runs
        columns = (self._words, self.starts[first].numpy(), self.ends[last].numpy())
        return rows_of_records(("word", "start_offset", "end_offset"), columns, splits.tolist())

    def times(self, kind: str, samples_per_frame: float, sampling_rate: float) -> list[list[dict[str, Any]]]:
        """``{"text", "timestamp": (start, end)}`` in seconds of every "char" or "word" (``kind``)."""
        if kind == "char":
            pieces: Column = self._pieces
            starts, ends, splits = self.starts, self.ends, self.row_splits
        else:
            first, last, splits = self.word_runs
            pieces, starts, ends = self._words, self.starts[first], self.ends[last]
        spans = frame_times(samples_per_frame, sampling_rate).spans(starts.numpy(), ends.numpy())
        return rows_of_records(("text", "timestamp"), (pieces, spans), splits.tolist())

    @cached_property
    def _words(self) -> Array:
        """[M] the words, as objects."""
        first, last, _ = self.word_runs
        words = np.empty(len(first), dtype=object)
        words[:] = self._joined(first.numpy(), last.numpy() + 1)
        return words
