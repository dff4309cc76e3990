"""Building many small Python objects at once: lists of records without a cyclic collection in between."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cache
from itertools import pairwise, repeat
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Column = str | Array | tuple[Array, Array]
MANY = 1000  # records, from where on one look at the young objects costs less than what it saves
SETTLED = 64  # instances after which CPython gives a class's instances room for their own attributes only


class collection_paused:
    """No cyclic garbage collection inside: records hold no cycles, and passes over them cost a third of the build."""

    def __enter__(self) -> None:
        self._running = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._running:
            gc.enable()


def rows_of_records(
    keys: tuple[str, ...], columns: Sequence[Column], splits: Sequence[int]
) -> list[list[dict[str, Any]]]:
    """A list of dicts for each row. keys: two or three. columns: N values for each key, a string where the values are
    characters, else an array, of objects where they are not numbers. splits: [B + 1], row b is records splits[b] to
    splits[b + 1].

    What costs is memory that nothing has touched lately, so there is little of it: the dicts are copies of one that
    shares its keys with them, half as large as others. The collector looks at the rows while they are empty, and at
    young tuples in the columns, which it then takes off its books; dicts that hold untracked values never are on them.
    So neither the collection that follows the build nor most later ones walk over the records.
    >>> rows_of_records(("char", "place"), ["ab", np.array([3, 4])], [0, 1, 2])
    [[{'char': 'a', 'place': 3}], [{'char': 'b', 'place': 4}]]
    """
    rows: list[list[dict[str, Any]]] = [[] for _ in splits[1:]]
    empty = _empty_record(keys)
    with collection_paused():
        if splits[-1] >= MANY:
            gc.collect(0)
        for row, (first, end) in zip(rows, pairwise(splits), strict=True):
            row.extend(map(dict.copy, repeat(empty, end - first)))
            _write(row, keys, [_values(column, first, end) for column in columns])
    return rows


def _values(column: Column, first: int, end: int) -> str | list[Any]:
    """A row's part of a column."""
    if isinstance(column, tuple):
        table, places = column
        taken: list[Any] = table.take(places[first:end]).tolist()
        return taken
    part = column[first:end]
    return part if isinstance(part, str) else part.tolist()


def _write(row: list[dict[str, Any]], keys: tuple[str, ...], values: list[Any]) -> None:
    """Give each record its value of every column; a target of the loop costs less than a statement of its own."""
    if len(keys) == 2:
        one, two = keys
        for record, record[one], record[two] in zip(row, *values, strict=True):  # noqa: B007
            pass
    else:
        one, two, three = keys
        for record, record[one], record[two], record[three] in zip(row, *values, strict=True):  # noqa: B007
            pass


@cache
def _empty_record(keys: tuple[str, ...]) -> dict[str, Any]:
    """A dict of these keys to copy: an instance's own, which shares them with those of all other instances."""
    kind = type("Record", (), {})
    for _ in range(SETTLED):
        record = kind()
        for key in keys:
            setattr(record, key, None)
    empty: dict[str, Any] = vars(record)
    return empty
