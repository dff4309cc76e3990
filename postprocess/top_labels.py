"""Labels of sounds (and of anything whose pipeline ranks with torch): activation and the best labels of every row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .records import collection_paused

FUNCTIONS = ("softmax", "sigmoid", "none")
MANY = 64  # labels of a row, from where on whole columns are cheaper than one by one
GROUP = 32  # labels whose maximum is looked at first
IN_ONE_THREAD = 1 << 15  # torch's grain: calls on fewer values are not shared out


@dataclass(frozen=True)
class TopLabels:
    """The best labels of each row, best first. B rows, K labels."""

    labels: Tensor  # [B, K] int64
    scores: Tensor  # [B, K] float

    def records(self, names: Sequence[str] | Mapping[int, str], *, key: str = "label") -> list[list[dict[str, Any]]]:
        """One list of ``{"score", key}`` per row, in plain Python numbers."""
        rows, count = self.labels.shape
        if count < MANY:
            written = [names[i] for i in _flat(self.labels)]
            records = [{"score": p, key: name} for p, name in zip(_flat(self.scores), written, strict=True)]
            return [records[first : first + count] for first in range(0, rows * count, count)]
        columns = np.array([names[i] for i in range(len(names))], dtype=object)[self.labels.cpu().numpy()].tolist()
        with collection_paused():
            pairs = (zip(*row, strict=True) for row in zip(self.scores.tolist(), columns, strict=True))
            return [[{"score": score, key: name} for score, name in row] for row in pairs]


def choose_audio_function(problem_type: str | None, function_to_apply: str | None = None) -> str:
    """The activation of transformers' audio-classification: the caller's, else by problem type, else softmax.

    >>> choose_audio_function(None), choose_audio_function("regression"), choose_audio_function(None, "sigmoid")
    ('softmax', 'none', 'sigmoid')
    """
    if function_to_apply is not None:
        return function_to_apply
    return {"regression": "none", "multi_label_classification": "sigmoid"}.get(problem_type or "", "softmax")


def top_labels(logits: Tensor, top_k: int | None = None, *, function_to_apply: str = "softmax") -> TopLabels:
    """The ``top_k`` best labels of every row, or all.

    logits: [B, C] float. function_to_apply: "softmax", "sigmoid" or "none". top_k: None or more than C means C.
    Ties: as torch.topk leaves them, which is transformers' order (bit for bit on one device); scores in the logits' own
    type, as there. Raises ValueError naming the row if a logit is NaN (checked on the CPU).
    >>> top_labels(torch.tensor([[0.0, 2.0, 1.0]]), 2).labels
    tensor([[1, 2]])
    """
    if function_to_apply not in FUNCTIONS:
        raise ValueError(f"function_to_apply must be one of {', '.join(FUNCTIONS)}; got {function_to_apply!r}")
    if logits.dim() != 2:
        raise ValueError(f"logits must be [B, C]; got shape {list(logits.shape)}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1; got {top_k}")
    logits = logits.detach()
    count = logits.shape[1] if top_k is None else min(top_k, logits.shape[1])
    if function_to_apply == "sigmoid" and _few_of_many(logits, count):
        values, labels = _largest_sigmoids(logits, count)
    else:
        # The softmax of all rows at once has the bits of each row's own, and so has the order of equal scores.
        scores = {"softmax": lambda: logits.softmax(-1), "sigmoid": lambda: _sigmoid(logits), "none": lambda: logits}
        values, labels = _ranked(scores[function_to_apply](), count)
    if logits.device.type == "cpu" and values.numel() and _nan_first(values):
        bad = torch.isnan(logits).any(dim=1)
        if bool(bad.any()):
            raise ValueError(f"logits must not be NaN; got NaN in row {int(bad.int().argmax())}")
    return TopLabels(labels, values)


def _ranked(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of each row and their places, as torch.topk has them.

    For all labels numpy sorts in a fraction of the time; for a few of many the largest of groups are looked at first. A
    row in which two of the scores are equal, so that their order is a matter of the algorithm, is left to torch.
    """
    if _plain(scores) and count >= MANY:
        order = np.argsort(-scores.numpy(), axis=1)
        if np.isnan(scores.numpy()[np.arange(len(order)), order[:, -1]]).any():  # where there is one, it is last
            return scores.topk(count)
        places = torch.from_numpy(order[:, : count + 1])
        return _where_scores_fall(scores, scores.gather(1, places), places, count)
    if not _few_of_many(scores, count):
        return scores.topk(count)
    # Group g holds the places g, g + G, g + 2 G and so on, so that the maxima are one pass over neighbours.
    rows, total = scores.shape
    groups = total // GROUP
    maxima = scores[:, : groups * GROUP].reshape(rows, GROUP, groups).amax(1)
    rest = torch.arange(groups * GROUP, total, device="cpu").expand(rows, -1)
    places = torch.cat((_members(maxima, count + 1), rest), dim=1)
    values, best = scores.gather(1, places).topk(count + 1)
    return _where_scores_fall(scores, values, places.gather(1, best), count)


def _largest_sigmoids(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest sigmoids of each row and their places: groups as above, bits as in `_sigmoid`."""
    rows, total = logits.shape
    groups = total // GROUP + 1
    scores = torch.empty(rows, groups * GROUP, dtype=logits.dtype, device="cpu")
    scores[:, total:] = -1
    _write_sigmoids(logits, scores[:, :total])
    maxima = scores.view(rows, GROUP, groups).amax(1)
    places = _members(maxima, count + 1)
    values, best = scores.gather(1, places).topk(count + 1)
    return _where_scores_fall(scores[:, :total], values, places.gather(1, best), count)


def _members(maxima: Tensor, count: int) -> Tensor:
    """The places of the members of the ``count`` groups with the largest maxima, in which the ``count`` largest lie."""
    return (maxima.topk(count, sorted=False).indices[:, :, None] + _first_members(maxima.shape[1])).flatten(1)


@lru_cache(maxsize=8)
def _first_members(groups: int) -> Tensor:
    """[GROUP] the places of the members of group 0."""
    return torch.arange(0, groups * GROUP, groups, device="cpu")


def _where_scores_fall(scores: Tensor, values: Tensor, places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` of the largest ``values`` and their places, of which there is one more; by torch's own choice
    for the rows in which two of them are equal. All on the host, where small operations go by numpy."""
    seen = values.numpy()
    falls = seen[:, :-1] > seen[:, 1:]
    values, labels = values[:, :count], places[:, :count]
    if not falls.all():
        values, labels = values.clone(), labels.clone()
        for row in np.flatnonzero(~falls.all(axis=1)).tolist():
            values[row], labels[row] = scores[row].topk(count)
    return values, labels


def _nan_first(values: Tensor) -> bool:
    """Whether the largest of a row is NaN, as it is wherever there is one."""
    if _plain(values):
        return bool(np.isnan(values.numpy()[:, 0]).any())
    return any(map(math.isnan, values[:, 0].tolist()))


def _flat(column: Tensor) -> list[Any]:
    """The numbers of a column, row after row."""
    on_host = _plain(column) or (column.dtype == torch.long and column.device.type == "cpu")
    numbers: list[Any] = (column.numpy().ravel() if on_host else column.flatten()).tolist()
    return numbers


def _plain(scores: Tensor) -> bool:
    return scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64)


def _few_of_many(scores: Tensor, count: int) -> bool:
    """Whether a look at the largest of groups pays."""
    total = scores.shape[1]
    return _plain(scores) and count < MANY and total >= GROUP * MANY and total > 8 * GROUP * count


def _blocks(rows: int, count: int) -> Iterator[slice]:
    """Rows of ``count`` values that torch computes without parting a row between threads: all of them where its shares,
    which are equal and one after another, are whole rows; else as many as stay in one thread."""
    shares = min(torch.get_num_threads(), -(-rows * count // IN_ONE_THREAD))
    whole = shares < 2 or rows % shares == 0
    step = max(1, rows if whole else IN_ONE_THREAD // count)
    return (slice(first, first + step) for first in range(0, rows, step))


def _sigmoid(logits: Tensor) -> Tensor:
    """Each row with the bits it has alone.

    torch computes the last few values of a call by other instructions, which shows in the last bit, and near 1 in the
    order of labels. Rows that lie apart in memory are computed one by one within a call, in one thread up to a limit.
    """
    if logits.device.type != "cpu" or len(logits) < 2:
        return logits.sigmoid()
    rows, count = logits.shape
    out = torch.empty(rows, count + 1, dtype=logits.dtype, device="cpu")[:, :count]
    _write_sigmoids(logits, out)
    return out


def _write_sigmoids(logits: Tensor, out: Tensor) -> None:
    """The sigmoids of [B, C] into rows that lie apart."""
    blocks = list(_blocks(*logits.shape))
    if len(blocks) == 1:
        torch.sigmoid(logits, out=out)
        return
    for block in blocks:
        torch.sigmoid(logits[block], out=out[block])
