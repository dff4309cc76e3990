"""A folder whose files are an item each: images, sounds, films."""

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


def file_names(folder: str) -> list[str]:
    """The media files in a folder and in the folders under it, by name; hidden ones and pipes are left out."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.relpath(os.path.join(root, name), folder)
            for name in names
            if os.path.splitext(name)[1].lower() in SUFFIXES
            and not name.startswith(".")
            and not _is_special(os.path.join(root, name))
        ]
    return sorted(found)


def _is_special(path: str) -> bool:
    """Whether it is a pipe, a socket or a device: reading one may wait for ever. A link that leads nowhere is none."""
    return os.path.exists(path) and not os.path.isfile(path)


def file_records(folder: str) -> Iterator[tuple[Any, bytes]]:
    """Each file as ``{"id": its name in the folder, "file": its path}``, with a digest of its bytes."""
    for name in file_names(folder):
        path = os.path.join(folder, name)
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=DIGEST_BYTES)
        with suppress(OSError), open(path, "rb") as file:  # one that cannot be read fails when it is answered
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        yield {"id": name, "file": path}, digest.digest()
