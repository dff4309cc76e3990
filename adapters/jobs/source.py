"""An input opened: its format found, its records in order, and whether it stayed the same while it was read.

A record is a value (a text, a dict of fields, or a Failure in its place) with a digest of what it was read from.
"""

import gzip
import io
import os
import select
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..running.failures import Failure
from .errors import UsageError, cannot, one_line
from .formats import TABLES, Format, folder_format, input_format, text_format
from .lines import BOM, Piece, array_elements, bounded_lines, parse_json
from .signals import stop_requested

Record = tuple[Any, bytes]
_OPENING = 1 << 16
_NOUNS = {
    "json": "item",
    "csv": "row",
    "tsv": "row",
    "parquet": "row",
    "arrow": "row",
    "dataset": "row",
    "files": "file",
    "films": "film",
}


class Source:
    """One input. ``format``; ``noun``: what its records are called; ``columns``: their names where they are known.

    ``schema``: pyarrow's, of a table.
    """

    def __init__(self, name: str, asked: str, max_line: int) -> None:
        self.name = name
        self.max_line = max_line
        self.columns: list[str] | None = None
        self.schema: Any = None
        self._closing = ExitStack()
        self._size: tuple[int, int] | None = None
        self._stream: IO[bytes] | None = None
        try:
            self._open(asked)
        except OSError as error:
            self.close()
            cannot("read", name, error)
        except BaseException:
            self.close()
            raise
        self.noun = _NOUNS.get(self.format.name, "line")

    def _open(self, asked: str) -> None:
        """Find the format, by the folder's files or the file's first bytes, and open it."""
        if self.name != "-" and os.path.isdir(self.name):
            self.format = folder_format(self.name, asked)
        else:
            raw = self._raw()
            opening = raw.peek(_OPENING)[:_OPENING] if raw is not None else b""
            self.format = input_format(self.name, asked, opening)
            if self.format.name not in TABLES:
                self._open_text(raw)
            elif self._size is None:
                self._stream = self._spooled(raw)
        if self.format.name in TABLES:
            from .tables import open_table

            self._table = open_table(self.name, self.format.name, self._stream, self._closing)
            self.columns, self.schema = self._table.columns, self._table.schema
        elif self.format.name in ("csv", "tsv"):
            from .csv_rows import CsvRows

            delimiter = "," if self.format.name == "csv" else "\t"
            self._rows = CsvRows(self._bytes, self.max_line, delimiter)
            self.columns = self._guarded(self._rows.read_header)

    def _raw(self) -> Any:
        if self.name == "-":
            given: Any = _Standard() if _is_real(sys.stdin.buffer) else sys.stdin.buffer
            return given if hasattr(given, "peek") else io.BufferedReader(given, _OPENING)
        raw = self._closing.enter_context(open(self.name, "rb", buffering=_OPENING))  # noqa: SIM115 - the stack closes it
        found = os.fstat(raw.fileno())
        if stat.S_ISREG(found.st_mode):
            self._size = (found.st_size, found.st_mtime_ns)
        self._stream = raw
        return raw

    def _spooled(self, raw: Any) -> Any:
        """What comes through a pipe as a file: a table says at its end what is in it."""
        file = self._closing.enter_context(tempfile.NamedTemporaryFile(prefix="afterlogits-"))  # noqa: SIM115
        shutil.copyfileobj(raw, file, 1 << 20)
        file.flush()
        return file

    def _open_text(self, raw: Any) -> None:
        unpacked = self._closing.enter_context(_unpacked(raw, self.format.compression))
        opening = self._guarded(lambda: unpacked.peek(_OPENING)[:_OPENING])
        if opening.startswith(BOM):
            unpacked.read(len(BOM))
            opening = opening[len(BOM) :]
        found = text_format(self.name, self.format.name, opening)
        self.format = Format(found, self.format.compression)
        self._bytes = unpacked

    def records(self, first: int = 0) -> Iterator[Record]:
        """Every record from number ``first`` (from 0) on, in order.

        Raises UsageError where the input ends too early or changed while it was read.
        """
        if self.format.name in TABLES:
            reading = self._table.records(self.max_line, first)
        else:
            reading = islice(self._reading(), first, None)
        while (record := self._guarded(lambda: next(reading, None))) is not None:
            yield record
        self._check_unchanged()

    def _reading(self) -> Iterator[Record]:
        """The records of the format, one after another."""
        name, limit = self.format.name, self.max_line
        if name in ("csv", "tsv"):
            return self._rows.records()
        if name == "files":
            from .files import file_records

            return file_records(self.name)
        if name == "films":
            from .files import film_records

            return film_records(self.name)
        if name == "json":
            return (parsed_record(piece, limit, as_json=True) for piece in array_elements(self._bytes, limit))
        return (parsed_record(piece, limit, as_json=name == "jsonl") for piece in bounded_lines(self._bytes, limit))

    def _guarded(self, read: Callable[[], Any]) -> Any:
        """What ``read`` returns; the errors of a broken stream (truncated, not what it says) as one line."""
        import zlib

        try:
            return read()
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror or one_line(error)}") from None
        except (EOFError, zlib.error, ValueError) as error:
            raise UsageError(f"cannot read {self.name}: {one_line(error)}") from None

    def total(self) -> int | None:
        """How many records there are, where that is quickly known; lines are counted."""
        if self.format.name in TABLES:
            return self._table.total()
        if self._size is None or self.format.compression or self.format.name not in ("jsonl", "text"):
            return None
        with open(self.name, "rb") as counted:
            chunks = iter(lambda: counted.read(1 << 20), b"")
            last, lines = b"\n", 0
            for chunk in chunks:
                lines += chunk.count(b"\n")
                last = chunk[-1:]
        return lines + (last != b"\n")

    def _check_unchanged(self) -> None:
        if self._size is not None and self._stream is not None:
            found = os.fstat(self._stream.fileno())
            if (found.st_size, found.st_mtime_ns) != self._size:
                raise UsageError(f"{self.name} changed while it was read; what was answered is kept")

    @property
    def reading(self) -> dict[str, Any]:
        """How the bytes become records: the same bytes in another format, or under another header, are others."""
        return {"input format": self.format.name, "input columns": self.columns}

    def close(self) -> None:
        self._closing.close()


def parsed_record(piece: Piece, limit: int, *, as_json: bool) -> Record:
    if piece.data is None:
        return Failure(ValueError(f"{piece.size:,} bytes, longer than --max-line ({limit:,})")), piece.digest
    try:
        text = piece.data.decode("utf-8").rstrip("\r\n")
        return (parse_json(text) if as_json else text), piece.digest
    except UnicodeDecodeError as error:
        return Failure(ValueError(f"not valid UTF-8 at byte {error.start + 1}")), piece.digest
    except ValueError as error:
        return Failure(error), piece.digest


def _unpacked(raw: Any, compression: str | None) -> Any:
    if compression == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), _OPENING)
    if compression == "zstd":
        from .tables import needs_pyarrow

        pyarrow = needs_pyarrow("zstd")
        return io.BufferedReader(_Arrow(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), "zstd")), _OPENING)
    return raw


class _Arrow(io.RawIOBase):
    """A stream of pyarrow as Python's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Standard(io.RawIOBase):
    """Standard input, read so that a signal ends it even while nothing comes."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not stop_requested.is_set():
            if select.select([0], [], [], 0.2)[0]:
                return os.readv(0, [buffer])
        return 0


def _is_real(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == 0)
    except (OSError, AttributeError):
        return False


def check_distinct(source: str, target: Path | None) -> None:
    """Refuse to write what is read. ``target``: None is the file that standard output goes to."""
    place = 1 if target is None else target
    with suppress(OSError):  # no output yet
        found = os.stat(place)
        if (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) and os.path.samestat(
            found, os.stat(0 if source == "-" else source)
        ):
            raise UsageError(f"--output must not be the input; got {source} for both")
