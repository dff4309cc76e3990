"""Entities of overlapping chunks of one text, made one list: transformers' rule, and one that no order can change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .tagging import Entities

Merge = Callable[[list[tuple[int, int, float]]], list[int]]


def merge_overlaps(entities: Entities, document: Tensor, *, num_documents: int, compat: bool = True) -> Entities:
    """Entities of chunks to entities of documents: ``item`` becomes the document, in order of start.

    document: [B] int64, the document of each chunk, in order. A document of a single chunk is left as it is.
    compat=True walks the entities by start and keeps, of one that overlaps its predecessor, the longer, then the more
    certain, then the earlier: a loser may have displaced others on its way (A loses to B, B to C, and A is gone though
    it does not touch C). compat=False takes the longest first, then the most certain, then the first, and leaves out
    only what overlaps something taken: the same entities in whatever order they come.
    Needs offsets. Entities without characters (start equal to end) overlap nothing that starts with them; if a
    document begins with one, compat=True has it twice, as transformers' walk meets its first entity again.
    Only runs of entities that touch are looped over.
    """
    if entities.item.numel() and bool((entities.start < 0).any()):
        raise ValueError("entities must have offsets for their overlaps to be merged; got none")
    document = document.to(entities.item.device)
    owner = document[entities.item]
    several = torch.bincount(document, minlength=num_documents) > 1
    keep = surviving_spans(entities.start, entities.end, entities.scores, owner, several, compat=compat)
    merged = entities.select(keep)
    fields = {name: getattr(merged, name) for name in merged.__dataclass_fields__}
    return Entities(**{**fields, "item": owner[keep], "num_items": num_documents})


def surviving_spans(
    start: Tensor, end: Tensor, scores: Tensor, owner: Tensor, several: Tensor, *, compat: bool = True
) -> Tensor:
    """Which of N spans stay, by document and then start: [K] int64 indices, by the rules of ``merge_overlaps``.

    start, end: [N] int64 characters, end exclusive. scores: [N]. owner: [N] int64, the document of each span.
    several: [D] bool, the documents cut into several chunks; the spans of the others stay, in their order. With
    compat=True the index of a document's first span comes twice if that span holds no character.
    >>> spans = torch.tensor([[0, 5], [3, 9], [9, 10]])
    >>> surviving_spans(*spans.T, torch.ones(3), torch.zeros(3).long(), torch.ones(1).bool())
    tensor([1, 2])
    """
    order = torch.arange(owner.shape[0], device=owner.device)
    # Within a document of several chunks by start; of equal starts in the order given, or by end and score. A document
    # of one chunk keeps its order.
    keys = [start] if compat else [-scores, end, start]
    for key in keys:
        order = order[torch.where(several[owner], key, 0)[order].argsort(stable=True)]
    order = order[owner[order].argsort(stable=True)]
    merge = keep_previous_best if compat else keep_longest
    return order[_walk(start[order], end[order], scores[order], owner[order], several, merge)]


def _walk(start: Tensor, end: Tensor, scores: Tensor, owner: Tensor, several: Tensor, merge: Merge) -> Tensor:
    """Indices of the spans that stay. Alone are those that nothing before them reaches and that reach nothing."""
    count = owner.shape[0]
    if count == 0:
        return owner
    # Documents are shifted apart, so that one running maximum of the ends serves them all.
    span = int(torch.maximum(start.max(), end.max())) + 1
    shift = owner * span
    reached = (end + shift).cummax(0).values
    opens = torch.ones(count, dtype=torch.bool, device=owner.device)
    opens[1:] = ((start + shift)[1:] >= reached[:-1]) | (owner[1:] != owner[:-1]) | ~several[owner[1:]]
    first = opens.nonzero().flatten()
    size = torch.diff(first, append=torch.tensor([count], device=first.device))
    alone = first[size == 1].tolist()
    kept = list(alone)
    for a, n in zip(first[size > 1].tolist(), size[size > 1].tolist(), strict=True):
        part = slice(a, a + n)
        spans = zip(start[part].tolist(), end[part].tolist(), scores[part].tolist(), strict=True)
        kept += [a + i for i in merge(list(spans))]
    if merge is keep_previous_best:
        begins = torch.ones(count, dtype=torch.bool, device=owner.device)
        begins[1:] = owner[1:] != owner[:-1]
        kept += (begins & several[owner] & (end <= start)).nonzero().flatten().tolist()
    return torch.tensor(sorted(kept), dtype=torch.long, device=owner.device)


def keep_previous_best(spans: list[tuple[int, int, float]]) -> list[int]:
    """Transformers' walk over (start, end, score) sorted by start, at least one: indices kept, in order. Linear."""
    kept, previous = [], 0
    for i in range(1, len(spans)):
        (start, end, score), (other, stop, best) = spans[i], spans[previous]
        if other <= start < stop:
            if (end - start, score) > (stop - other, best):
                previous = i
        else:
            kept.append(previous)
            previous = i
    return [*kept, previous]


def keep_longest(spans: list[tuple[int, int, float]]) -> list[int]:
    """Indices kept of (start, end, score): longest first, then most certain, then earliest; each unless it overlaps
    one already kept. Quadratic in the spans of one run that touch."""
    order = sorted(range(len(spans)), key=lambda i: (spans[i][0] - spans[i][1], -spans[i][2], spans[i][0]))
    kept: list[int] = []
    for i in order:
        start, end, _ = spans[i]
        if all(end <= spans[k][0] or spans[k][1] <= start for k in kept):
            kept.append(i)
    return sorted(kept)
