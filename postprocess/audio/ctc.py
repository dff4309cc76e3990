"""Connectionist temporal classification: frames to characters and words, a whole batch at once.

Frames of one symbol in a row are one emission, blanks separate emissions, a delimiter separates words. transformers
groups equal token *strings*, so two ids with one string (all unknown ids, for example) are one symbol here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from ..records import by_row, collection_paused, untrack_young

Array = np.ndarray[Any, Any]
LARGE_VOCABULARY = 512  # below, argmax is about as fast
LOGITS_AT_ONCE = 1 << 24  # of a block of frames: 64 MiB of float32
GROUP = 128  # neighbours of which the largest is found first


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
    def written(self) -> Array:
        """[S] the symbols as objects, so that a gather of them makes no new strings."""
        return np.array([*self.symbols, None], dtype=object)[:-1]

    @cached_property
    def codes(self) -> Array:
        """[S] the code point of every symbol of one character, -1 of the others."""
        return np.array([ord(symbol) if len(symbol) == 1 else -1 for symbol in self.symbols], dtype=np.int32)


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
    def _pieces(self) -> Sequence[str]:
        """What each emission writes: one string where every piece is one character, else a list."""
        codes = self.alphabet.codes[self.symbols.numpy()]
        if len(codes) and codes.min() >= 0:
            text: str = codes.tobytes().decode("utf-32-le", "surrogatepass")
            return text
        pieces: list[str] = self.alphabet.written[self.symbols.numpy()].tolist()
        return pieces

    def texts(self) -> list[str]:
        """The text of each row, stripped as transformers strips it; two delimiters stay two spaces."""
        return [text.strip() for text in self._joined(pairwise(self.row_splits.tolist()))]

    def _joined(self, spans: Iterable[tuple[int, int]]) -> list[str]:
        pieces = self._pieces
        if isinstance(pieces, str):
            return [pieces[a:b] for a, b in spans]
        return ["".join(pieces[a:b]) for a, b in spans]

    def characters(self) -> list[list[dict[str, Any]]]:
        """``{"char", "start_offset", "end_offset"}`` of each emission of each row; not stripped."""
        columns = (self._pieces, self.starts.tolist(), self.ends.tolist())
        with collection_paused():
            records = [{"char": char, "start_offset": i, "end_offset": j} for char, i, j in zip(*columns, strict=True)]
        return by_row(records, self.row_splits.tolist())

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
        columns = (self._word_pieces(), self.starts[first].tolist(), self.ends[last].tolist())
        with collection_paused():
            records = [{"word": word, "start_offset": i, "end_offset": j} for word, i, j in zip(*columns, strict=True)]
        return by_row(records, splits.tolist())

    def times(self, kind: str, samples_per_frame: float, sampling_rate: float) -> list[list[dict[str, Any]]]:
        """``{"text", "timestamp": (start, end)}`` in seconds of every "char" or "word" (``kind``).

        Frames are multiplied, then divided, as transformers does: the other order differs in the last bit.
        """
        if kind == "char":
            pieces, starts, ends, splits = self._pieces, self.starts, self.ends, self.row_splits
        else:
            first, last, splits = self.word_runs
            pieces, starts, ends = self._word_pieces(), self.starts[first], self.ends[last]
        frames = int(ends.max()) if len(ends) else 0
        # Each frame's seconds are one object, which all records share: floats of their own would double the work.
        seconds = np.array([*(np.arange(frames + 1) * samples_per_frame / sampling_rate).tolist(), None], dtype=object)
        with collection_paused():
            spans = _spans(starts.numpy(), ends.numpy(), seconds)
            untrack_young(len(spans))
            records = [{"text": text, "timestamp": times} for text, times in zip(pieces, spans, strict=True)]
        return by_row(records, splits.tolist())

    def _word_pieces(self) -> list[str]:
        first, last, _ = self.word_runs
        return self._joined(zip(first.tolist(), (last + 1).tolist(), strict=True))


def _spans(starts: Array, ends: Array, seconds: Array) -> list[tuple[float, float]]:
    """``(seconds[start], seconds[end])`` of every emission. starts, ends: [N] int64, end at or after start.

    Many rows of short emissions have most pairs several times: each is then made once, in a table of start and length.
    """
    lengths = ends - starts
    width = int(lengths.max(initial=0)) + 1
    if len(seconds) * width > 2 * len(starts):
        return list(zip(seconds[starts].tolist(), seconds[ends].tolist(), strict=True))
    codes = starts * width + lengths
    used = np.zeros(len(seconds) * width, dtype=bool)
    used[codes] = True
    keys = np.flatnonzero(used)
    first, length = np.divmod(keys, width)
    pairs = zip(seconds[first].tolist(), seconds[first + length].tolist(), strict=True)
    table = np.empty(len(used), dtype=object)
    table[keys] = np.fromiter(pairs, dtype=object, count=len(keys))
    spans: list[tuple[float, float]] = table[codes].tolist()
    return spans


def frame_ids(logits: Tensor) -> Tensor:
    """The best id of every frame. logits: [B, T, V]; returns [B, T] int64, the first of equal logits, as argmax.

    On the CPU the largest of every hundred or so neighbours are found first, in one pass over all logits, and the place
    is looked for in the first group that holds the largest of all. Frames that hold NaN go through argmax.
    """
    vocab_size = logits.shape[-1]
    if logits.device.type != "cpu" or vocab_size < LARGE_VOCABULARY:
        return logits.argmax(dim=-1)
    rows = logits.detach().reshape(-1, vocab_size)
    best = torch.empty(len(rows), dtype=torch.long, device="cpu")
    step = max(1, LOGITS_AT_ONCE // vocab_size)
    for first in range(0, len(rows), step):
        best[first : first + step] = _best_ids(rows[first : first + step])
    return best.reshape(logits.shape[:-1])


def _best_ids(rows: Tensor) -> Tensor:
    """rows: [N, V]. The last group ends with the row, so that it may overlap the one before it."""
    rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
    count, vocab_size = rows.shape
    whole = vocab_size // GROUP
    first = rows[:, : whole * GROUP].reshape(count, whole, GROUP).amax(dim=2)
    groups = torch.cat((first, rows[:, -GROUP:].amax(dim=1, keepdim=True)), dim=1).numpy()  # [N, whole + 1]
    row, best = np.arange(count), groups.argmax(axis=1)
    begins = np.minimum(best * GROUP, vocab_size - GROUP)
    largest = groups[row, best, None]
    inside = sliding_window_view(rows.numpy(), GROUP, axis=1)[row, begins] == largest
    places = torch.from_numpy(begins + inside.argmax(axis=1))
    unknown = np.isnan(largest[:, 0])  # equal to nothing
    if unknown.any():
        doubtful = torch.from_numpy(unknown)
        places[doubtful] = rows[doubtful].argmax(dim=1)
    return places


def collapse_ctc(
    ids: Tensor,
    alphabet: CtcAlphabet,
    *,
    lengths: Tensor | None = None,
    group: bool = True,
    dropped: Tensor | None = None,
) -> CtcTranscripts:
    """Emissions of every row, with the frames they span.

    ids: [B, T] int64, the best id of each frame; copied to the host, 8 bytes a frame. lengths: [B], frames of each
    row; None means T (transformers decodes the padding of a batch too). group=False keeps every frame as an emission
    of its own (transducers). dropped: [S] bool, symbols removed before grouping, as ``skip_special_tokens`` does;
    frames are then counted without them. Cost: one pass over the frames.
    >>> found = collapse_ctc(torch.tensor([[1, 1, 0, 1, 2]]), ctc_alphabet(["_", "a", "|"], blank="_"))
    >>> found.texts(), found.words()
    (['aa'], [[{'word': 'aa', 'start_offset': 0, 'end_offset': 4}]])
    """
    if ids.dim() != 2:
        raise ValueError(f"ids must be [B, T]; got shape {list(ids.shape)}")
    batch_size, frames = ids.shape
    host = ids.detach().cpu().contiguous().numpy()
    splits = np.arange(batch_size + 1) * frames
    if lengths is None:
        return collapse_frames(host.reshape(-1), splits, alphabet, group=group, dropped=dropped)
    if lengths.shape != (batch_size,):
        raise ValueError(f"lengths must be [{batch_size}]; got shape {list(lengths.shape)}")
    counts = lengths.cpu().numpy().clip(0, frames)
    kept = host[np.arange(frames) < counts[:, None]]
    np.cumsum(counts, out=splits[1:])
    return collapse_frames(kept, splits, alphabet, group=group, dropped=dropped)


def collapse_chunks(
    chunks: Sequence[Tensor],
    strides: Sequence[tuple[int, int, int] | None],
    items: Sequence[int],
    alphabet: CtcAlphabet,
) -> CtcTranscripts:
    """Chunks of long recordings: the frames within the strides of an item's chunks are joined, then collapsed.

    chunks: ids [T_k] of each chunk. strides: (frames, left, right) of each chunk in frames, or None to keep all.
    items: the recording each chunk belongs to, ascending from 0. A run that crosses a border is one emission.
    """
    parts = [ids if s is None else ids[s[1] : s[0] - s[2]] for ids, s in zip(chunks, strides, strict=True)]
    counts = np.zeros(max(items, default=-1) + 2, dtype=np.int64)
    np.add.at(counts, np.asarray(items, dtype=np.int64) + 1, [len(part) for part in parts])
    flat = torch.cat(list(parts)).cpu().numpy() if parts else np.zeros(0, dtype=np.int64)
    return collapse_frames(flat, counts.cumsum(), alphabet)


def collapse_frames(
    ids: Array, splits: Array, alphabet: CtcAlphabet, *, group: bool = True, dropped: Tensor | None = None
) -> CtcTranscripts:
    """The same for frames in one column. ids: [F]; splits: [B + 1], row b is frames splits[b] to splits[b + 1]."""
    if dropped is not None:
        kept = ~dropped.numpy()[_symbols(ids, alphabet)]
        ids, splits = ids[kept], np.concatenate(([0], kept.cumsum()))[splits]
    starts = _run_starts(ids, splits) if group else np.arange(len(ids))
    symbols = _symbols(ids[starts], alphabet)
    if group and not (alphabet.distinct and _all_known(ids[starts], alphabet)):
        # Different ids of one string, such as two unknown ones, are one run.
        kept = _run_starts(symbols, np.searchsorted(starts, splits))
        starts, symbols = starts[kept], symbols[kept]
    ends = np.append(starts[1:], len(ids))[: len(starts)]
    written = np.flatnonzero(symbols != alphabet.blank)
    starts, ends, symbols = starts[written], ends[written], symbols[written]
    row_splits = np.searchsorted(starts, splits)
    begin = np.repeat(splits[:-1], np.diff(row_splits))
    columns = (row_splits, symbols, starts - begin, ends - begin)
    return CtcTranscripts(alphabet, *map(torch.from_numpy, columns))


def _run_starts(ids: Array, splits: Array) -> Array:
    """Places where a value differs from the one before it, or a row begins."""
    opens = np.empty(len(ids), dtype=bool)
    np.not_equal(ids[1:], ids[:-1], out=opens[1:])
    opens[splits[:-1][splits[:-1] < len(ids)]] = True
    return np.flatnonzero(opens)


def _symbols(ids: Array, alphabet: CtcAlphabet) -> Array:
    table = alphabet.symbol_of_id.numpy()
    if not _all_known(ids, alphabet):
        ids = np.where((ids >= 0) & (ids < len(table) - 1), ids, len(table) - 1)
    return table[ids]


def _all_known(ids: Array, alphabet: CtcAlphabet) -> bool:
    return len(ids) == 0 or bool(ids.min() >= 0 and ids.max() < len(alphabet.symbol_of_id) - 1)
