"""A file cut into parts that many readers open by themselves: lines at byte offsets, tables at row numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import IO, Any

from .errors import UsageError
from .lines import BOM, bounded_lines
from .source import Record, Source, parsed_record

SPLIT_ROWS = 2048


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
                yield from islice(source.records(), self.first, self.first + self.count)
            finally:
                source.close()
            return
        with open(self.name, "rb") as file:
            file.seek(self.offset)
            for piece in islice(bounded_lines(file, self.max_line), self.count):
                yield parsed_record(piece, self.max_line, as_json=self.format == "jsonl")


def cut(source: Source, rows: int = SPLIT_ROWS) -> tuple[list[Split], str]:
    """The parts of an input, and a digest of all of it; reads it once.

    Uncompressed lines are found again at their byte; what is compressed or nested is read by every part from the start.
    """
    if source.name == "-":
        raise UsageError("standard input cannot be read by several machines; --input must be a file")
    digest = blake2b(digest_size=16)
    counts: list[int] = []
    offsets: list[int] = []
    lines = source.format.name in ("jsonl", "text") and not source.format.compression
    walk = _walk_lines(source) if lines else ((None, each) for _, each in source.records())
    for number, (offset, each) in enumerate(walk):
        digest.update(each)
        if number % rows == 0:
            counts.append(0)
            offsets.append(offset or 0)
        counts[-1] += 1
    splits = [
        Split(source.name, source.format.name, source.max_line, index * rows, count, offsets[index] if lines else None)
        for index, count in enumerate(counts)
    ]
    return splits, digest.hexdigest()


def _walk_lines(source: Source) -> Iterator[tuple[int, bytes]]:
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
