"""Rows of CSV and TSV as dicts of strings; a bad row costs itself alone."""

import csv
from collections.abc import Iterator
from hashlib import blake2b
from typing import IO, Any

from ..running.failures import Failure
from .errors import UsageError
from .lines import DIGEST_BYTES, bounded_lines, parse_json

# Fields of tasks that are lists or tables: in CSV they stand as JSON.
STRUCTURED = frozenset({"candidate_labels", "choices", "messages", "table", "targets", "tokens", "words"})


class CsvRows:
    """A header and what follows. Fields may be quoted, and hold line ends then; blank lines are no rows."""

    def __init__(self, source: IO[bytes], limit: int, delimiter: str) -> None:
        csv.field_size_limit(max(limit, 1))
        self._limit = limit
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._wrong: str | None = None  # what is wrong with the lines of the row that is being read
        self._rows = csv.reader(self._lines(source), delimiter=delimiter)
        self.columns: list[str] = []

    def read_header(self) -> list[str]:
        try:
            header = next(self._rows, [])
        except csv.Error as error:  # line ends that are carriage returns alone, a field beyond the limit
            raise ValueError(f"the header is no row: {str(error).partition(' - ')[0]}") from None
        if self._wrong is not None:
            raise ValueError(f"the header is {self._wrong}")
        doubled = next((name for name in header if header.count(name) > 1), None)
        if doubled is not None:
            raise UsageError(f"the header has two columns {doubled!r}")
        self.columns = header
        self._start()
        return header

    def records(self) -> Iterator[tuple[Any, bytes]]:
        while True:
            try:
                row = next(self._rows, None)
            except csv.Error as error:
                row, self._wrong = [], self._wrong or str(error)
            if row is None:
                return
            if not row and self._wrong is None:
                continue
            record: Any = self._record(row)
            digest = self._digest.digest()
            self._start()
            yield record, digest

    def _record(self, row: list[str]) -> Any:
        if self._wrong is not None:
            return Failure(ValueError(self._wrong))
        if len(row) != len(self.columns):
            return Failure(ValueError(f"{len(row)} fields where the header has {len(self.columns)}"))
        return {name: _value(name, text) for name, text in zip(self.columns, row, strict=True)}

    def _start(self) -> None:
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._wrong = None

    def _lines(self, source: IO[bytes]) -> Iterator[str]:
        """The file's lines for Python's reader, each no longer than the limit; what is wrong is kept for the row it is
        in."""
        for piece in bounded_lines(source, self._limit):
            self._digest.update(piece.digest)
            if piece.data is None:
                self._wrong = f"{piece.size:,} bytes, longer than --max-line ({self._limit:,})"
                # In place of the line, what leaves the reader inside or outside of quotes as the line would.
                yield '"\n' if piece.quotes % 2 else "\n"
                continue
            try:
                yield piece.data.decode("utf-8")
            except UnicodeDecodeError as error:
                self._wrong = f"not valid UTF-8 at byte {error.start + 1}"
                yield piece.data.decode("utf-8", "replace")


def _value(name: str, text: str) -> Any:
    if name in STRUCTURED and text[:1] in ("[", "{"):
        try:
            return parse_json(text)
        except ValueError:
            return text
    return text
