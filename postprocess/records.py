"""Building many small Python objects at once: lists of records without a cyclic collection in between."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np

MANY = 1000  # records, from where on one look at the young objects costs less than what it saves
SETTLED = 64  # instances after which CPython gives a class's instances room for their own attributes only


@contextmanager
def collection_paused() -> Iterator[None]:
    """No cyclic garbage collection inside: records hold no cycles, and passes over them cost a third of the build."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def rows_of_records(
    keys: tuple[str, ...], columns: Sequence[str | np.ndarray[Any, Any]], counts: Sequence[int]
) -> list[list[dict[str, Any]]]:
    """A list of dicts for each row, one row after another. keys: two or three. columns: N values for each key, a string
    for characters, else an array (of objects where the values are not numbers). counts: records of each row, N in all.

    What costs is memory that nothing has touched lately, so there is little of it: the dicts are copies of one that
    shares its keys with them, half as large as others. The collector looks at the rows while they are empty, and at
    young tuples in the columns, which it then takes off its books; dicts that hold untracked values never are on them.
    So neither the collection that follows the build nor most later ones walk over the records.
    >>> rows_of_records(("char", "place"), ["ab", np.array([3, 4])], [1, 1])
    [[{'char': 'a', 'place': 3}], [{'char': 'b', 'place': 4}]]
    """
    rows: list[list[dict[str, Any]]] = [[] for _ in counts]
    empty = _empty_record(keys)
    with collection_paused():
        if sum(counts) >= MANY:
            gc.collect(0)
        values = [iter(column if isinstance(column, str) else column.tolist()) for column in columns]
        for row, count in zip(rows, counts, strict=True):
            row.extend(map(dict.copy, repeat(empty, count)))
            _write(row, keys, values)
    return rows


def _write(row: list[dict[str, Any]], keys: tuple[str, ...], values: list[Iterator[Any]]) -> None:
    """Give each record its next value of every column; a target of the loop costs less than a statement of its own."""
    if len(keys) == 2:
        one, two = keys
        for record, record[one], record[two] in zip(row, *values, strict=False):  # noqa: B007
            pass
    else:
        one, two, three = keys
        for record, record[one], record[two], record[three] in zip(row, *values, strict=False):  # noqa: B007
            pass


@cache
def _empty_record(keys: tuple[str, ...]) -> dict[str, Any]:
    """A dict of these keys to copy: an instance's own, which shares them with those of all other instances."""
    kind = type("Record", (), {})
    for _ in range(SETTLED):
        record = kind()
        for key in keys:
            setattr(record, key, None)
    return vars(record)
