"""What a job on Ray has written, in the order of its input."""

import heapq
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from .blocks import NUMBER

_ROWS = 4096  # of a part at a time


class Item(NamedTuple):
    """An answered item: its number, its rows as lines of JSON, its error if it has one."""

    number: int
    rows: str
    error: str | None


def ordered(folder: str) -> Iterator[Item]:
    """The items in the parts of a folder, by their numbers, each once.

    A part holds items of one stretch of the input; parts may lie in one another, as they do after a job that went on.
    A part is read when its first item may be the next.
    """
    names = (os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".parquet"))
    waiting = sorted(((_least(name), name) for name in names), reverse=True)
    reading: list[tuple[Item, int, Iterator[Item]]] = []
    last = 0
    while waiting or reading:
        while waiting and (not reading or waiting[-1][0] <= reading[0][0].number):
            _push(reading, len(waiting), _items(waiting.pop()[1]))
        if reading:
            item, order, rest = heapq.heappop(reading)
            if item.number != last:
                yield item
            last = item.number
            _push(reading, order, rest)


def lines(folder: str) -> Iterator[bytes]:
    """The rows of all items, one line of JSON each."""
    for item in ordered(folder):
        yield from item.rows.encode().splitlines(keepends=True)


def _items(name: str) -> Iterator[Item]:
    from pyarrow import parquet

    for batch in parquet.read_table(name).sort_by(NUMBER).to_batches(max_chunksize=_ROWS):
        columns = (batch.column(each).to_pylist() for each in (NUMBER, "rows", "error"))
        yield from map(Item._make, zip(*columns, strict=True))


def _push(reading: list[Any], order: int, rest: Iterator[Item]) -> None:
    item = next(rest, None)
    if item is not None:
        heapq.heappush(reading, (item, order, rest))


def _least(name: str) -> int:
    from pyarrow import compute, parquet

    found = compute.min(parquet.read_table(name, columns=[NUMBER])[NUMBER]).as_py()
    return 0 if found is None else int(found)
