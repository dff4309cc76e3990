"""Where Whisper's decoder looked in the sound while it wrote each word: what the times of words are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....postprocess.audio.timestamps import Transcript
from ....postprocess.audio.word_splits import split_words
from ...generation.word_times import KEPT


@dataclass(frozen=True)
class TokenAttention:
    """Of one token: its smoothed attention to every position of its window [F], and when the window begins."""

    weights: Tensor
    begin: float  # seconds


@dataclass(frozen=True)
class WordAttention:
    """Of one word: ``weights`` [F], one for every ``step`` seconds from ``begin`` on.

    They are standardised over the tokens of the window, filtered and averaged over the alignment heads, and over the
    tokens of the word: large where this word looks and others do not. The word's time is where the cheapest path
    through all tokens' weights crosses them.
    """

    text: str
    timestamp: tuple[float | None, float | None]
    weights: NDArray[np.float32]
    begin: float
    step: float


def token_attentions(segments: Sequence[Mapping[str, Any]]) -> list[TokenAttention]:
    """Of every token that was kept, from the results of the windows it came of; none looks nowhere (the first)."""
    offsets: dict[int, int] = {}
    found = []
    for segment in segments:
        first, last = segment["idxs"]
        result = segment["result"]
        given = offsets.setdefault(id(result), first)
        kept = result[KEPT]
        # The same token counts from the begin of the recording here and from the begin of the window there.
        begin = float(segment["token_timestamps"][0] - result["token_timestamps"][first])
        for place in range(first - given - 1, last - given - 1):
            inside = 0 <= place < len(kept)
            found.append(TokenAttention(kept[place] if inside else torch.zeros(kept.shape[-1], device="cpu"), begin))
    return found


def word_attentions(transcript: Transcript, tokens: Sequence[TokenAttention], step: float) -> list[WordAttention]:
    """Of every word of a transcript. tokens: of its text tokens, in order; step: seconds a position."""
    words, rest = transcript.words(), iter(tokens)
    found: list[WordAttention] = []
    for segment in transcript.segments:
        own = [next(rest) for _ in range(len(segment.token_ids))]
        for _, first, last in split_words(segment.token_ids.tolist(), transcript.vocabulary, segment.spoken):
            part, word = own[first : last + 1], words[len(found)]
            weights = torch.stack([each.weights for each in part]).float().mean(0).cpu().numpy()
            found.append(WordAttention(word["text"], word["timestamp"], weights, part[0].begin, step))
    return found
