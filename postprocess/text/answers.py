"""From candidate spans to answers: token spans to characters, words kept whole, windows merged per question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..probabilities import check_shape, distinct_rows
from .spans import SpanCandidates

NO_NULL_YET = 1000000.0  # transformers' null score before any window


@dataclass(frozen=True)
class LocatedSpans:
    """Spans in characters, in the order of the windows and of their ranks; before that in tokens. N spans."""

    window: Tensor  # [N] int64
    start: Tensor  # [N] int64
    end: Tensor  # [N] int64, exclusive
    scores: Tensor  # [N]


@dataclass(frozen=True)
class Answers:
    """Merged answers, by question and then best first. N answers."""

    question: Tensor  # [N] int64
    scores: Tensor  # [N] float64
    start: Tensor  # [N] int64, characters of the context
    end: Tensor  # [N] int64, exclusive
    is_null: Tensor  # [N] bool: "no answer"
    span: Tensor  # [N] int64, index of the first of its spans; -1 for "no answer"
    num_questions: int

    def records(self, contexts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """One list of ``{score, start, end, answer}`` per question, in plain Python numbers."""
        found: list[list[dict[str, Any]]] = [[] for _ in range(self.num_questions)]
        columns = (self.question, self.scores, self.start, self.end, self.is_null)
        for question, score, start, end, null in zip(*(column.tolist() for column in columns), strict=True):
            answer = "" if null else contexts[question][start:end]
            found[question].append({"score": score, "start": start, "end": end, "answer": answer})
        return found


def word_bounds(word_ids: Tensor, offsets: Tensor, sequence: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For every token, the characters of its whole word: (starts, ends), each [W, L] int64, -1 where there is no word.

    word_ids: [W, L] int, -1 for a token without a word. offsets: [W, L, 2]. sequence: [W, L] bool, the tokens of the
    context; a question token takes the bounds of the context's word of the same number, if the window holds it.
    A word cut by the edge of its window has the bounds of the part inside. No token is looped over.
    >>> word_bounds(torch.tensor([[-1, 0, 0, 1]]), torch.tensor([[[0, 0], [0, 3], [3, 5], [6, 9]]]))
    (tensor([[-1,  0,  0,  6]]), tensor([[-1,  5,  5,  9]]))
    """
    check_shape("word_ids", word_ids, "WL", (None, None))
    check_shape("offsets", offsets, "WL2", (*word_ids.shape, 2))
    inside = word_ids >= 0 if sequence is None else (word_ids >= 0) & sequence.bool()
    windows, length = word_ids.shape
    if not bool(inside.any()):
        return torch.full_like(word_ids, -1), torch.full_like(word_ids, -1)
    # Words count from the first of their window: deep in a long text their numbers are large, the windows are not.
    low = torch.where(inside, word_ids, torch.iinfo(word_ids.dtype).max).amin(dim=1, keepdim=True)
    number = (word_ids - low).clamp_min(-1)
    most = int(torch.where(inside, number, 0).max()) + 1
    # The first and the last token of every word, by scatter; slot `most` collects the tokens that do not count.
    slot = torch.where(inside, number, most).long()  # torch 2.4 takes no other index
    position = torch.arange(length, device=word_ids.device).expand(windows, length)
    first = torch.full((windows, most + 1), length, device=word_ids.device)
    first = first.scatter_reduce(1, slot, position, "amin")
    last = torch.full((windows, most + 1), -1, device=word_ids.device).scatter_reduce(1, slot, position, "amax")
    word = torch.where(number < 0, most, number.clamp_max(most)).long()
    known = (word < most) & (last.gather(1, word) >= 0)
    starts = offsets[..., 0].gather(1, first.gather(1, word).clamp_max(length - 1))
    ends = offsets[..., 1].gather(1, last.gather(1, word).clamp_min(0))
    return torch.where(known, starts, -1), torch.where(known, ends, -1)


def token_spans(candidates: SpanCandidates) -> LocatedSpans:
    """The valid candidates one after the other; start and end are their first and last token, both inclusive."""
    window, rank = candidates.valid.nonzero(as_tuple=True)
    columns = (candidates.first_token, candidates.last_token, candidates.scores)
    return LocatedSpans(window, *(column[window, rank] for column in columns))


def to_characters(spans: LocatedSpans, offsets: Tensor, *, words: tuple[Tensor, Tensor] | None = None) -> LocatedSpans:
    """Spans of tokens in characters. offsets: [W, L, 2], characters of each token.

    words: the result of ``word_bounds``: spans then grow to whole words. A span with an end that has no word keeps the
    tokens' own characters at both ends, transformers' rule.
    """
    window, first, last = spans.window, spans.start, spans.end
    start, end = offsets[window, first, 0], offsets[window, last, 1]
    if words is not None:
        word_start, word_end = words[0][window, first], words[1][window, last]
        known = (word_start >= 0) & (word_end >= 0)
        start, end = torch.where(known, word_start, start), torch.where(known, word_end, end)
    return LocatedSpans(window, start, end, spans.scores)


def locate_spans(
    candidates: SpanCandidates, offsets: Tensor, *, words: tuple[Tensor, Tensor] | None = None
) -> LocatedSpans:
    """The valid candidates in characters: ``to_characters`` of their ``token_spans``."""
    return to_characters(token_spans(candidates), offsets, words=words)


def text_keys(spans: LocatedSpans, question: Tensor, contexts: Sequence[str]) -> Tensor:
    """A number per span, equal for spans whose texts are equal without regard to case: [N] int64 on the CPU."""
    keys: dict[str, int] = {}
    columns = (question[spans.window].tolist(), spans.start.tolist(), spans.end.tolist())
    found = [keys.setdefault(contexts[q][s:e].lower(), len(keys)) for q, s, e in zip(*columns, strict=True)]
    return torch.tensor(found, dtype=torch.long, device="cpu")


def position_keys(spans: LocatedSpans) -> Tensor:
    """A number per span, equal for spans of the same characters: [N] int64."""
    return distinct_rows(torch.stack([spans.start, spans.end], dim=1))[1]


def merge_answers(
    spans: LocatedSpans,
    question: Tensor,
    keys: Tensor,
    *,
    num_questions: int,
    top_k: int | Tensor = 1,
    null_scores: Tensor | None = None,
    combine: str = "sum",
) -> Answers:
    """The ``top_k`` best answers of each question over all of its windows.

    question: [W] int64, the question of each window. keys: [N]; spans of one question with one key are one answer,
    placed where the first of them is. top_k: int or [num_questions]. null_scores: [W]; if given, "no answer" joins
    each question with the lowest of its windows' scores, after the others, before the cut.
    combine: "sum" adds the scores of equal answers in float64, one after the other, transformers' rule, so that a
    score can pass 1; "max" keeps the best. Order: score, then first appearance; "no answer" last among equals.
    Fewer than ``top_k`` answers are returned where there are fewer; a question without windows has none.
    """
    if combine not in ("sum", "max"):
        raise ValueError(f"combine must be 'sum' or 'max'; got {combine!r}")
    device = spans.scores.device
    count = spans.window.shape[0]
    check_shape("keys", keys, "N", (count,))
    owner = question.to(device)[spans.window]
    pairs = torch.stack([owner, keys.to(device)], dim=1)
    groups, member = distinct_rows(pairs)
    size = groups.shape[0]
    first = torch.full((size,), count, device=device).scatter_reduce(
        0, member, torch.arange(count, device=device), "amin"
    )
    scores = spans.scores.double()
    if combine == "sum":
        total = torch.zeros(size, dtype=torch.float64, device=device).index_add_(0, member, scores)
    else:
        total = torch.full((size,), -torch.inf, dtype=torch.float64, device=device)
        total = total.scatter_reduce(0, member, scores, "amax")
    order = first.argsort()
    first, total = first[order], total[order]
    columns = [
        owner[first],
        total,
        spans.start[first],
        spans.end[first],
        torch.zeros_like(first, dtype=torch.bool),
        first,
    ]
    if null_scores is not None:
        null = torch.full((num_questions,), NO_NULL_YET, dtype=torch.float64, device=device)
        null = null.scatter_reduce(0, question.to(device), null_scores.to(device).double(), "amin")
        asked = torch.arange(num_questions, device=device)
        nowhere = torch.zeros_like(asked)
        extra = [asked, null, nowhere, nowhere, torch.ones_like(asked, dtype=torch.bool), nowhere - 1]
        columns = [torch.cat(pair) for pair in zip(columns, extra, strict=True)]
    return _best_of_each(columns, num_questions, top_k)


def _best_of_each(columns: list[Tensor], num_questions: int, top_k: int | Tensor) -> Answers:
    """Sort by question and then score, keeping the order of equals, and cut each question at its ``top_k``."""
    order = columns[1].argsort(descending=True, stable=True)
    order = order[columns[0][order].argsort(stable=True)]
    columns = [column[order] for column in columns]
    question = columns[0]
    counts = torch.bincount(question, minlength=num_questions)
    rank = torch.arange(question.shape[0], device=question.device) - (counts.cumsum(0) - counts)[question]
    limit = top_k.to(question.device)[question] if isinstance(top_k, Tensor) else top_k
    kept = rank < limit
    question, scores, start, end, is_null, span = (column[kept] for column in columns)
    return Answers(question, scores, start, end, is_null, span, num_questions)
