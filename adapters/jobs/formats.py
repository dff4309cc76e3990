"""Which format a file is in: by what the user says, by its suffix, by its first bytes."""

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError

INPUT_FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "text", "parquet", "arrow", "dataset", "files", "films")
OUTPUT_FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "text", "parquet", "arrow", "dataset")
TABLES = ("parquet", "arrow", "dataset")

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
    ".text": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PAR1", "parquet"), (b"ARROW1", "arrow"))
# What is no text and no table here, though its first bytes say what it is.
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive or a workbook"),
    (b"SQLite format 3\x00", "a database"),
    (b"%PDF", "a PDF"),
    (b"\x93NUMPY", "an array of numpy"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)


@dataclass(frozen=True)
class Format:
    """``name`` is one of INPUT_FORMATS but "auto"; ``compression`` is None, "gzip" or "zstd"."""

    name: str
    compression: str | None = None

    def __str__(self) -> str:
        return self.name + (f", {self.compression}" if self.compression else "")


def by_suffix(name: str) -> Format | None:
    """The format of a file's name, or None where the name does not tell.

    >>> by_suffix("reviews.csv.gz"), by_suffix("notes")
    (Format(name='csv', compression='gzip'), None)
    """
    path = Path(name)
    compression = _COMPRESSIONS.get(path.suffix.lower())
    suffix = Path(path.stem).suffix if compression else path.suffix
    found = _SUFFIXES.get(suffix.lower())
    if found is None:
        return Format("", compression) if compression else None
    if compression and found in TABLES:
        raise UsageError(f"{name}: {found} is compressed inside, not as a whole")
    return Format(found, compression)


def output_format(name: str, asked: str) -> Format:
    """The format to write, JSON Lines where neither option nor suffix says another."""
    found = None if name == "-" else by_suffix(name)
    compression = found.compression if found else None
    if asked != "auto":
        return Format(asked, None if asked in TABLES else compression)
    return Format((found.name if found else "") or "jsonl", compression)


def folder_format(folder: str, asked: str) -> Format:
    """What a folder holds: a data set as ``datasets`` saves it, or files (or films) that are an item each."""
    if asked not in ("auto", "dataset", "files", "films"):
        raise UsageError(f"cannot read {folder}: it is a directory")
    if os.path.exists(os.path.join(folder, "dataset_dict.json")):
        raise UsageError(f"cannot read {folder}: it holds several splits; name the folder of one")
    if os.path.exists(os.path.join(folder, "state.json")):
        return Format("dataset")
    if asked == "dataset":
        raise UsageError(f"cannot read {folder}: no state.json in it, which a saved data set has")
    return Format("films" if asked == "films" else "files")


def input_format(name: str, asked: str, opening: bytes) -> Format:
    """The format to read. ``opening``: the first bytes of the file, still compressed if it is.

    A suffix is believed, but for compression and for tables, whose first bytes must agree.
    """
    found = (None if name == "-" else by_suffix(name)) or Format("")
    magic = next((kind for mark, kind in _MAGIC if opening.startswith(mark)), None)
    compression = magic if magic in ("gzip", "zstd") else None
    wanted = asked if asked != "auto" else found.name
    if wanted in TABLES:
        # A stream of Arrow batches has no mark at its start, only the length of its first message.
        if magic != wanted and not (wanted == "arrow" and opening[:4] == b"\xff\xff\xff\xff"):
            raise UsageError(f"cannot read {name}: it is not {wanted}")
        return Format(wanted)
    if magic in TABLES:
        if wanted:
            raise UsageError(f"cannot read {name} as {wanted}: it is {magic}")
        return Format(str(magic))
    if found.compression and not compression and opening:
        raise UsageError(f"cannot read {name}: it is not compressed with {found.compression}")
    foreign = next((kind for mark, kind in _FOREIGN if opening.startswith(mark)), None)
    if foreign is not None:
        raise UsageError(f"cannot read {name}: it is {foreign}")
    return Format(wanted, compression)


def text_format(name: str, wanted: str, opening: bytes) -> str:
    """The format of text whose beginning is ``opening``, decompressed and without its byte order mark.

    "json" stands for an array and for lines alike: many files of JSON Lines end in .json. A file of unknown suffix is
    JSON where it begins as JSON does, text otherwise.
    """
    start = opening.lstrip()
    if wanted == "json" or (not wanted and start[:1] == b"["):
        return "json" if _is_array(start) else "jsonl"
    if wanted:
        return wanted
    if b"\x00" in opening:
        raise UsageError(f"cannot read {name}: it is no text; name its format with --format")
    return "jsonl" if start[:1] in (b"{", b'"') else "text"


def _is_array(start: bytes) -> bool:
    """Whether JSON is one array over the whole file, and not a list on every line."""
    if start[:1] != b"[":
        return False
    first, newline, rest = start.partition(b"\n")
    return not (newline and rest.strip() and first.rstrip().endswith(b"]") and first.count(b"[") == first.count(b"]"))
