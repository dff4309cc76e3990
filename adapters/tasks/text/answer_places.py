"""Where answers stand: spans of tokens as characters of the context, or as words for a tokenizer without offsets."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from ....postprocess.text.answers import LocatedSpans, to_characters, word_bounds
from ...running.batching import Row, pad_stack
from ...running.loaded import Loaded
from ...running.task import Prepared
from .question_words import word_answer

__all__ = ["in_characters", "in_words"]

WINDOWS_AT_ONCE = 256


def in_characters(rows: Sequence[Row], spans: LocatedSpans, align_to_words: bool) -> LocatedSpans:
    """Spans in characters; with ``align_to_words``, of the whole words they touch. Some hundred windows at a time."""
    ends = torch.bincount(spans.window, minlength=len(rows)).cumsum(0).tolist()
    pieces = []
    for first in range(0, len(rows), WINDOWS_AT_ONCE):
        chosen = rows[first : first + WINDOWS_AT_ONCE]
        own = slice(ends[first - 1] if first else 0, ends[first + len(chosen) - 1])
        here = LocatedSpans(spans.window[own] - first, spans.start[own], spans.end[own], spans.scores[own])
        offsets, words = _places(chosen, align_to_words)
        pieces.append(to_characters(here, offsets, words=words))
    return LocatedSpans(
        spans.window, torch.cat([each.start for each in pieces]), torch.cat([each.end for each in pieces]), spans.scores
    )


def _places(rows: Sequence[Row], align_to_words: bool) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    """The characters of every token of some windows [W, L, 2], and those of its word."""
    flat = (np.fromiter(chain.from_iterable(row.encoding.offsets), np.int64, 2 * row.length) for row in rows)
    offsets = pad_stack([each.reshape(-1, 2) for each in flat], 0)
    bounds = None
    if align_to_words:
        words = pad_stack([[-1 if word is None else word for word in row.encoding.word_ids] for row in rows], -1)
        bounds = word_bounds(words, offsets, pad_stack([row.facts["inside"] for row in rows], 0))
    pads = torch.tensor([row.facts["pads"] for row in rows], device="cpu")[:, None]
    if bool(pads.any()):
        place = torch.arange(offsets.shape[1], device="cpu") - pads
        index = place.remainder(torch.tensor([row.length for row in rows], device="cpu")[:, None])
        offsets = offsets.gather(1, index[:, :, None].expand_as(offsets))
        if bounds is not None:
            starts, stops = (torch.where(place < 0, -1, bound.gather(1, index)) for bound in bounds)
            bounds = starts, stops
    return offsets, bounds


def in_words(
    loaded: Loaded, items: Sequence[Prepared], rows: Sequence[Row], spans: LocatedSpans, question: torch.Tensor
) -> tuple[LocatedSpans, list[str]]:
    """Spans of tokens as spans of words, with their texts, for a tokenizer without offsets; some have none."""
    owners = question.tolist()
    kept: list[int] = []
    words: list[tuple[int, int, str]] = []
    for place, (window, first, last) in enumerate(
        zip(spans.window.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
    ):
        answer = word_answer(loaded, items[owners[window]].facts, rows[window], first, last)
        if answer is not None:
            kept.append(place)
            words.append(answer)
    bounds = torch.tensor([word[:2] for word in words], dtype=torch.long, device="cpu").view(-1, 2)
    located = LocatedSpans(spans.window[kept], bounds[:, 0], bounds[:, 1], spans.scores[kept])
    return located, [text for _, _, text in words]
