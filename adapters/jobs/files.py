"""A folder whose files are an item each: images, sounds, films; or whose folders of frames are a film each."""

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from .lines import DIGEST_BYTES

_IMAGES = ".bmp .gif .jpeg .jpg .png .tif .tiff .webp"
_SOUNDS = ".aac .aif .aiff .flac .m4a .mp3 .ogg .opus .wav"
_FILMS = ".avi .mkv .mov .mp4 .webm"
SUFFIXES = frozenset(f"{_IMAGES} {_SOUNDS} {_FILMS}".split())
_FRAMES = frozenset(_IMAGES.split()) - {".gif"}  # of a GIF every picture is a frame


def file_names(folder: str) -> list[str]:
    """The media files in a folder and in the folders under it, by name; hidden ones and pipes are left out."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.relpath(os.path.join(root, name), folder)
            for name in names
            if _suffix(name) in SUFFIXES and not name.startswith(".") and not _is_special(os.path.join(root, name))
        ]
    return sorted(found)


def film_names(folder: str) -> dict[str, list[str]]:
    """The films in a folder by name, and the files of each: those of films, and folders of pictures, its frames."""
    found: dict[str, list[str]] = {}
    for name in file_names(folder):
        film = os.path.dirname(name) or os.curdir if _suffix(name) in _FRAMES else name
        found.setdefault(film, []).append(name)
    return found


def holds_frames(folder: str) -> bool:
    """Whether a folder, or one under it, holds the frames of a film."""
    return any(_suffix(name) in _FRAMES for name in file_names(folder))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_special(path: str) -> bool:
    """Whether it is a pipe, a socket or a device: reading one may wait for ever. A link that leads nowhere is none."""
    return os.path.exists(path) and not os.path.isfile(path)


def file_records(folder: str) -> Iterator[tuple[Any, bytes]]:
    """Each file as ``{"id": its name in the folder, "file": its path}``, with a digest of its bytes."""
    for name in file_names(folder):
        yield {"id": name, "file": os.path.join(folder, name)}, _digest_of(folder, [name])


def film_records(folder: str) -> Iterator[tuple[Any, bytes]]:
    """The same of each film; of one that is a folder the digest is of all its frames."""
    for film, names in film_names(folder).items():
        yield {"id": film, "file": os.path.normpath(os.path.join(folder, film))}, _digest_of(folder, names)


def _digest_of(folder: str, names: list[str]) -> bytes:
    """Of names and contents."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape"))
        # One that cannot be read fails when it is answered.
        with suppress(OSError), open(os.path.join(folder, name), "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.digest()
