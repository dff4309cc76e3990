"""Lines of a byte stream, none of them held beyond a limit, and the elements of a JSON array in the same way."""

import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import IO, Any, NamedTuple

DIGEST_BYTES = 8
BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 16
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'[\\"]')


class Piece(NamedTuple):
    """One line or element. ``data`` is None where it is longer than the limit; ``quotes``: how many it held then."""

    data: bytes | None
    digest: bytes
    size: int
    quotes: int = 0


def digest_of(data: bytes) -> bytes:
    """Eight bytes that tell one input record from another."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def bounded_lines(source: IO[bytes], limit: int) -> Iterator[Piece]:
    """The lines of ``source`` with their ends; of one beyond ``limit`` bytes only its digest and size are kept."""
    while line := source.readline(limit + 2):  # room for the end of a line that is just as long as allowed
        whole = line.endswith(b"\n") or len(line) < limit + 2
        if whole and len(line.rstrip(b"\r\n")) <= limit:
            yield Piece(line, digest_of(line), len(line))
            continue
        digest, size, quotes = blake2b(line, digest_size=DIGEST_BYTES), len(line), line.count(b'"')
        while not whole:
            line = source.readline(_CHUNK)
            digest.update(line)
            size += len(line)
            quotes += line.count(b'"')
            whole = line.endswith(b"\n") or not line
        yield Piece(None, digest.digest(), size, quotes)


def array_elements(source: IO[bytes], limit: int) -> Iterator[Piece]:
    """The elements of one JSON array, each as its bytes, found by brackets and quotes alone.

    What is wrong inside an element is found when the element is parsed; an array that ends too early is a ValueError.
    """
    scan = _ArrayScan(limit)
    while chunk := source.read(_CHUNK):
        yield from scan.feed(chunk)
    scan.finish()


class _ArrayScan:
    """Where the scan stands: how deep, whether inside a string, and the bytes of the element so far."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.depth = 0
        self.in_string = False
        self.escaped = False
        self.ended = False
        self._start()

    def _start(self) -> None:
        self.kept: list[bytes] = []
        self.size = 0
        self.digest = blake2b(digest_size=DIGEST_BYTES)

    def _take(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
        if self.size <= self.limit:
            self.kept.append(data)
        else:
            self.kept.clear()

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The elements that end in this chunk."""
        place = int(self.escaped)
        self.escaped = False
        begun = 0
        while not self.ended and (found := (_INSIDE if self.in_string else _OUTSIDE).search(chunk, place)):
            place, mark = found.end(), found.group()
            if self.in_string or mark == b'"':
                place = self._quoted(mark, place, len(chunk))
                continue
            above = self.depth
            self.depth += (mark in b"[{") - (mark in b"]}")
            if above == 0:
                begun = place
            elif self.depth == 0 or (mark == b"," and self.depth == 1):
                self._take(chunk[begun : place - 1])
                begun = place
                self.ended = self.depth == 0
                # Behind the last comma, or in an empty array, there is no element.
                if not self.ended or self.size > self.limit or b"".join(self.kept).strip():
                    yield self._piece()
        if self.ended and chunk[begun:].strip():
            raise ValueError("text after the end of the array")
        if self.depth:
            self._take(chunk[begun:])

    def _quoted(self, mark: bytes, place: int, end: int) -> int:
        """Enter or leave a string, or pass what a backslash escapes, which may be in the next chunk."""
        if mark == b'"':
            self.in_string = not self.in_string
            return place
        self.escaped = place >= end
        return place + 1

    def _piece(self) -> Piece:
        data = b"".join(self.kept).strip() if self.size <= self.limit else None
        piece = Piece(data, self.digest.digest(), self.size)
        self._start()
        return piece

    def finish(self) -> None:
        if not self.ended:
            raise ValueError("the array does not end")


def parse_json(text: str) -> Any:
    """JSON as RFC 8259 has it; NaN and the infinities, which it does not have, are null.

    Raises ValueError with one line for what cannot be read: wrong JSON, numbers of thousands of digits, deep nesting.
    """
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("invalid JSON: nested too deeply") from None
    except ValueError:
        raise ValueError("invalid JSON: a number of too many digits") from None
