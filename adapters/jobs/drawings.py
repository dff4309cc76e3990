"""Answers of a job drawn on their pictures, one PNG an item, in a folder."""

import re
from pathlib import Path
from typing import Any

from .entries import Entry
from .errors import UsageError

_NAME = 80  # characters of an id that a file's name keeps


class Drawings:
    """A folder that takes the drawing of every answer that can draw itself (``result.draw()``)."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror}") from None

    def add(self, entry: Entry, answer: Any) -> None:
        """Write the drawing of an answer, over one of an earlier run; an answer that cannot draw itself has none."""
        if hasattr(answer, "draw"):
            answer.draw().save(self.folder / drawing_name(entry))


def drawing_name(entry: Entry) -> str:
    """``000012-the-id.png``: its number and what of its id a name of a file may hold.

    >>> drawing_name(Entry(12, None, "cats/A 1.jpg", b""))
    '000012-cats-A-1.png'
    """
    stem = re.sub(r"\.\w{1,4}$", "", str(entry.name))
    safe = re.sub(r"[^\w.-]+", "-", stem)[:_NAME].strip("-.")
    numbered = not safe or str(entry.name) == str(entry.number)
    return f"{entry.number:06}.png" if numbered else f"{entry.number:06}-{safe}.png"


def drawings_of(folder: str | None) -> Drawings | None:
    return None if folder is None else Drawings(folder)
