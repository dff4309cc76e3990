"""Connectionist temporal classification: frames to characters and words, a whole batch at once.

Frames of one symbol in a row are one emission, blanks separate emissions, a delimiter separates words. transformers
groups equal token *strings*, so two ids with one string (all unknown ids, for example) are one symbol here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from .ctc_transcripts import CtcAlphabet, CtcTranscripts

Array = np.ndarray[Any, Any]
LARGE_VOCABULARY = 512  # below, argmax is about as fast
LOGITS_AT_ONCE = 1 << 24  # of a block of frames: 64 MiB of float32
GROUP = 128  # neighbours of which the largest is found first


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
    >>> from .ctc_transcripts import ctc_alphabet
    >>> found = collapse_ctc(torch.tensor([[1, 1, 0, 1, 2]]), ctc_alphabet(["_", "a", "|"], blank="_"))
    >>> found.texts(), found.words()
    (['aa'], [[{'word': 'aa', 'start_offset': 0, 'end_offset': 4}]])
    """
    if ids.dim() != 2:
        raise ValueError(f"ids must be [B, T]; got shape {list(ids.shape)}")
    batch_size, frames = ids.shape
    host = (ids if ids.device.type == "cpu" else ids.cpu()).numpy()
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
    ids = ids.astype(np.int64, copy=False)
    if dropped is not None:
        kept = ~dropped.numpy()[_symbols(ids, alphabet)]
        ids, splits = ids[kept], np.concatenate(([0], kept.cumsum()))[splits]
    if group and alphabet.distinct:
        columns = _emissions_of_ids(ids, splits, alphabet)
        if columns is not None:
            return _by_row(alphabet, splits, *columns)
    starts = _run_starts(ids, splits) if group else np.arange(len(ids))
    symbols = _symbols(ids[starts], alphabet)
    if group and not (alphabet.distinct and _all_known(ids[starts], alphabet)):
        # Different ids of one string, such as two unknown ones, are one run.
        kept = _run_starts(symbols, np.searchsorted(starts, splits))
        starts, symbols = starts[kept], symbols[kept]
    ends = np.append(starts[1:], len(ids))[: len(starts)]
    written = np.flatnonzero(symbols != alphabet.blank)
    return _by_row(alphabet, splits, symbols[written], starts[written], ends[written])


def _emissions_of_ids(ids: Array, splits: Array, alphabet: CtcAlphabet) -> tuple[Array, Array, Array] | None:
    """Symbols, starts and ends of all runs but blanks, where every id is a symbol of its own; else None.

    Flags of a byte a frame are what is gone through; the ids themselves are read twice.
    """
    opens = _run_flags(ids, splits)
    written = ids != alphabet.blank if alphabet.blank >= 0 else np.ones(len(ids), dtype=bool)
    starts = np.flatnonzero(opens & written)
    symbols = ids[starts]
    if not _all_known(symbols, alphabet):
        return None
    written[:-1] &= opens[1:]  # the last frame of a run: the next one opens another
    return symbols, starts, np.flatnonzero(written) + 1


def _by_row(alphabet: CtcAlphabet, splits: Array, symbols: Array, starts: Array, ends: Array) -> CtcTranscripts:
    """Emissions in frames of the whole column to emissions in frames of their rows."""
    row_splits = np.searchsorted(starts, splits)
    begin = np.repeat(splits[:-1], np.diff(row_splits))
    columns = (row_splits, symbols, starts - begin, ends - begin)
    return CtcTranscripts(alphabet, *map(torch.from_numpy, columns))


def _run_starts(ids: Array, splits: Array) -> Array:
    """Places where a value differs from the one before it, or a row begins."""
    return np.flatnonzero(_run_flags(ids, splits))


def _run_flags(ids: Array, splits: Array) -> Array:
    """The same as flags [F]."""
    opens = np.empty(len(ids), dtype=bool)
    np.not_equal(ids[1:], ids[:-1], out=opens[1:])
    opens[splits[:-1][splits[:-1] < len(ids)]] = True
    return opens


def _symbols(ids: Array, alphabet: CtcAlphabet) -> Array:
    table = alphabet.symbol_of_id.numpy()
    if not _all_known(ids, alphabet):
        ids = np.where((ids >= 0) & (ids < len(table) - 1), ids, len(table) - 1)
    return table[ids]


def _all_known(ids: Array, alphabet: CtcAlphabet) -> bool:
    """Whether all ids [N] int64 are in the vocabulary: as unsigned numbers, negative ones are beyond it too."""
    return len(ids) == 0 or bool(ids.view(np.uint64).max() < alphabet.vocab_size)
