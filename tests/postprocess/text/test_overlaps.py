"""Entities of overlapping chunks made one list: by transformers' walk, and by a rule no order can change."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess import group_entities, merge_overlaps, read_labels
from afterlogits.postprocess.text.overlaps import surviving_spans


def entities_of(spans, chunk):
    """Entities with given (start, end, score), each in its chunk, through ``select`` and plain columns."""
    count, chunks = len(spans), max(chunk, default=0) + 1
    scheme = read_labels(["X"])
    base = group_entities(
        torch.zeros(chunks, max(count, 1), 1),
        torch.ones(chunks, max(count, 1)).bool(),
        scheme,
        aggregation_strategy="none",
        offsets=torch.zeros(chunks, max(count, 1), 2).long(),
    ).select(torch.arange(count))
    columns = {name: getattr(base, name) for name in base.__dataclass_fields__}
    columns["item"] = torch.tensor(chunk, dtype=torch.long)
    columns["start"] = torch.tensor([s for s, _, _ in spans], dtype=torch.long)
    columns["end"] = torch.tensor([e for _, e, _ in spans], dtype=torch.long)
    columns["scores"] = torch.tensor([p for _, _, p in spans])
    return type(base)(**columns)


def merged_spans(spans, chunk, document, **options):
    found = merge_overlaps(
        entities_of(spans, chunk), torch.tensor(document), num_documents=max(document) + 1, **options
    )
    return list(zip(found.item.tolist(), found.start.tolist(), found.end.tolist(), strict=True))


def test_loss_is_transitive_only_in_compat():
    """A 0-5, B 3-9, C 6-8, D 9-10: B beats A and C by either rule.

    A 0-3, B 2-6, C 5-10: B displaces A, then C displaces B, and A is lost though C does not touch it.
    """
    spans = [(0, 5, 0.5), (3, 9, 0.5), (6, 8, 0.5), (9, 10, 0.5)]
    assert merged_spans(spans, [0, 0, 1, 1], [0, 0]) == [(0, 3, 9), (0, 9, 10)]
    assert merged_spans(spans, [0, 0, 1, 1], [0, 0], compat=False) == [(0, 3, 9), (0, 9, 10)]
    chain = [(0, 3, 0.5), (2, 6, 0.5), (5, 10, 0.5)]
    assert merged_spans(chain, [0, 0, 1], [0, 0]) == [(0, 5, 10)]
    assert merged_spans(chain, [0, 0, 1], [0, 0], compat=False) == [(0, 0, 3), (0, 5, 10)]
    start, end, scores = torch.tensor(chain).T
    rows = start.long(), end.long(), scores, torch.zeros(3, dtype=torch.long), torch.ones(1, dtype=torch.bool)
    assert surviving_spans(*rows).tolist() == [2], "transformers' rule, unless told otherwise"


def test_a_single_chunk_is_left_as_it_is():
    """Documents of one chunk keep overlaps and order; others do not, and items become documents."""
    spans = [(4, 6, 0.5), (0, 5, 0.5), (0, 5, 0.5), (0, 4, 0.5)]
    assert merged_spans(spans, [0, 0, 1, 2], [0, 1, 1]) == [(0, 4, 6), (0, 0, 5), (1, 0, 5)]


def test_an_empty_entity_at_the_start_is_doubled_in_compat():
    """Transformers compares its first entity with itself; one without characters does not overlap itself."""
    spans = [(2, 2, 0.5), (2, 4, 0.5)]
    assert merged_spans(spans, [0, 1], [0, 0]) == [(0, 2, 2), (0, 2, 2), (0, 2, 4)]
    assert merged_spans(spans, [0, 1], [0, 0], compat=False) == [(0, 2, 2), (0, 2, 4)]


def test_no_entities():
    """Nothing in, nothing out, and a list for every document."""
    found = merge_overlaps(entities_of([], []), torch.tensor([0]), num_documents=2)
    assert found.records() == [[], []]


def walk(spans):
    """Transformers' rule, one entity after the other."""
    spans = sorted(spans, key=lambda span: span[0])
    kept, previous = [], spans[0]
    for span in spans:
        if previous[0] <= span[0] < previous[1]:
            length, other = span[1] - span[0], previous[1] - previous[0]
            if length > other or (length == other and span[2] > previous[2]):
                previous = span
        else:
            kept.append(previous)
            previous = span
    return [*kept, previous]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_equals_the_walk_and_no_order_changes_the_other(seed):
    """Several documents of random spans, empty ones included."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 15))
    start, size = rng.integers(0, 20, count), rng.integers(0, 8, count)
    chunk = np.sort(rng.integers(0, 4, count))
    document = [0, 0, 1, 1]
    spans = [(int(s), int(s + n), float(p)) for s, n, p in zip(start, size, rng.integers(1, 4, count) / 4, strict=True)]
    expected = []
    for which in (0, 1):
        own = [span for span, c in zip(spans, chunk, strict=True) if document[c] == which]
        expected += [(which, s, e) for s, e, _ in walk(own)] if own else []
    found = merge_overlaps(entities_of(spans, chunk.tolist()), torch.tensor(document), num_documents=2)
    assert list(zip(found.item.tolist(), found.start.tolist(), found.end.tolist(), strict=True)) == expected
    # Any order: distinct scores, so that nothing is equal.
    spans = [(s, e, p + i / 100) for i, (s, e, p) in enumerate(spans)]
    first = merged_spans(spans, [0] * count, [0, 0], compat=False)
    shuffled = [spans[i] for i in rng.permutation(count)]
    assert merged_spans(shuffled, [0] * count, [0, 0], compat=False) == first
    assert all(min(a[2], b[2]) <= max(a[1], b[1]) for a, b in combinations(first, 2))


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 6, 0.5), (5, 9, 0.5), (8, 12, 0.5)], [(0, 6), (8, 12)]),
        ([(0, 4, 0.25), (2, 6, 0.75)], [(2, 6)]),
        ([(0, 4, 0.5), (2, 6, 0.5)], [(0, 4)]),
        ([(0, 4, 0.75), (2, 7, 0.25)], [(2, 7)]),
    ],
)
def test_the_longest_then_the_most_certain_then_the_first_stays_without_compat(spans, expected):
    """What only the one left out overlapped stays too: 0 to 6 and 8 to 12 around 5 to 9."""
    found = merged_spans(spans, [0] * len(spans), [0, 0], compat=False)
    assert [(start, end) for _, start, end in found] == expected


def test_offsets_are_needed():
    """Without characters there is nothing to compare."""
    found = group_entities(torch.zeros(2, 1, 1), torch.ones(2, 1).bool(), read_labels(["X"]))
    with pytest.raises(ValueError) as caught:
        merge_overlaps(found, torch.tensor([0, 0]), num_documents=1)
    assert str(caught.value) == "entities must have offsets for their overlaps to be merged; got none"
