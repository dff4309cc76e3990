"""How sure a recognition is: of characters and words from a CTC model's frames, of words and segments from tokens."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .ctc_transcripts import CtcTranscripts

Array = np.ndarray[Any, Any]


def frame_probabilities(logits: Tensor) -> Tensor:
    """The probability of the best id of every frame, [B, T] float32. logits: [B, T, V]; no softmax is kept."""
    values = logits.detach()
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    return (values.amax(-1) - values.logsumexp(-1)).exp().float()


def character_confidences(probabilities: Tensor, found: CtcTranscripts, *, lowest: bool = False) -> Tensor:
    """Of every emission [N], the mean probability of its frames, or the lowest.

    probabilities: [B, T], see `frame_probabilities`. found: of the same rows and frames (`collapse_ctc`).
    """
    values = probabilities.cpu().double().numpy()
    rows = np.repeat(np.arange(len(found.row_splits) - 1), np.diff(found.row_splits.numpy()))
    begin = rows * values.shape[1] + found.starts.numpy()
    return torch.from_numpy(_of_spans(values.reshape(-1), begin, (found.ends - found.starts).numpy(), lowest))


def word_confidences(probabilities: Tensor, found: CtcTranscripts, *, lowest: bool = False) -> Tensor:
    """Of every word [M], the mean confidence of its characters, or the lowest; in the order of ``found.words()``."""
    characters = character_confidences(probabilities, found, lowest=lowest).numpy()
    first, last, _ = found.word_runs
    return torch.from_numpy(_of_spans(characters, first.numpy(), (last - first + 1).numpy(), lowest))


def _of_spans(values: Array, begin: Array, counts: Array, lowest: bool) -> Array:
    """The mean or the minimum of ``counts`` values from ``begin`` on, for every span; none is empty."""
    if len(begin) == 0:
        return np.zeros(0)
    splits = np.concatenate(([0], counts.cumsum()))
    place = np.arange(splits[-1]) - np.repeat(splits[:-1] - begin, counts)
    if lowest:
        found: Array = np.minimum.reduceat(values[place], splits[:-1])
        return found
    total: Array = np.add.reduceat(values[place], splits[:-1]) / counts
    return total


@dataclass(frozen=True)
class SegmentScores:
    """What Whisper's own long form judges a segment by."""

    avg_logprob: float  # mean over its tokens
    compression_ratio: float  # bytes of its text over those of it compressed: loops compress well
    confidence: float  # exp of the mean: the geometric mean of its tokens' probabilities


def score_segment(token_logprobs: Sequence[float], text: str) -> SegmentScores:
    """Scores of a segment from the log-probabilities of its tokens and its text, as OpenAI's implementation has them.

    (transformers compresses token ids instead, which gives other ratios.) No tokens: a mean of NaN.
    >>> round(score_segment([-0.1, -0.3], "the the the the").avg_logprob, 6)
    -0.2
    """
    mean = float(np.mean(token_logprobs)) if len(token_logprobs) else float("nan")
    data = text.encode()
    return SegmentScores(mean, len(data) / len(zlib.compress(data)), float(np.exp(mean)))


def token_word_confidences(token_logprobs: Tensor | Array, words: Sequence[tuple[str, int, int]]) -> list[float]:
    """exp of the mean log-probability of each word's tokens. words: ``(text, first, last)``, see `split_words`."""
    values = token_logprobs.detach().cpu().numpy() if isinstance(token_logprobs, Tensor) else token_logprobs
    firsts = np.array([first for _, first, _ in words], dtype=np.int64)
    counts = np.array([last for _, _, last in words], dtype=np.int64) - firsts + 1
    means: list[float] = np.exp(_of_spans(np.asarray(values, dtype=np.float64), firsts, counts, False)).tolist()
    return means
