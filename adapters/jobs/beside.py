"""Files beside a job's answers, one an item, in a folder: drawings of pictures, subtitles of recordings."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .entries import Entry
from .errors import UsageError, cannot

_NAME = 80  # characters of an id that a file's name keeps


class _Folder:
    """A folder that takes a file for every answer."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror}") from None


class Drawings(_Folder):
    """Takes the drawing of every answer that can draw itself (``result.draw()``)."""

    def add(self, entry: Entry, answer: Any) -> None:
        """Write the drawing of an answer, over one of an earlier run; an answer that cannot draw itself has none."""
        if hasattr(answer, "draw"):
            answer.draw().save(self.folder / file_name(entry, ".png"))


class Subtitles(_Folder):
    """Takes the words of every recognition, with their times, as a file of ``form`` (``result.write(form)``)."""

    def __init__(self, folder: str, form: str) -> None:
        from ..tasks.audio.formats import FORMATS

        if form not in FORMATS:
            raise UsageError(f"--subtitle-format must be one of {', '.join(FORMATS)}; got {form}")
        super().__init__(folder)
        self.form, self.suffix = form, FORMATS[form]

    def add(self, entry: Entry, answer: Any) -> None:
        """Write the subtitles of an answer, over those of an earlier run; what is no recognition has none."""
        if hasattr(answer, "to_srt"):
            path = self.folder / file_name(entry, self.suffix)
            path.write_text(answer.write(self.form), encoding="utf-8", newline="\n")


class Beside:
    """Every kind of file that a job writes beside its answers."""

    def __init__(self, kinds: Sequence[Drawings | Subtitles]) -> None:
        self.kinds = kinds

    def add(self, entry: Entry, answer: Any) -> None:
        for kind in self.kinds:
            try:
                kind.add(entry, answer)
            except OSError as error:
                cannot("write", error.filename or str(kind.folder), error)


def file_name(entry: Entry, suffix: str) -> str:
    """``000012-the-id.png``: its number and what of its id a name of a file may hold.

    >>> file_name(Entry(12, None, "cats/A 1.jpg", b""), ".png")
    '000012-cats-A-1.png'
    """
    stem = re.sub(r"\.\w{1,4}$", "", str(entry.name))
    safe = re.sub(r"[^\w.-]+", "-", stem)[:_NAME].strip("-.")
    numbered = not safe or str(entry.name) == str(entry.number)
    return f"{entry.number:06}{suffix}" if numbered else f"{entry.number:06}-{safe}{suffix}"


def files_beside(pictures: str | None, subtitles: str | None, form: str) -> Beside | None:
    """The folders that a job names, or None where it names none."""
    kinds: list[Drawings | Subtitles] = [] if pictures is None else [Drawings(pictures)]
    kinds += [] if subtitles is None else [Subtitles(subtitles, form)]
    return Beside(kinds) if kinds else None
