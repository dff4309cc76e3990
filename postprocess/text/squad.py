"""Answer spans by the rule of the SQuAD script: sums of logits, the n best, probabilities over them.

This is ``postprocess_qa_predictions`` of the question-answering examples, not the pipeline's rule (``spans.py``): no
softmax over positions, no blocked CLS, no growing to words, and equal answers of two windows stay two answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..probabilities import check_positive, check_shape, refuse_nan

WINDOWS_AT_ONCE = 256
PLACEHOLDER = "empty"  # the script's text where it has no answer at all


@dataclass(frozen=True)
class SquadAnswers:
    """The n best answers of every question. N answers, by question and then best first; Q questions."""

    question: Tensor  # [N] int64
    start: Tensor  # [N] int64, characters of the context
    end: Tensor  # [N] int64, exclusive
    start_logits: Tensor  # [N] float32
    end_logits: Tensor  # [N] float32
    scores: Tensor  # [N] float32, their sum
    probs: Tensor  # [N] float32, a softmax over the question's n best
    is_placeholder: Tensor  # [N] bool: "empty" stands in for a question without any answer
    chosen: Tensor  # [Q] int64, index of the answer given; -1 for "no answer"
    score_diff: Tensor  # [Q] float32, null score minus the best answer's; NaN without a null score
    bounds: Tensor  # [Q + 1] int64

    def records(self, contexts: Sequence[str]) -> list[dict[str, Any]]:
        """One ``{answer, score_diff, n_best}`` per question; ``n_best`` as the script writes it to its JSON file."""
        columns = (self.question, self.start, self.end, self.start_logits, self.end_logits, self.probs)
        rows = zip(*(column.tolist() for column in columns), self.is_placeholder.tolist(), strict=True)
        listed = [
            {
                "text": PLACEHOLDER if placeholder else contexts[question][start:end],
                "offsets": (start, end),
                "start_logit": start_logit,
                "end_logit": end_logit,
                "probability": probability,
            }
            for question, start, end, start_logit, end_logit, probability, placeholder in rows
        ]
        bounds = self.bounds.tolist()
        found = []
        for chosen, diff, a, b in zip(self.chosen.tolist(), self.score_diff.tolist(), bounds, bounds[1:], strict=False):
            answer = listed[chosen]["text"] if chosen >= 0 else ""
            found.append({"answer": answer, "score_diff": None if diff != diff else diff, "n_best": listed[a:b]})
        return found


def select_squad_spans(
    start_logits: Tensor,
    end_logits: Tensor,
    offsets: Tensor,
    in_context: Tensor,
    question: Tensor,
    *,
    num_questions: int,
    n_best: int = 20,
    max_answer_len: int = 30,
    impossible: bool = False,
    null_score_diff_threshold: float = 0.0,
    is_max_context: Tensor | None = None,
) -> SquadAnswers:
    """The answers of every question by the SQuAD script's rule, all windows of all questions in one call.

    start_logits, end_logits: [W, L] float, CLS first. offsets: [W, L, 2] characters. in_context: [W, L] bool, the
    tokens whose offset mapping the script keeps. question: [W] int64; windows in the order of the script's features.
    is_max_context: [W, L] bool; a span starts only on a token that sees its widest context in this window.

    Each window pairs its ``n_best`` starts with its ``n_best`` ends; a pair counts if both are in the context, the end
    is not before the start, and it has at most ``max_answer_len`` tokens. impossible=True (SQuAD 2) adds "no answer",
    scored by the lowest CLS sum over the windows; it is given if that exceeds the best real answer by more than
    ``null_score_diff_threshold``.
    Ties: a window's starts and ends in the reverse of numpy's ascending order, then the order of the pairs, as there.
    A question with "no answer" alone gets it, where the script stops with an IndexError; one without windows gets the
    placeholder. float16 and bfloat16 are computed in float32. Raises ValueError naming the window if a logit is NaN.
    """
    check_shape("start_logits", start_logits, "WL", (None, None))
    shape = tuple(start_logits.shape)
    for name, values in (("end_logits", end_logits), ("in_context", in_context), ("is_max_context", is_max_context)):
        if values is not None:
            check_shape(name, values, "WL", shape)
    check_shape("offsets", offsets, "WL2", (*shape, 2))
    check_shape("question", question, "W", shape[:1])
    check_positive("n_best", n_best)
    check_positive("max_answer_len", max_answer_len)
    refuse_nan("start_logits", start_logits, "window")
    refuse_nan("end_logits", end_logits, "window")
    start_logits, end_logits = start_logits.float(), end_logits.float()
    begins = in_context.bool() if is_max_context is None else in_context.bool() & is_max_context.bool()
    pieces = []
    for i in range(0, shape[0], WINDOWS_AT_ONCE):
        part = slice(i, i + WINDOWS_AT_ONCE)
        window, first, last = _pairs(
            start_logits[part], end_logits[part], begins[part], in_context[part].bool(), n_best, max_answer_len
        )
        window = window + i
        located = [question[window], offsets[window, first, 0], offsets[window, last, 1]]
        pieces.append([*located, start_logits[window, first], end_logits[window, last]])
    none = [question[:0]] * 3 + [start_logits[:0, 0] if shape[1] else start_logits.new_zeros(0)] * 2
    owner, start, end, s, e = (torch.cat(column) for column in zip(none, *pieces, strict=True))
    columns = [owner, start.long(), end.long(), s, e, s + e, torch.zeros_like(owner, dtype=torch.bool)]
    null = None
    if impossible and shape[1]:
        null = _null_predictions(start_logits, end_logits, question, num_questions)
        columns = [torch.cat(pair) for pair in zip(columns, null, strict=True)]
    columns = _cut(columns, num_questions, n_best)
    if null is not None:
        columns = _restore_null(columns, null, num_questions)
    columns = _placeholders(columns, num_questions)
    return _decide(columns, null, num_questions, null_score_diff_threshold)


def _pairs(
    start: Tensor, end: Tensor, begins: Tensor, in_context: Tensor, n_best: int, max_answer_len: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The valid pairs of each window: its ``n_best`` by score, in a stable order. (window, first, last), each [N]."""
    length = start.shape[1]
    firsts, lasts = _largest(start, min(n_best, length)), _largest(end, min(n_best, length))  # [W, n]
    span = lasts[:, None, :] - firsts[:, :, None]
    valid = begins.gather(1, firsts)[:, :, None] & in_context.gather(1, lasts)[:, None, :]
    valid &= (span >= 0) & (span < max_answer_len)
    sums = start.gather(1, firsts)[:, :, None] + end.gather(1, lasts)[:, None, :]
    # A valid pair of -inf logits must still come before the pairs that do not count.
    order = torch.where(valid, sums, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, (~valid.flatten(1).gather(1, order)).int().argsort(dim=1, stable=True))[:, :n_best]
    window, rank = valid.flatten(1).gather(1, order).nonzero(as_tuple=True)
    place = order[window, rank]
    n = lasts.shape[1]
    return window, firsts[window, place // n], lasts[window, place % n]


def _largest(logits: Tensor, n: int) -> Tensor:
    """Positions of the ``n`` largest of each row, [W, n], in the reverse of numpy's ascending order."""
    if logits.device.type != "cpu":
        return logits.topk(n, dim=1).indices
    ascending = np.argsort(logits.detach().contiguous().numpy(), axis=1)
    return torch.from_numpy(ascending[:, ::-1][:, :n].copy())


def _null_predictions(start: Tensor, end: Tensor, question: Tensor, num_questions: int) -> list[Tensor]:
    """The CLS pair of the window with the lowest sum, the first of equals, for every question that has windows."""
    sums = start[:, 0] + end[:, 0]
    lowest = torch.full((num_questions,), torch.inf, device=sums.device).scatter_reduce(0, question, sums, "amin")
    index = torch.arange(sums.shape[0], device=sums.device)
    index = torch.where(sums == lowest[question], index, sums.shape[0])
    window = torch.full((num_questions,), sums.shape[0], device=sums.device).scatter_reduce(0, question, index, "amin")
    asked = (window < sums.shape[0]).nonzero().flatten()
    window = window[asked]
    zero = torch.zeros_like(asked)
    return [
        asked,
        zero,
        zero,
        start[window, 0],
        end[window, 0],
        sums[window],
        torch.zeros_like(asked, dtype=torch.bool),
    ]


def _cut(columns: list[Tensor], num_questions: int, n_best: int) -> list[Tensor]:
    """The ``n_best`` highest scores of each question, equals in the order they came."""
    order = columns[5].argsort(descending=True, stable=True)
    order = order[columns[0][order].argsort(stable=True)]
    columns = [column[order] for column in columns]
    counts = torch.bincount(columns[0], minlength=num_questions)
    rank = torch.arange(order.shape[0], device=order.device) - (counts.cumsum(0) - counts)[columns[0]]
    return [column[rank < n_best] for column in columns]


def _append(columns: list[Tensor], extra: list[Tensor], *, in_front: bool = False) -> list[Tensor]:
    """Put ``extra`` after (or before) the other rows of their questions."""
    pairs = [(b, a) if in_front else (a, b) for a, b in zip(columns, extra, strict=True)]
    joined = [torch.cat(pair) for pair in pairs]
    order = joined[0].argsort(stable=True)
    return [column[order] for column in joined]


def _restore_null(columns: list[Tensor], null: list[Tensor], num_questions: int) -> list[Tensor]:
    """ "No answer" comes back, last, where the cut removed it and nothing else has the offsets (0, 0)."""
    at_zero = (columns[1] == 0) & (columns[2] == 0)
    has = torch.bincount(columns[0][at_zero], minlength=num_questions) > 0
    missing = ~has[null[0]]
    return _append(columns, [column[missing] for column in null])


def _placeholders(columns: list[Tensor], num_questions: int) -> list[Tensor]:
    """ "empty", first, for a question with nothing, or with one answer without text."""
    counts = torch.bincount(columns[0], minlength=num_questions)
    textless = torch.bincount(columns[0][columns[1] >= columns[2]], minlength=num_questions)
    asked = ((counts == 0) | ((counts == 1) & (textless == 1))).nonzero().flatten()
    zero = torch.zeros_like(asked)
    logit = torch.zeros(asked.shape[0], dtype=columns[5].dtype, device=asked.device)
    extra = [asked, zero, zero, logit, logit, logit, torch.ones_like(asked, dtype=torch.bool)]
    return _append(columns, extra, in_front=True)


def _decide(columns: list[Tensor], null: list[Tensor] | None, num_questions: int, threshold: float) -> SquadAnswers:
    """Probabilities over each question's answers, and the answer given."""
    question, start, end, s, e, scores, placeholder = columns
    counts = torch.bincount(question, minlength=num_questions)
    bounds = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    highest = torch.full((num_questions,), -torch.inf, device=scores.device).scatter_reduce(0, question, scores, "amax")
    shifted = torch.where(highest[question] == -torch.inf, 0.0, scores - highest[question]).exp()
    total = torch.zeros_like(highest).index_add_(0, question, shifted)
    probs = shifted / total[question]
    if null is None:
        chosen = bounds[:-1].clone()
        diff = torch.full_like(highest, torch.nan)
    else:
        # The first answer with a text; the placeholder has one.
        index = torch.arange(question.shape[0], device=question.device)
        index = torch.where((start < end) | placeholder, index, question.shape[0])
        best = torch.full_like(counts, question.shape[0]).scatter_reduce(0, question, index, "amin")
        there = best < question.shape[0]
        place = best.clamp_max(max(question.shape[0] - 1, 0))
        null_scores = torch.full_like(highest, torch.nan).scatter(0, null[0], null[5])
        diff = null_scores - s[place] - e[place]
        chosen = torch.where(there & ~(diff > threshold), best, -1)
    return SquadAnswers(question, start, end, s, e, scores, probs, placeholder, chosen, diff, bounds)
