"""Answers in documents: spans of tokens to words of the page, over all windows of all questions at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..text.spans import SpanCandidates, select_spans

Array = np.ndarray[Any, Any]
MORE_SPANS = 10  # fetched beyond twice top_k where several spans may be one answer


@dataclass(frozen=True)
class DocumentAnswers:
    """Answers of every question, best first, one question after another. Q questions, N answers."""

    question_splits: Tensor  # [Q + 1] int64: question q has answers question_splits[q] to question_splits[q + 1]
    first_word: Tensor  # [N] int64, both words inclusive; 0 for "no answer"
    last_word: Tensor  # [N] int64
    scores: Tensor  # [N] float64
    empty: Tensor  # [N] bool: "no answer"

    def records(
        self, words: Sequence[Sequence[str]], boxes: Sequence[Sequence[Sequence[float]]] | None = None
    ) -> list[list[dict[str, Any]]]:
        """One list of ``{"score", "answer", "start", "end"}`` per question; start and end are words.

        words: of each question's page. boxes: (left, top, right, bottom) of each word; then every answer has the
        ``boxes`` of its words and the ``box`` around them (None for "no answer").
        """
        columns = [c.tolist() for c in (self.scores, self.first_word, self.last_word, self.empty)]
        rows = list(zip(*columns, strict=True))
        splits = pairwise(self.question_splits.tolist())
        found = [
            [
                {
                    "score": score,
                    "answer": "" if empty else " ".join(page[first : last + 1]),
                    "start": first,
                    "end": last,
                }
                for score, first, last, empty in rows[a:b]
            ]
            for (a, b), page in zip(splits, words, strict=True)
        ]
        if boxes is not None:
            for answers, places in zip(found, boxes, strict=True):
                for answer in answers:
                    answer |= _boxes_of(answer, places)
        return found


def _boxes_of(answer: Mapping[str, Any], boxes: Sequence[Sequence[float]]) -> dict[str, Any]:
    if not answer["answer"]:
        return {"boxes": [], "box": None}
    covered = [list(box) for box in boxes[answer["start"] : answer["end"] + 1]]
    left, top, right, bottom = zip(*covered, strict=True)
    return {"boxes": covered, "box": [min(left), min(top), max(right), max(bottom)]}


def select_document_answers(
    start_logits: Tensor,
    end_logits: Tensor,
    allowed: Tensor,
    word_ids: Tensor,
    questions: Tensor,
    *,
    num_questions: int | None = None,
    lengths: Tensor | None = None,
    top_k: int = 1,
    max_answer_len: int = 15,
    handle_impossible_answer: bool = False,
    compat: bool = True,
) -> DocumentAnswers:
    """The ``top_k`` answers of every question about a document, as words of its page.

    start_logits, end_logits: [W, L] float, a row for each window. allowed: [W, L] bool, tokens an answer may start and
    end on. word_ids: [W, L] int64, the word of each token, -1 where it is none. questions: [W] int64, ascending: the
    question of each window. lengths: [W], tokens before padding. max_answer_len counts tokens.
    handle_impossible_answer adds "no answer" with the lowest score any window gives it, before the cut.

    compat=True is the pipeline of transformers 5.23: a span that starts or ends inside a word stands for the whole
    word, so one answer may come back several times, and from overlapping windows again. compat=False merges them: the
    scores of one window's spans of the same words are added, and the best window counts; "no answer" then has no place
    among spans of probability 0. Ties: windows in order, then the order of `select_spans`.
    Raises ValueError naming the window if a logit is NaN. Cost: O(L log max_answer_len) a window.
    >>> one = torch.tensor([[0.0, 4.0, 0.0]])
    >>> ids, mask = torch.tensor([[-1, 0, 1]]), torch.tensor([[0, 1, 1]]).bool()
    >>> select_document_answers(one, one, mask, ids, torch.tensor([0])).records([["total", "due"]])[0][0]["answer"]
    'total'
    """
    for name, column, shape in (
        ("word_ids", word_ids, start_logits.shape),
        ("questions", questions, allowed.shape[:1]),
    ):
        if column.shape != shape:
            raise ValueError(f"{name} must be {list(shape)}; got shape {list(column.shape)}")
    count = num_questions if num_questions is not None else int(questions.max()) + 1 if len(questions) else 0
    start, end = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (start_logits, end_logits))
    fetched = top_k if compat else 2 * top_k + MORE_SPANS
    spans = select_spans(
        start, end, allowed, top_k=fetched, max_answer_len=max_answer_len, lengths=lengths, compat=compat
    )
    asked, ids = questions.cpu().numpy(), word_ids.cpu().numpy()
    row = np.arange(len(ids))[:, None]
    first, last = (ids[row, places.cpu().numpy()] for places in (spans.first_token, spans.last_token))
    kept = np.flatnonzero(spans.valid.cpu().numpy() & (first >= 0) & (last >= 0))
    window = kept // fetched
    columns = [
        asked[window],
        first.reshape(-1)[kept],
        last.reshape(-1)[kept],
        spans.scores.cpu().numpy().reshape(-1)[kept],
    ]
    if not compat:
        columns = _merged(window, *columns)
    empty = np.zeros(len(columns[0]), dtype=bool)
    if handle_impossible_answer:
        question, null = _no_answers(spans, asked, count)
        nothing = np.zeros(len(question), dtype=np.int64)
        columns = [np.concatenate(pair) for pair in zip(columns, (question, nothing, nothing, null), strict=True)]
        empty = np.concatenate((empty, np.ones(len(question), dtype=bool)))
    return _best(columns, empty, count, top_k)


def _no_answers(spans: SpanCandidates, questions: Array, count: int) -> tuple[Array, Array]:
    """For each question with windows, the lowest score of "no answer"."""
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, questions, spans.null_scores.cpu().numpy().astype(np.float64))
    asked = np.flatnonzero(lowest < np.inf)
    return asked, lowest[asked]


def _merged(window: Array, question: Array, first: Array, last: Array, scores: Array) -> list[Array]:
    """One row for each question and pair of words: sums within a window, the best window of a question."""
    keys, member = np.unique(np.stack((question, first, last, window)), axis=1, return_inverse=True)
    sums = np.zeros(keys.shape[1])
    np.add.at(sums, member.reshape(-1), scores.astype(np.float64))
    answers, member = np.unique(keys[:3], axis=1, return_inverse=True)
    best = np.zeros(answers.shape[1])
    np.maximum.at(best, member.reshape(-1), sums)
    return [*answers, best]


def _best(columns: Sequence[Array], empty: Array, count: int, top_k: int) -> DocumentAnswers:
    """The ``top_k`` best rows of each question; in the order of the rows where a question has one at most."""
    question, first, last, scores = columns
    if (question[1:] > question[:-1]).all():
        splits = np.searchsorted(question, np.arange(count + 1))
        chosen = (splits, first, last, scores.astype(np.float64), empty)
        return DocumentAnswers(*map(torch.from_numpy, chosen))
    order = np.lexsort((-scores, question))  # stable: equal scores stay in order
    question = question[order]
    begins = np.searchsorted(question, np.arange(count + 1))
    kept = order[np.arange(len(order)) - begins[question] < top_k]
    splits = np.concatenate(([0], np.minimum(np.diff(begins), top_k).cumsum())).astype(np.int64)
    chosen = (splits, first[kept], last[kept], scores[kept].astype(np.float64), empty[kept])
    return DocumentAnswers(*map(torch.from_numpy, chosen))
