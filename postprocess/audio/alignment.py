"""Forced alignment: the frames of a known text in a CTC model's output, the whole batch frame by frame.

Viterbi over blank, first token, blank, second token, ... with blanks and tokens in two arrays, so that a frame is a few
array operations over all rows and all places of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]
HOST = "cpu"
BLOCK = 1 << 17  # log-probabilities of a block of frames, brought together
STAR = -1  # a target that stands for anything


@dataclass(frozen=True)
class CtcAlignment:
    """Where each token of each text is. B rows, T frames, L tokens; frames are half-open."""

    tokens: Tensor  # [B, T] int64: the place in the text that a frame belongs to, -1 for a blank
    starts: Tensor  # [B, L] int64, -1 for padding and for texts that do not fit their frames
    ends: Tensor  # [B, L] int64
    token_logprobs: Tensor  # [B, L] float64: the mean over the frames of a token, NaN where there are none
    scores: Tensor  # [B] float64, the log-probability of the path; -inf for a text that does not fit

    def words(self, word_ids: Sequence[Sequence[int]]) -> list[list[tuple[int, int, int, float]]]:
        """``(word, first frame, frame after the last, probability)`` of every word that was found.

        word_ids: of each row, the word of each token, ascending; -1 for tokens between words. The probability is exp of
        the mean log-probability over the tokens' frames, each frame counting once.
        """
        columns = (self.starts.tolist(), self.ends.tolist(), self.token_logprobs.tolist())
        return [_words_of(ids, *row) for ids, row in zip(word_ids, zip(*columns, strict=True), strict=True)]


def _words_of(
    ids: Sequence[int], starts: list[int], ends: list[int], logprobs: list[float]
) -> list[tuple[int, int, int, float]]:
    found: dict[int, list[float]] = {}
    for word, start, end, logprob in zip(ids, starts, ends, logprobs, strict=False):
        if word < 0 or start < 0:
            continue
        first, _, total, frames = found.get(word, [start, 0, 0.0, 0])
        found[word] = [first, end, total + logprob * (end - start), frames + end - start]
    return [(word, int(a), int(b), float(np.exp(total / n))) for word, (a, b, total, n) in found.items()]


def align_ctc(
    logprobs: Tensor,
    targets: Tensor,
    *,
    lengths: Tensor | None = None,
    target_lengths: Tensor | None = None,
    blank: int = 0,
) -> CtcAlignment:
    """The most probable way to say each text within its frames.

    logprobs: [B, T, V] float, log-softmax over V. targets: [B, L] int64 token ids, or -1 (`STAR`) for something that
    is not known: it matches any frame at no cost, and needs one. lengths, target_lengths: [B], what is not padding;
    None means T and L. Equal neighbours need a blank between them, so a text of L tokens with r such repeats needs
    L + r frames; one that has fewer gets a score of -inf and no frames, and the other rows are untouched.
    Ties: a frame stays where it was before it comes from the blank, and from there before it skips a blank; the last
    frame is the last token's before it is a blank. Sums in float64. Copies the targets' log-probabilities to the host.
    Cost: T steps of array operations on B * L numbers, and 3 bytes a frame and token.
    >>> logprobs = torch.tensor([[[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]]).log()
    >>> align_ctc(logprobs, torch.tensor([[1, 2]])).starts
    tensor([[0, 2]])
    """
    batch_size, frames, places = _check(logprobs, targets, blank)
    frame_counts = _counts("lengths", lengths, batch_size, frames)
    token_counts = _counts("target_lengths", target_lengths, batch_size, places)
    emissions = _Emissions(logprobs.detach(), targets, blank)
    paths = _Viterbi(targets.cpu().numpy(), frames, emissions).run(frame_counts, token_counts)
    return _located(paths, emissions, places)


def _check(logprobs: Tensor, targets: Tensor, blank: int) -> tuple[int, int, int]:
    """B, T and L of a call; ValueError where shapes, the blank or a target's ids are not what ``align`` takes."""
    if logprobs.dim() != 3:
        raise ValueError(f"logprobs must be [B, T, V]; got shape {list(logprobs.shape)}")
    batch_size, frames, vocab_size = logprobs.shape
    if targets.dim() != 2 or targets.shape[0] != batch_size:
        raise ValueError(f"targets must be [{batch_size}, L]; got shape {list(targets.shape)}")
    if not 0 <= blank < vocab_size:
        raise ValueError(f"blank must be in [0, {vocab_size}); got {blank}")
    bad = (targets < STAR) | (targets >= vocab_size) | (targets == blank)
    if bool(bad.any()):
        row = int(bad.any(dim=1).int().argmax())
        value = int(targets[row][bad[row]][0])
        raise ValueError(f"targets must be ids in [0, {vocab_size}) but the blank, or -1; got {value} in row {row}")
    return batch_size, frames, targets.shape[1]


def _counts(name: str, given: Tensor | None, batch_size: int, most: int) -> Array:
    if given is None:
        return np.full(batch_size, most)
    if given.shape != (batch_size,):
        raise ValueError(f"{name} must be [{batch_size}]; got shape {list(given.shape)}")
    return given.cpu().numpy().clip(0, most)


class _Emissions:
    """Log-probabilities of the texts' tokens and of the blank, frame by frame, from blocks that the cache holds."""

    def __init__(self, logprobs: Tensor, targets: Tensor, blank: int) -> None:
        half = logprobs.dtype in (torch.float16, torch.bfloat16)
        self.values = logprobs.float() if half else logprobs
        self.blank, self.star = blank, (targets == STAR).cpu().numpy()
        self.ids = targets.clamp_min(0).cpu().numpy()
        self.any_star = bool(self.star.any())
        if logprobs.device.type != HOST:  # only what the texts need leaves the device
            index = torch.from_numpy(np.pad(self.ids, ((0, 0), (1, 0)), constant_values=blank)).to(logprobs.device)
            self.values = self.values.gather(2, index[:, None].expand(-1, logprobs.shape[1], -1)).cpu()
            self.ids = np.broadcast_to(np.arange(1, index.shape[1]), self.ids.shape)
            self.blank = 0
        rows, _, width = self.values.shape
        self.places = np.arange(rows)[:, None] * width + self.ids
        self.block, self.first, self.kept = max(1, BLOCK // max(1, rows * width)), 0, np.zeros(0)
        self.said = np.empty(self.ids.shape, dtype=self.values.numpy().dtype)

    def at(self, frame: int) -> tuple[Array, Array]:
        """Of the tokens [B, L] and of the blank [B, 1]; the arrays are used again for the next frame."""
        if not self.first <= frame < self.first + len(self.kept):
            self.first = frame
            block = self.values[:, frame : frame + self.block].transpose(0, 1)
            self.kept = block.contiguous().numpy()
        values = self.kept[frame - self.first]
        np.take(values.reshape(-1), self.places, out=self.said, mode="clip")
        if self.any_star:
            self.said[self.star] = 0.0
        return self.said, values[:, self.blank, None]

    def of(self, rows: Array, frames: Array, places: Array) -> Array:
        """Of single tokens [N]."""
        found: Array = self.values.numpy()[rows, frames, self.ids[rows, places]].astype(np.float64)
        found[self.star[rows, places]] = 0.0
        return found


class _Viterbi:
    """Scores of the best paths: of those that end in token l, and of those that end in the blank before token l."""

    def __init__(self, targets: Array, frames: int, emissions: _Emissions) -> None:
        self.emissions = emissions
        rows, places = targets.shape
        # A star takes part in no repeat: it may be anything.
        may_skip = (targets[:, 1:] != targets[:, :-1]) | (targets[:, 1:] == STAR)
        self.no_skip = np.full((rows, places), -np.inf)
        self.no_skip[:, 1:][may_skip] = 0.0
        self.from_blank = np.empty((frames, rows, places), dtype=bool)
        self.from_token = np.empty((frames, rows, places), dtype=bool)
        self.blank_moves = np.empty((frames, rows, places + 1), dtype=bool)

    def run(self, frame_counts: Array, token_counts: Array) -> tuple[Array, Array]:
        """Paths [B, T] over places (-1 blank) and their scores [B]."""
        _, rows, places = self.from_blank.shape
        token = np.full((rows, places + 1), -np.inf)  # column 0 is no token: nothing comes from before the text
        blank = np.full((rows, places + 1), -np.inf)
        blank[:, 0] = 0.0
        best, skip = np.empty((rows, places)), np.empty((rows, places))
        ends = {int(count): np.flatnonzero(frame_counts == count) for count in np.unique(frame_counts)}
        last_token, last_blank = np.full(rows, -np.inf), np.full(rows, -np.inf)
        longest = int(frame_counts.max(initial=0))
        for frame in range(longest + 1):
            row = ends.get(frame)
            if row is not None:
                count = token_counts[row]
                last_token[row], last_blank[row] = token[row, count], blank[row, count]
            if frame < longest:
                self._step(frame, token, blank, best, skip)
        return self._trace(frame_counts, token_counts, last_token, last_blank)

    def _step(self, frame: int, token: Array, blank: Array, best: Array, skip: Array) -> None:
        """One frame, in place. best, skip: room to work in."""
        stay, before = token[:, 1:], blank[:, :-1]
        np.greater(before, stay, out=self.from_blank[frame])
        np.maximum(before, stay, out=best)
        np.add(token[:, :-1], self.no_skip, out=skip)
        np.greater(skip, best, out=self.from_token[frame])
        np.maximum(best, skip, out=best)
        np.greater(token, blank, out=self.blank_moves[frame])
        np.maximum(token, blank, out=blank)
        said, silent = self.emissions.at(frame)
        blank += silent
        np.add(best, said, out=token[:, 1:])

    def _trace(
        self, frame_counts: Array, token_counts: Array, last_token: Array, last_blank: Array
    ) -> tuple[Array, Array]:
        """All rows back from their last frames at once."""
        frames, rows, _ = self.from_blank.shape
        paths = np.full((rows, frames), -1)
        scores = np.maximum(last_token, last_blank)
        row = np.flatnonzero(scores > -np.inf)
        place = token_counts.copy()  # a token's place plus one; of a blank, the tokens before it
        silent = last_blank > last_token
        for frame in range(int(frame_counts.max(initial=0)) - 1, -1, -1):
            now = row[frame_counts[row] > frame]
            at, quiet = place[now], silent[now]
            paths[now, frame] = np.where(quiet, -1, at - 1)
            skipped = self._at(self.from_token, frame, now, at)
            paused = self._at(self.from_blank, frame, now, at) & ~skipped
            silent[now] = np.where(quiet, ~self.blank_moves[frame, now, at], paused)
            place[now] = at - (~quiet & (paused | skipped))
        return paths, scores

    def _at(self, steps: Array, frame: int, rows: Array, places: Array) -> Array:
        found: Array = steps[frame, rows, places - 1] if steps.shape[2] else np.zeros(len(rows), dtype=bool)
        return found


def _located(paths: tuple[Array, Array], emissions: _Emissions, places: int) -> CtcAlignment:
    """First and last frames of every token, and its mean log-probability."""
    path, scores = paths
    rows = len(path)
    starts, ends = np.full((rows, places), -1), np.full((rows, places), -1)
    means = np.full((rows, places), np.nan)
    row, frame = np.nonzero(path >= 0)
    key = row * max(1, places) + path[row, frame]  # ascending: a path never goes back
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, dtype=np.int64)
    if len(first):
        counts = np.diff(np.append(first, len(key)))
        owner, place = row[first], path[row[first], frame[first]]
        starts[owner, place] = frame[first]
        ends[owner, place] = frame[first] + counts
        means[owner, place] = np.add.reduceat(emissions.of(row, frame, path[row, frame]), first) / counts
    columns = (path, starts, ends, means, scores)
    return CtcAlignment(*map(torch.from_numpy, columns))
