"""Lists of records by row: what they hold, that no two are one, and that the collector has nothing to do with them."""

import gc
import itertools
import json
import pickle
import sys

import numpy as np
import pytest

from afterlogits.postprocess.records import MANY, rows_of_records

KEYS = ("text", "start", "end")


def columns(count):
    pairs = np.empty(count, dtype=object)
    pairs[:] = [(i / 2, i) for i in range(count)]
    return "ab" * (count // 2), np.arange(count), pairs


@pytest.mark.parametrize("fields", [2, 3])
@pytest.mark.parametrize("splits", [[0], [0, 0], [0, 3, 3, 8], [0, MANY, 2 * MANY]])
def test_rows_hold_the_columns_values(splits, fields):
    """Row by row what a loop over the columns gives, in plain Python values; keys in their order."""
    text, numbers, pairs = columns(splits[-1])
    chosen = (text, numbers, pairs)[:fields]
    found = rows_of_records(KEYS[:fields], chosen, splits)
    flat = [
        dict(zip(KEYS, values, strict=False)) for values in zip(text, numbers.tolist(), pairs.tolist(), strict=True)
    ]
    expected = [
        [{key: each[key] for key in KEYS[:fields]} for each in flat[a:b]] for a, b in itertools.pairwise(splits)
    ]
    assert found == expected
    assert json.dumps(found) == json.dumps(expected)
    assert pickle.loads(pickle.dumps(found)) == expected


def test_records_are_dicts_of_their_own():
    """What is written into one, or taken out of it, shows in no other and in no later build."""
    [first, second] = rows_of_records(KEYS[:2], ["ab", np.arange(2)], [0, 1, 2])
    first[0]["more"] = 1
    del first[0]["start"]
    assert (first, second) == ([{"text": "a", "more": 1}], [{"text": "b", "start": 1}])
    assert rows_of_records(KEYS[:2], ["c", np.arange(1)], [0, 1]) == [[{"text": "c", "start": 0}]]
    assert type(second[0]) is dict


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 keeps tuples on the collector's books")
def test_the_collector_has_no_records_on_its_books():
    [row] = rows_of_records(KEYS, columns(MANY), [0, MANY])
    assert not any(gc.is_tracked(record) for record in row)
    assert gc.isenabled()
