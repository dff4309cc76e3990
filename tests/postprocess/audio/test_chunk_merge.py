"""Merges of overlapping token sequences, against transformers' own, and against sliding by hand."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.models.whisper.tokenization_whisper import _find_longest_common_sequence as whisper_merge
from transformers.pipelines.automatic_speech_recognition import _find_longest_common_sequence as seq2seq_merge

from afterlogits.postprocess.audio import join_by_overlap, merge_overlaps_of_tokens


def merged(*sequences):
    return merge_overlaps_of_tokens([np.array(each, dtype=np.int64) for each in sequences])[0].tolist()


def joined(*sequences, compat=True):
    return join_by_overlap([np.array(each, dtype=np.int64) for each in sequences], compat=compat).tolist()


# golden


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        # 6 tokens overlap, 4 of them equal: cut in the middle, left before it and right after it
        ([1, 2, 3, 4, 5, 6, 7, 8], [3, 4, 90, 91, 92, 7, 8, 9], [1, 2, 3, 4, 5, 91, 92, 7, 8, 9]),
        ([7, 7, 7, 7], [7, 7, 7], [7, 7, 7, 7]),
        ([1, 2, 3], [3, 4], [1, 2, 3, 3, 4]),  # one match is not enough
    ],
)
def test_merges(left, right, expected):
    assert merged(left, right) == expected


def test_matches_must_be_in_time():
    """A token of the right that was said before its match on the left is another one."""
    left = np.array([1, 2, 3, 4]), (np.array([0, 0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3, 0.4]))
    right, starts = np.array([3, 4, 5]), np.array([0.25, 0.35, 0.5])
    ids, times = merge_overlaps_of_tokens([left[0], right], [left[1], (starts, np.array([0.35, 0.45, 0.6]))])
    assert ids.tolist() == [1, 2, 3, 4, 5]
    assert (times[0][3], times[1][3]) == (0.35, 0.45)
    early = np.array([0.05, 0.1, 0.5]), np.array([0.15, 0.2, 0.6])
    assert merge_overlaps_of_tokens([left[0], right], [left[1], early])[0].tolist() == [1, 2, 3, 4, 3, 4, 5]


@pytest.mark.parametrize(
    ("left", "right", "compat", "corrected"),
    [
        ([1, 2, 3, 4], [3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4], [4, 5, 6], [1, 2, 3, 4, 4, 5, 6], [1, 2, 3, 4, 4, 5, 6]),
        ([1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3]),  # transformers stops: arrays of 2 and of 3
        ([5], [5, 5, 5], [5], [5, 5, 5, 5]),  # one token is compared with each of three there
        ([], [1, 2], [1, 2], [1, 2]),
        ([1, 2], [], [1, 2], [1, 2]),
    ],
)
def test_joins(left, right, compat, corrected):
    assert joined(left, right) == compat
    assert joined(left, right, compat=False) == corrected


# parity


def draw_sequences(seed, longest=14):
    draw = random.Random(seed)
    size, longest = draw.choice([2, 4, 9, 30]), draw.choice([2, 6, longest])
    return [[draw.randrange(size) for _ in range(draw.randint(0, longest))] for _ in range(draw.randint(1, 4))]


def draw_times(seed, sequences):
    draw, rows = random.Random(seed), []
    for sequence in sequences:
        time, row = draw.choice([0, 0.3]), []
        for _ in sequence:
            end = round(time + draw.choice([0, 0.1, 0.2]), 2)
            row.append((time, end))
            time = end
        rows.append(row)
    return rows


def test_same_as_transformers():
    """2,500 drawn merges of 1 to 4 sequences."""
    for seed in range(2500):
        sequences = draw_sequences(seed)
        assert merged(*sequences) == whisper_merge(sequences), seed


def test_same_as_transformers_with_times():
    """2,500 more with a start and an end for every token."""
    for seed in range(2500):
        sequences = draw_sequences(seed)
        times = draw_times(seed, sequences)
        ids, merged_times = merge_overlaps_of_tokens(
            [np.array(each, dtype=np.int64) for each in sequences],
            [tuple(np.array(row, dtype=np.float64).reshape(-1, 2).T) for row in times],
        )
        pairs = list(zip(*(column.tolist() for column in merged_times), strict=True))
        assert (ids.tolist(), pairs) == whisper_merge(sequences, times), seed


def test_joins_same_as_transformers():
    """3,000 drawn joins; those that stop there (a sequence longer than the text) are counted."""
    stopped = 0
    for seed in range(3000):
        sequences = draw_sequences(seed)
        tensors = [torch.tensor([each], dtype=torch.long) for each in sequences]
        try:
            expected = seq2seq_merge(tensors, SimpleNamespace(all_special_ids=[])).tolist()
        except ValueError:
            stopped += 1
            continue
        assert joined(*sequences) == expected, seed
    assert 0 < stopped < 1000


# property


def test_a_join_never_loses_a_sequence():
    """compat=False: what is added, with what it overlaps, is the whole next sequence."""
    for seed in range(500):
        sequences = draw_sequences(seed)
        text = sequences[0]
        for count in range(2, len(sequences) + 1):
            longer = joined(*sequences[:count], compat=False)
            assert longer[: len(text)] == text
            added = len(longer) - len(text)
            assert longer[len(text) :] == (sequences[count - 1][-added:] if added else [])
            assert len(sequences[count - 1]) - added <= len(text)
            text = longer
