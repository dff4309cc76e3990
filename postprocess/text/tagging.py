"""Named entities from token logits: the five aggregation strategies over a padded batch, by segment operations.

Tokens that count are taken out of the batch into one row; words and groups are runs in that row, found by comparing
neighbours and reduced by index. Nothing loops over tokens or sentences.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..probabilities import as_computed, check_shape, largest, softmax
from .labels import LabelScheme

STRATEGIES = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True)
class Entities:
    """Entities of a batch, by item and then position. N entities, M tokens that count."""

    item: Tensor  # [N] int64, row of the batch
    label: Tensor  # [N] int64, label id of the entity's first token or word
    name: Tensor  # [N] int64, index into ``scheme.names``
    scores: Tensor  # [N] float
    first_token: Tensor  # [N] int64, position in the padded row, special tokens counted
    last_token: Tensor  # [N] int64, inclusive
    start: Tensor  # [N] int64 characters; -1 without offsets
    end: Tensor  # [N] int64, exclusive; -1 without offsets
    first_kept: Tensor  # [N] int64, index among the M tokens that count
    last_kept: Tensor  # [N] int64, inclusive
    word_starts: Tensor  # [M] bool: a word of the strategy starts here; all True under "none" and "simple"
    scheme: LabelScheme
    aggregation_strategy: str
    num_items: int
    label_probs: Tensor | None = None  # [N, G] probability of every group name, or of every label under "none"

    def select(self, rows: Tensor) -> Entities:
        """The entities ``rows`` ([K] int64 or [N] bool), in that order."""
        names = ("item", "label", "name", "scores", "first_token", "last_token", "start", "end")
        chosen = {name: getattr(self, name)[rows] for name in (*names, "first_kept", "last_kept")}
        probs = None if self.label_probs is None else self.label_probs[rows]
        return replace(self, **chosen, label_probs=probs)

    def best_labels(self, k: int) -> tuple[Tensor, Tensor]:
        """The ``k`` most probable labels of each entity: (ids, probabilities), each [N, min(k, G)], ties by lower id.

        Needs ``label_probs=True``. Ids index ``scheme.names``; under "none" they are label ids.
        """
        if self.label_probs is None:
            raise ValueError("best_labels must follow group_entities(..., label_probs=True); got no probabilities")
        values, ids = self.label_probs.sort(dim=1, descending=True, stable=True)
        return ids[:, :k], values[:, :k]

    def records(self, words: list[str] | None = None) -> list[list[dict[str, Any]]]:
        """Transformers' list of dicts for every item, in plain Python numbers.

        words: the text of each entity, built at the edge (``entity_words``); None leaves it out. Without offsets start
        and end are None.
        """
        grouped = self.aggregation_strategy != "none"
        names = self.scheme.names if grouped else self.scheme.labels
        ids = (self.name if grouped else self.label).tolist()
        starts, ends = self._characters()
        rows: list[dict[str, Any]]
        texts: list[str | None] = list(words) if words is not None else [None] * len(ids)
        columns = zip(ids, self.scores.tolist(), texts, starts, ends, strict=True)
        if grouped:
            rows = [
                {"entity_group": names[i], "score": p, "word": w, "start": s, "end": e} for i, p, w, s, e in columns
            ]
        else:
            rows = [
                {"entity": names[i], "score": p, "index": t, "word": w, "start": s, "end": e}
                for (i, p, w, s, e), t in zip(columns, self.first_token.tolist(), strict=True)
            ]
        if words is None:
            for row in rows:
                del row["word"]
        bounds = torch.bincount(self.item, minlength=self.num_items).cumsum(0).tolist()
        return [rows[a:b] for a, b in zip([0, *bounds[:-1]], bounds, strict=True)] if bounds else []

    def _characters(self) -> tuple[list[int | None], list[int | None]]:
        """Where each entity starts and ends; None without offsets."""
        starts: list[int | None] = self.start.tolist()
        ends: list[int | None] = self.end.tolist()
        if bool((self.start < 0).any()):
            placed = (self.start >= 0).tolist()
            starts = [start if there else None for start, there in zip(starts, placed, strict=True)]
            ends = [end if there else None for end, there in zip(ends, placed, strict=True)]
        return starts, ends


def group_entities(
    logits: Tensor,
    keep: Tensor,
    scheme: LabelScheme,
    *,
    aggregation_strategy: str = "simple",
    offsets: Tensor | None = None,
    is_subword: Tensor | None = None,
    word_ids: Tensor | None = None,
    ignore_labels: Collection[str] = ("O",),
    label_probs: bool = False,
    compat: bool = True,
) -> Entities:
    """The entities of every item of a batch.

    logits: [B, T, C] float, any padding. keep: [B, T] bool, the tokens that count: neither padding nor special.
    scheme: ``read_labels(labels)``. offsets: [B, T, 2] characters. For "first", "average" and "max" words are runs of
    tokens: is_subword: [B, T] bool, True where a token continues the word before it (transformers' heuristic; see
    ``subwords_by_length`` and ``subwords_by_space``); or word_ids: [B, T] int, the tokenizer's own words, -1 for none.
    ignore_labels: label or group names left out after the grouping. compat=False keeps a group whose name is an ignored
    label only by the loss of its prefix ("B-O").

    Strategies: "none" one entity per token; "simple" groups tokens; "first", "max", "average" label whole words by
    their first token, their most certain token, or the mean of their probabilities, then group words. A group's score
    is the mean over its tokens or words.
    Ties: the lowest label id; for "max" the first of equally certain tokens. float16 and bfloat16 are computed in
    float32. An item without tokens has no entities. A -inf logit is a probability of 0.
    Raises ValueError naming the item if a logit of a token that counts is NaN, or is all -inf (checked on the CPU).
    """
    batch, time = _checked_shape(logits, keep, offsets, scheme, aggregation_strategy)
    scheme = scheme.to(logits.device)
    kept = keep.flatten().nonzero().flatten()  # [M], rows of the batch laid end to end
    item, position = kept // max(time, 1), kept % max(time, 1)
    probs = softmax(as_computed(logits.flatten(0, 1).index_select(0, kept)))  # [M, C]
    _check_probs(probs, item)
    start, end = _char_bounds(offsets, kept)
    if aggregation_strategy in ("none", "simple"):
        word_starts = torch.ones_like(kept, dtype=torch.bool)
        firsts = lasts = torch.arange(kept.shape[0], device=kept.device)
        word_probs = probs
    else:
        word_starts = _changes(item) | _word_starts(is_subword, word_ids, kept, aggregation_strategy)
        firsts, lasts = _runs(word_starts)
        word_probs = _word_probs(probs, word_starts, firsts, aggregation_strategy)
    scores, labels = largest(word_probs)
    if aggregation_strategy != "none":
        opens = _group_starts(_take(item, firsts), labels, scheme)
        group_first, group_last = _runs(opens)
        member = opens.cumsum(0) - 1
        scores = _mean(scores, member, group_first.shape[0])
        if label_probs:
            word_probs = _by_name(_mean(word_probs, member, group_first.shape[0]), scheme)
        labels, firsts, lasts = _take(labels, group_first), _take(firsts, group_first), _take(lasts, group_last)
    reported = _reported(labels, scheme, aggregation_strategy, ignore_labels, compat)
    labels, firsts, lasts = _take(labels, reported), _take(firsts, reported), _take(lasts, reported)
    return Entities(
        item=_take(item, firsts),
        label=labels,
        name=_take(scheme.name_of, labels),
        scores=_take(scores, reported),
        first_token=_take(position, firsts),
        last_token=_take(position, lasts),
        start=_take(start, firsts),
        end=_take(end, lasts),
        first_kept=firsts,
        last_kept=lasts,
        word_starts=word_starts,
        scheme=scheme,
        aggregation_strategy=aggregation_strategy,
        num_items=batch,
        label_probs=_take(word_probs, reported) if label_probs else None,
    )


def _checked_shape(
    logits: Tensor, keep: Tensor, offsets: Tensor | None, scheme: LabelScheme, aggregation_strategy: str
) -> tuple[int, int]:
    """Batch size and length, where all shapes agree."""
    if aggregation_strategy not in STRATEGIES:
        raise ValueError(f"aggregation_strategy must be one of {', '.join(STRATEGIES)}; got {aggregation_strategy!r}")
    check_shape("logits", logits, "BTC", (None, None, len(scheme.labels)))
    batch, time, _ = logits.shape
    check_shape("keep", keep, "BT", (batch, time))
    if offsets is not None:
        check_shape("offsets", offsets, "BT2", (batch, time, 2))
    return batch, time


def _take(values: Tensor, rows: Tensor) -> Tensor:
    """``values[rows]`` along the first axis; on the CPU several times faster than indexing."""
    return values.index_select(0, rows)


def _char_bounds(offsets: Tensor | None, kept: Tensor) -> tuple[Tensor, Tensor]:
    if offsets is None:
        return torch.full_like(kept, -1), torch.full_like(kept, -1)
    bounds = offsets.to(kept.device).flatten(0, 1).index_select(0, kept).long()
    return bounds[:, 0], bounds[:, 1]


def _check_probs(probs: Tensor, item: Tensor) -> None:
    """A softmax is NaN where a logit is NaN or +inf, or all are -inf: one sum over the answer finds it."""
    if probs.device.type != "cpu" or not bool(torch.isnan(probs.sum())):
        return
    row = int(item[int(torch.isnan(probs).any(dim=1).int().argmax())])
    raise ValueError(
        f"logits must be numbers, one of them finite, for every token; got NaN or infinities in item {row}"
    )


def _changes(values: Tensor) -> Tensor:
    """[M] bool: True where a value differs from the one before it, and at the first."""
    changed = torch.ones_like(values, dtype=torch.bool)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _runs(opens: Tensor) -> tuple[Tensor, Tensor]:
    """First and last index of every run that ``opens`` starts."""
    first = opens.nonzero().flatten()
    last = torch.empty_like(first)
    last[:-1] = first[1:] - 1
    last[-1:] = opens.shape[0] - 1
    return first, last


def _word_starts(is_subword: Tensor | None, word_ids: Tensor | None, kept: Tensor, strategy: str) -> Tensor:
    if word_ids is not None and is_subword is None:
        ids = word_ids.to(kept.device).flatten().index_select(0, kept)
        return _changes(ids) | (ids < 0)  # a token without a word stands alone
    if is_subword is not None and word_ids is None:
        return ~is_subword.to(kept.device).flatten().index_select(0, kept).bool()
    given = "neither" if is_subword is None else "both"
    raise ValueError(f"exactly one of is_subword and word_ids must be given for {strategy!r}; got {given}")


def _group_starts(item: Tensor, labels: Tensor, scheme: LabelScheme) -> Tensor:
    """[U] bool: the words that open a group. item, labels: [U]."""
    opens = _changes(item) | _changes(_take(scheme.type_of, labels)) | _take(scheme.opens, labels)
    opens[1:] |= _take(scheme.closes, labels[:-1])
    return opens


def _word_probs(probs: Tensor, word_starts: Tensor, first: Tensor, strategy: str) -> Tensor:
    """Label probabilities of every word, [U, C], by its first token, its most certain token, or the mean."""
    if strategy == "first" or first.shape[0] == 0:
        return _take(probs, first)
    member = word_starts.cumsum(0) - 1
    if strategy == "average":
        return _mean(probs, member, first.shape[0])
    certainty = probs.amax(dim=1)
    best = torch.zeros(first.shape, dtype=probs.dtype, device=probs.device)
    best = best.scatter_reduce(0, member, certainty, "amax")
    index = torch.arange(probs.shape[0], device=probs.device)
    index = torch.where(certainty == _take(best, member), index, probs.shape[0])
    return _take(probs, torch.full_like(first, probs.shape[0]).scatter_reduce(0, member, index, "amin"))


def _mean(values: Tensor, member: Tensor, size: int) -> Tensor:
    """Mean of the rows of each group. Rows are added one after the other in their own precision, as numpy does."""
    total = torch.zeros((size, *values.shape[1:]), dtype=values.dtype, device=values.device)
    total.index_add_(0, member, values)
    count = torch.bincount(member, minlength=size).to(values.dtype)
    return total / (count if values.dim() == 1 else count[:, None])


def _by_name(probs: Tensor, scheme: LabelScheme) -> Tensor:
    """Probabilities of labels [N, C] added up over the labels of each group name: [N, G]."""
    out = torch.zeros(probs.shape[0], len(scheme.names), dtype=probs.dtype, device=probs.device)
    return out.index_add_(1, scheme.name_of, probs)


def _reported(
    labels: Tensor, scheme: LabelScheme, strategy: str, ignore_labels: Collection[str], compat: bool
) -> Tensor:
    """Indices of the entities whose name is not ignored."""
    ignored = frozenset(ignore_labels)
    if strategy == "none":
        dropped = [label in ignored for label in scheme.labels]
    elif compat:
        dropped = [scheme.names[name] in ignored for name in scheme.name_of.tolist()]
    else:
        # "B-O" is an entity of type "O", not the label "O".
        by_type = ignored.difference(scheme.labels)
        names = zip(scheme.labels, scheme.name_of.tolist(), strict=True)
        dropped = [label in ignored or scheme.names[name] in by_type for label, name in names]
    if True not in dropped:
        return torch.arange(labels.shape[0], device=labels.device)
    stays = torch.tensor([not each for each in dropped], device=labels.device)
    return _take(stays, labels).nonzero().flatten()
