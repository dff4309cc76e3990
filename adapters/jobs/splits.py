"""A file cut into parts that many readers open by themselves: lines at byte offsets, tables at row numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import IO, Any

from .errors import UsageError
from .formats import TABLES
from .lines import BOM, bounded_lines
from .source import Record, Source, parsed_record

LEAST_ROWS = 256
MOST_PARTS = 2000
MOST_PARTS_FROM_THE_START = 16


@dataclass(frozen=True)
class Split:
    """Records ``first`` (from 0) to ``first + count`` of an input; ``offset``: the byte where they begin, for lines."""

    name: str
    format: str
    max_line: int
    first: int
    count: int
    offset: int | None = None

    def records(self) -> Iterator[Record]:
        """The records of this part, as the whole input would give them."""
        if self.offset is None:
            source = Source(self.name, self.format, self.max_line)
            try:
                yield from islice(source.records(self.first), self.count)
            finally:
                source.close()
            return
        with open(self.name, "rb") as file:
            file.seek(self.offset)
            for piece in islice(bounded_lines(file, self.max_line), self.count):
                yield parsed_record(piece, self.max_line, as_json=self.format == "jsonl")


def cut(source: Source) -> tuple[list[Split], str]:
    """The parts of an input, and a digest of all of it; reads it once.

    Parts of LEAST_ROWS, or larger ones where there would be too many: a part is what is lost with a machine. Lines are
    found again at their byte and rows of tables at their row group; what is compressed or nested every part reads from
    the start, so it has few.
    """
    if source.name == "-":
        raise UsageError("standard input cannot be read by several machines; --input must be a file")
    lines = source.format.name in ("jsonl", "text") and not source.format.compression
    digest = blake2b(digest_size=16)
    offsets: list[int | None] = []
    total = 0
    walk: Iterator[tuple[int | None, bytes]] = (
        _walk_lines(source) if lines else ((None, d) for _, d in source.records())
    )
    for offset, each in walk:
        digest.update(each)
        if total % LEAST_ROWS == 0:
            offsets.append(offset)
        total += 1
    parts = MOST_PARTS if lines or source.format.name in TABLES else MOST_PARTS_FROM_THE_START
    step = max(1, -(-len(offsets) // parts))
    rows = step * LEAST_ROWS
    splits = [
        Split(source.name, source.format.name, source.max_line, first, min(rows, total - first), offset)
        for first, offset in zip(range(0, total, rows), offsets[::step], strict=True)
    ]
    return splits, digest.hexdigest()


def _walk_lines(source: Source) -> Iterator[tuple[int | None, bytes]]:
    """The byte where each line begins, and its digest."""
    with open(source.name, "rb") as file:
        place = _behind_mark(file)
        for piece in bounded_lines(file, source.max_line):
            yield place, piece.digest
            place += piece.size


def _behind_mark(file: IO[Any]) -> int:
    if file.read(len(BOM)) == BOM:
        return len(BOM)
    file.seek(0)
    return 0
