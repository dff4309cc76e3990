"""Tables of pyarrow as records: Parquet, Arrow files and streams, and data sets as ``datasets`` saves them."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from ..running.extras import need
from ..running.failures import Failure
from .errors import UsageError, one_line
from .lines import digest_of

ROWS = 1024  # of a table at a time


Batches = Callable[[int], tuple[int, Iterator[Any]]]


class Table:
    """``columns``; ``count``: how many rows, or None.

    ``batches``: of a row's number, a batch's first row at or before it, and the batches from there on.
    """

    def __init__(self, schema: Any, batches: Batches, count: Callable[[], int | None]) -> None:
        self.schema = schema
        self.columns = list(schema.names)
        self._batches = batches
        self.total = count

    def records(self, limit: int, first: int = 0) -> Iterator[tuple[Any, bytes]]:
        for batch in self.batches(first):
            for start in range(0, batch.num_rows, ROWS):
                for row in _rows(batch.slice(start, ROWS)):
                    yield _bounded(row, limit), digest_of(repr(row).encode("utf-8", "surrogatepass"))

    def batches(self, first: int) -> Iterator[Any]:
        """The rows from number ``first`` on; what lies before is passed without being read as Python's values."""
        reached, batches = self._batches(first)
        for batch in batches:
            behind = reached + batch.num_rows
            if behind > first:
                yield batch.slice(max(first - reached, 0))
            reached = behind


def needs_pyarrow(what: str) -> Any:
    """The module, or the line that names the extra to install."""
    try:
        return need("pyarrow", "jobs", what)
    except ImportError as error:
        raise UsageError(str(error)) from None


def open_table(name: str, kind: str, stream: Any, closing: ExitStack) -> Table:
    """The table of a file or folder. ``closing`` closes what is opened."""
    pyarrow = needs_pyarrow(kind)
    try:
        if kind == "parquet":
            from pyarrow import parquet

            file = closing.enter_context(parquet.ParquetFile(stream))
            return Table(file.schema_arrow, partial(_row_groups, file), lambda: file.metadata.num_rows)
        if kind == "arrow":
            return _arrow(stream.name, closing)
        return _data_set(name, closing)
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise UsageError(f"cannot read {name}: {one_line(error)}") from None


def _row_groups(file: Any, first: int) -> tuple[int, Iterator[Any]]:
    """The batches of a Parquet file from the row group on that holds a row."""
    reached, skipped = 0, 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if reached + rows > first:
            break
        reached, skipped = reached + rows, group + 1
    return reached, file.iter_batches(batch_size=ROWS, row_groups=range(skipped, file.num_row_groups))


def _arrow(name: str, closing: ExitStack) -> Table:
    """A file of record batches, with the footer of a file or as a stream without one."""
    from pyarrow import ArrowInvalid, ipc

    mapped = closing.enter_context(_mapped(name))
    try:
        file = ipc.open_file(mapped)
    except ArrowInvalid:
        mapped.seek(0)
        stream = ipc.open_stream(mapped)
        return Table(stream.schema, lambda first: (0, iter(stream)), lambda: None)
    numbers = range(file.num_record_batches)
    return Table(
        file.schema,
        lambda first: (0, (file.get_batch(number) for number in numbers)),
        lambda: sum(file.get_batch(number).num_rows for number in numbers),
    )


def _data_set(folder: str, closing: ExitStack) -> Table:
    """A saved data set: its Arrow files in the order of its state, opened one at a time."""
    with open(os.path.join(folder, "state.json"), encoding="utf-8") as state:
        names = [os.path.join(folder, each["filename"]) for each in json.load(state)["_data_files"]]
    if not names:
        pyarrow = needs_pyarrow("dataset")
        return Table(pyarrow.schema([]), lambda first: (0, iter(())), lambda: 0)
    schema = _arrow(names[0], closing).schema

    def batches() -> Iterator[Any]:
        for name in names:
            with ExitStack() as own:
                yield from _arrow(name, own).batches(0)

    return Table(schema, lambda first: (0, batches()), lambda: None)


def _mapped(name: str) -> Any:
    import pyarrow

    return pyarrow.memory_map(name)


def _rows(batch: Any) -> list[Any]:
    """The rows of a batch as dicts; a row that Python cannot hold (text that is no UTF-8) as a Failure."""
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            return [Failure(ValueError(one_line(error)))]
    half = batch.num_rows // 2
    return [*_rows(batch.slice(0, half)), *_rows(batch.slice(half))]


def _bounded(row: Any, limit: int) -> Any:
    if isinstance(row, Failure):
        return row
    size = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
    return Failure(ValueError(f"{size:,} bytes, longer than --max-line ({limit:,})")) if size > limit else row
