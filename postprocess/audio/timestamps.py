"""Whisper's token sequences to segments and words with times, over all chunks of a recording.

Tokens are text, times or special. Only times and special tokens change the state, so the loop goes over those few; the
text between them moves as slices. Overlapping chunks wait for each other and are merged where a segment ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..records import collection_paused
from .chunk_merge import Times, merge_overlaps_of_tokens
from .rounding import round_to_hundredths
from .word_splits import WhisperVocabulary, split_words

Array = np.ndarray[Any, Any]
Timestamps = bool | Literal["word"] | None


@dataclass(frozen=True)
class WhisperOutput:
    """What Whisper generated for one chunk of a recording."""

    token_ids: Tensor | Array  # [T] int64
    stride: tuple[float, float, float] | None = None  # seconds of the chunk, of its left and of its right overlap
    token_times: Tensor | Array | None = None  # [T] seconds, the end of every token within the chunk; for words


class Segment(NamedTuple):
    """Text between two times. An hour has thousands: a named tuple is made in a quarter of a dataclass's time."""

    token_ids: Array  # [n] int64
    start: float | None
    end: float | None
    language: str | None  # of the segment
    spoken: str | None  # the last language named before the segment ended
    token_times: Times | None = None  # starts and ends [n], seconds


@dataclass(frozen=True)
class Transcript:
    """Segments of one recording. ``text`` is all of it; ``unfinished`` tells that no time closed the last segment."""

    text: str
    segments: tuple[Segment, ...]
    texts: tuple[str, ...]  # of each segment
    unfinished: bool
    vocabulary: WhisperVocabulary = field(repr=False)

    def chunks(self, *, times: bool = True, language: bool = False) -> list[dict[str, Any]]:
        """``{"timestamp": (start, end), "text", "language"}`` of every segment, as transformers' pipeline has them."""
        with collection_paused():
            return [
                {
                    **({"language": segment.language} if language else {}),
                    **({"timestamp": (segment.start, segment.end)} if times else {}),
                    "text": text,
                }
                for segment, text in zip(self.segments, self.texts, strict=True)
            ]

    def words(self, *, language: bool = False) -> list[dict[str, Any]]:
        """``{"text", "timestamp": (start, end), "language"}`` of every word; needs ``token_times``."""
        with collection_paused():
            return [word for segment in self.segments for word in self._words_of(segment, language)]

    def _words_of(self, segment: Segment, language: bool) -> list[dict[str, Any]]:
        if segment.token_times is None:
            raise ValueError("token_times must be given with every output to time words; got None")
        starts, ends = (column.tolist() for column in segment.token_times)
        named = {"language": segment.spoken} if language else {}
        words = split_words(segment.token_ids.tolist(), self.vocabulary, segment.spoken)
        return [{"text": text, "timestamp": (starts[a], ends[b]), **named} for text, a, b in words]


def decode_whisper(
    outputs: Sequence[WhisperOutput],
    vocabulary: WhisperVocabulary,
    *,
    return_timestamps: Timestamps = False,
    time_precision: float = 0.02,
    segment_size: int = 1500,
) -> Transcript:
    """Text and segments of one recording from what Whisper generated for its chunks, in order.

    return_timestamps: False joins all text (a change of language ends a segment), True ends segments at times, "word"
    keeps the times of every token besides. time_precision: seconds a step of the time tokens stands for. segment_size:
    frames of one of the model's windows; a time that goes back means that the model began a new window.
    Times are rounded to hundredths as Python rounds. A recording that ends without a time leaves a segment whose end is
    None. All as transformers' ``_decode_asr``; ``repair_chunks`` corrects what is odd in it.
    Cost: linear in the tokens and, where chunks overlap, in their number.
    """
    if return_timestamps == "word":
        for index, output in enumerate(outputs):
            if output.token_times is None:
                raise ValueError(f"token_times must be given to time words; got None in output {index}")
    reader = _Reader(vocabulary, return_timestamps, time_precision, segment_size)
    with collection_paused():
        for output in outputs:
            reader.read(output)
        segments, unfinished = reader.finish()
        texts = tuple(vocabulary.write_all([segment.token_ids for segment in segments]))
    return Transcript("".join(texts), segments, texts, unfinished, vocabulary)


class _Reader:
    """The state between chunks: an open segment, the pieces of text that wait for their merge, and the clock."""

    def __init__(
        self, vocabulary: WhisperVocabulary, timestamps: Timestamps, time_precision: float, segment_size: int
    ) -> None:
        self.vocabulary, self.timestamps, self.precision = vocabulary, timestamps, time_precision
        self.window = time_precision * segment_size
        self.segments: list[Segment] = []
        self.offset = 0.0  # where the chunk begins in the recording
        self.language: str | None = None
        self.skip = False  # the next time is the second of a pair within an overlap
        self.waiting: list[Array] = []
        self.waiting_times: list[Times] = []
        self._open()

    def _open(self) -> None:
        self.start: float | None = None
        self.segment_language = self.language

    def _close(self, end: float | None, *, timed: bool) -> None:
        """Merge what waits into a segment."""
        if len(self.waiting) == 1:
            ids, times = self.waiting[0], self.waiting_times[0] if timed else None
        else:
            ids, times = merge_overlaps_of_tokens(self.waiting, self.waiting_times if timed else None)
        self.segments.append(Segment(ids, self.start, end, self.segment_language, self.language, times))
        self.waiting = []
        self._open()

    def read(self, output: WhisperOutput) -> None:
        """Take one window's output: its text tokens join what waits, its timestamps open and close segments.

        A window overlaps the next by its stride; what lies in the left part or behind the last time before the right
        part belongs to the neighbours, and the offset moves on by what is left.
        """
        ids = without_prompt(_on_host(output.token_ids), self.vocabulary)
        first: float = self.vocabulary.timestamp_begin
        last = None
        if output.stride is not None:
            length, left, right = output.stride
            self.offset -= left
            if left:
                first = left / self.precision + first
            if right:
                last = last_time_before_overlap(ids, self.vocabulary, self.precision, length - right)
        is_text = self.vocabulary.text_mask(ids)
        self.text, self.times = ids[is_text], self._times(is_text, output)
        begun = self._read_marks(ids, np.flatnonzero(~is_text), first, last)
        if begun < len(self.text):
            self._wait(begun, len(self.text))
        elif not any(len(piece) for piece in self.waiting):
            self._open()
            self.waiting, self.waiting_times = [], []
        if output.stride is not None:
            self.offset += length - right

    def _read_marks(self, ids: Array, marks: Array, first: float, last: int | None) -> int:
        """Go through times and special tokens. Returns how many text tokens are in closed segments."""
        special, begun = self.vocabulary.special_ids, 0
        columns = zip(marks.tolist(), ids[marks].tolist(), self._seconds(ids, marks), strict=True)
        for index, (place, token, time) in enumerate(columns):
            before = place - index  # text tokens before this mark
            if token in special:
                begun = self._read_special(token, begun, before)
            elif last and token >= last:
                # Within the right overlap: the next chunk tells where this segment ends. Times come in pairs.
                self.skip = True
            elif self.skip or (self.waiting and token < first):
                self.skip = False
            elif self.start is None:
                self.start = time
            elif time != self.start:
                self._wait(begun, before)
                self._close(time, timed=self.timestamps == "word")
                self.waiting_times = []
                begun = before
        return begun

    def _seconds(self, ids: Array, marks: Array) -> list[float]:
        """When each time token is within the recording; special tokens have a number without meaning."""
        tokens = ids[marks] - self.vocabulary.timestamp_begin
        times = tokens[tokens >= 0]
        if bool((times[1:] >= times[:-1]).all()):  # one window
            seconds: list[float] = round_to_hundredths(tokens * self.precision + self.offset).tolist()
            return seconds
        clock = _WindowClock(ids, self.vocabulary, self.precision, self.window)
        return [
            round(steps * self.precision + self.offset + clock.advance(place, steps), 2)
            for place, steps in zip(marks.tolist(), tokens.tolist(), strict=True)
        ]

    def _read_special(self, token: int, begun: int, before: int) -> int:
        language = self.vocabulary.languages.get(token)
        if language is None:
            return begun
        if self.language and language != self.language and not self.timestamps:
            self._wait(begun, before)
            self._close(None, timed=False)
            begun = before
        self.segment_language = self.language = language
        return begun

    def _wait(self, begun: int, before: int) -> None:
        self.waiting.append(self.text[begun:before])
        if self.times is not None:
            self.waiting_times.append((self.times[0][begun:before], self.times[1][begun:before]))

    def _times(self, is_text: Array, output: WhisperOutput) -> Times | None:
        """When each text token starts (where the token before it ends, be it a time) and ends within the recording."""
        if self.timestamps != "word" or output.token_times is None:
            return None
        ends = _on_host(output.token_times).astype(np.float64)
        places = np.flatnonzero(is_text)
        starts = np.concatenate(([0.0], ends))[places]
        return round_to_hundredths(starts + self.offset), round_to_hundredths(ends[places] + self.offset)

    def finish(self) -> tuple[tuple[Segment, ...], bool]:
        unfinished = bool(self.waiting)
        if unfinished:
            self._close(None, timed=self.timestamps == "word")
        return tuple(self.segments), unfinished and bool(self.timestamps)


class _WindowClock:
    """Seconds of the model's own windows before the one a time belongs to: in long form, times start again in each."""

    def __init__(self, ids: Array, vocabulary: WhisperVocabulary, precision: float, window: float) -> None:
        self.ids, self.vocabulary, self.precision, self.window = ids, vocabulary, precision, window
        self.passed = self.latest = self.before_latest = 0.0

    def advance(self, place: int, steps: int) -> float:
        """The seconds passed before the token at ``place``, a time ``steps`` after its window's begin."""
        if int(self.ids[place]) in self.vocabulary.special_ids:
            return 0.0
        time = float(steps * self.precision)
        if time < self.latest:
            if place < 2 or bool((self.ids[place - 2 : place] >= self.vocabulary.timestamp_begin).all()):
                # The window ended with two times: the next one begins where its last segment did.
                self.latest = self.before_latest
                self.passed += self.before_latest
            else:
                self.passed += self.window
        self.before_latest, self.latest = self.latest, time
        return self.passed


def without_prompt(ids: Array, vocabulary: WhisperVocabulary) -> Array:
    """Tokens from the start of the transcript on, where they begin with a prompt; none if it never starts."""
    if len(ids) == 0 or ids[0] != vocabulary.prompt_id:
        return ids
    starts = np.flatnonzero(ids == vocabulary.start_id)
    return ids[starts[0] :] if len(starts) else ids[:0]


def last_time_before_overlap(
    ids: Array, vocabulary: WhisperVocabulary, precision: float, overlap_start: float
) -> int | None:
    """The first time token of the right overlap: times from it on are skipped. The last one is, wherever it lies."""
    begin, last = vocabulary.timestamp_begin, None
    for token in ids[ids >= begin][::-1].tolist():
        if last is not None and (token - begin) * precision < overlap_start:
            break
        last = token
    return last


def _on_host(values: Tensor | Array) -> Array:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
