"""Recognition while the sound comes in: what is settled, and what may still change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .ctc import collapse_frames
from .ctc_transcripts import CtcAlphabet, CtcTranscripts


@dataclass(frozen=True)
class StreamedWords:
    """Words with their frames from the beginning of the sound, ``(text, first, last + 1)``."""

    settled: tuple[tuple[str, int, int], ...]  # new ones that will not change
    tail: tuple[tuple[str, int, int], ...]  # everything after them, as it looks now


class CtcStream:
    """Words of a CTC model as its frames come.

    The last frames of a chunk have heard too little of what follows, so the next chunk reads them again: ``feed`` takes
    the frames after the last final ones, and how many of them are final now. A word is settled when a delimiter after
    it is final; the words of ``settled`` over all calls are those of the whole recording at once.
    >>> from .ctc_transcripts import ctc_alphabet
    >>> stream = CtcStream(ctc_alphabet(["_", "a", "b", "|"], blank="_"))
    >>> stream.feed(torch.tensor([1, 1, 3, 2]), final_frames=3).settled
    (('a', 0, 2),)
    >>> stream.feed(torch.tensor([2, 2]), last=True).settled
    (('b', 3, 5),)
    """

    def __init__(self, alphabet: CtcAlphabet) -> None:
        self.alphabet = alphabet
        self._open = torch.zeros(0, dtype=torch.long, device="cpu")  # final frames of words that are not settled
        self._begin = 0  # the first of them

    def feed(self, ids: Tensor, *, final_frames: int | None = None, last: bool = False) -> StreamedWords:
        """Read frames. ids: [F], the best id of each frame after the final ones so far.

        final_frames: how many of them will not be given again; None means all. last: nothing follows.
        """
        final = len(ids) if final_frames is None or last else final_frames
        if not 0 <= final <= len(ids):
            raise ValueError(f"final_frames must be in [0, {len(ids)}]; got {final}")
        known = torch.cat((self._open, ids.cpu().long()))
        sure = len(self._open) + final
        found = self._collapse(known)
        words = [(item["word"], item["start_offset"], item["end_offset"]) for item in found.words()[0]]
        border = sure if last else self._last_delimiter(known[:sure])
        settled = [word for word in words if word[2] <= border or last]
        tail = words[len(settled) :]
        begin = self._begin
        self._open, self._begin = known[border:sure], begin + border
        moved = [tuple((text, start + begin, end + begin) for text, start, end in part) for part in (settled, tail)]
        return StreamedWords(*moved)

    def _collapse(self, ids: Tensor) -> CtcTranscripts:
        return collapse_frames(ids.numpy(), np.array([0, len(ids)]), self.alphabet)

    def _last_delimiter(self, ids: Tensor) -> int:
        """The first frame of the last run of delimiters: what is before it is settled, and nothing else."""
        found = self._collapse(ids)
        spaces = self.alphabet.spaces[found.symbols].nonzero().flatten()
        return int(found.starts[spaces[-1]]) if len(spaces) else 0


@dataclass
class AgreementStream:
    """Words of a model that reads a growing window anew each time: those on which two readings agree are settled."""

    settled: list[str] = field(default_factory=list)
    _before: list[str] = field(default_factory=list)

    def feed(self, words: Sequence[str], *, last: bool = False) -> tuple[list[str], list[str]]:
        """Take a reading of everything so far. Returns the words settled by it and the tail after them.

        Words once settled stay, whatever a later reading says of them.
        >>> stream = AgreementStream()
        >>> stream.feed(["the", "see"]), stream.feed(["the", "sea", "and"])
        (([], ['the', 'see']), (['the'], ['sea', 'and']))
        """
        words, done = list(words), len(self.settled)
        count = len(words) if last else _common_prefix(self._before, words)
        new = words[done:count]
        self.settled += new
        self._before = words
        return new, words[len(self.settled) :]


def _common_prefix(one: Sequence[str], other: Sequence[str]) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
