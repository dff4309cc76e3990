"""The last pass: rows, one line of JSON each, into a file of the format that was asked for.

The same rows give the same bytes, however they were cut into shards: rows are taken a fixed number at a time.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from .formats import TABLES, Format

Rows = Callable[[], Iterator[bytes]]
CHUNK = 8192  # rows at a time, and rows of a row group
# The text of an answer, where the output is text alone.
_TEXTS = ("generated_text", "summary_text", "translation_text", "answer", "text", "sequence", "label", "entity_group")


def write(
    format: Format,
    place: Path,
    rows: Rows,
    bodies: Callable[[], Iterator[bytes]],
    carried: Mapping[str, Any] | None = None,
) -> None:
    """Write all rows to a new file (a folder for "dataset").

    bodies: the same bytes in large pieces. carried: the types that carried columns had in a table, by name.
    """
    if format.name in TABLES:
        from .table_writing import write_table

        write_table(format.name, place, rows, carried)
        return
    with open(place, "wb") as file, compressed(file, format.compression) as sink:
        if format.name == "jsonl":
            for piece in bodies():
                sink.write(piece)
        elif format.name == "json":
            _write_array(sink, rows())
        elif format.name == "text":
            sink.writelines(map(text_line, rows()))
        else:
            _write_csv(sink, rows, "\t" if format.name == "tsv" else ",")


@contextmanager
def compressed(file: IO[bytes], compression: str | None) -> Iterator[IO[bytes]]:
    """``file``, or what compresses into it. No time or name is stored: the same rows give the same bytes."""
    if compression == "gzip":
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            yield packed  # type: ignore[misc]
    elif compression == "zstd":
        from .tables import needs_pyarrow

        pyarrow = needs_pyarrow("zstd")
        with pyarrow.CompressedOutputStream(pyarrow.PythonFile(file, "w"), "zstd") as packed:
            yield packed
            packed.flush()
    else:
        yield file


def _write_array(sink: IO[bytes], rows: Iterator[bytes]) -> None:
    before = b"[\n"
    for row in rows:
        sink.write(before + row.rstrip(b"\n"))
        before = b",\n"
    sink.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def text_line(row: bytes) -> bytes:
    """The answer of a row as one line of text; an item without an answer leaves its line empty."""
    record = json.loads(row)
    result = record["result"] if "result" in record else {name: record[name] for name in record if name in _TEXTS}
    found = _text_of(result if "error" not in record else "")
    return " ".join(found.splitlines()).encode("utf-8", "replace") + b"\n"


def _text_of(result: Any) -> str:
    if isinstance(result, str):
        return result
    if isinstance(result, list) and len(result) == 1:
        return _text_of(result[0])
    if isinstance(result, dict):
        name = next((name for name in _TEXTS if isinstance(result.get(name), str)), None)
        if name is not None:
            return str(result[name])
    return json.dumps(result, ensure_ascii=False)


def _write_csv(sink: IO[bytes], rows: Rows, delimiter: str) -> None:
    names = column_names(rows())
    text = io.TextIOWrapper(sink, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for row in rows():
        record = json.loads(row)
        writer.writerow([_cell(record.get(name)) for name in names])
    text.detach()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def column_names(rows: Iterable[bytes]) -> list[str]:
    """Every name that a row has, in the order they appear; ``error`` last."""
    found: dict[str, None] = {"id": None}
    for row in rows:
        found.update(dict.fromkeys(json.loads(row)))
    found.pop("error", None)
    return [*found, "error"]


def chunks(rows: Iterator[bytes], size: int = CHUNK) -> Iterator[list[Mapping[str, Any]]]:
    """The rows as dicts, so many at a time."""
    while chunk := list(islice(rows, size)):
        yield [json.loads(row) for row in chunk]
