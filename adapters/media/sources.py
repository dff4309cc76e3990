"""The bytes behind what a caller gives: a file, bytes, base64, a data URL, or a web address where that is allowed."""

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

SHOWN = 60  # characters of a source that an error repeats
_WEB = ("http://", "https://")


def read_bytes(kind: str, source: Any, *, allow_urls: bool = False, timeout: float | None = None) -> bytes:
    """The content of ``source``; ``kind`` ("image", "video", "audio") names it in errors.

    source: bytes, a path, a data URL, base64, a file open for reading, a dict with ``bytes`` or ``path`` (as datasets
    stores undecoded media), or with ``allow_urls`` a web address, for which ``timeout`` seconds are waited.
    Raises ValueError for a source that is none of these, or cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, Mapping):
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
        return read_bytes(kind, source, allow_urls=allow_urls, timeout=timeout)
    if hasattr(source, "read"):
        content = source.read()
        return content if isinstance(content, bytes) else bytes(content, "latin-1")
    if is_file(source):
        return _file(kind, source)
    if not isinstance(source, str):
        raise TypeError(f"{kind} must be a path, bytes, base64 or a data URL; got {type(source).__name__}")
    if is_web_address(source):
        return _fetch(kind, source, timeout) if allow_urls else _refuse(kind, source)
    return _decode(kind, source)


def is_web_address(source: Any) -> bool:
    return isinstance(source, str) and source.startswith(_WEB)


def shown(source: Any) -> str:
    """A source in an error: its name, or what it is and how large."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"{len(source)} bytes"
    if isinstance(source, str | Path):
        text = repr(str(source))
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(str(source))} characters)"
    return type(source).__name__


def is_file(source: Any) -> bool:
    """Whether a source names a file: any Path does, a string where there is one."""
    if not isinstance(source, str):
        return isinstance(source, Path)
    try:
        return os.path.isfile(source)
    except ValueError:  # base64 and data URLs may hold what no path can
        return False


def _file(kind: str, source: str | Path) -> bytes:
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ValueError(f"{kind} must be a file that can be read; got {shown(source)}: {error.strerror}") from None


def _decode(kind: str, source: str) -> bytes:
    """The bytes of a data URL or of base64; ValueError names what the source might have been."""
    header, comma, content = source.partition(",")
    if source.startswith("data:"):
        if not comma:
            raise ValueError(f"{kind} must be a whole data URL; got {shown(source)}")
        if not header.endswith(";base64"):
            return unquote_to_bytes(content)
    else:
        content = source
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{kind} must be a file that exists, a data URL or base64; got {shown(source)}") from None


def _refuse(kind: str, source: str) -> bytes:
    raise ValueError(f"{kind} must not be a web address unless allow_urls=True; got {shown(source)}")


def _fetch(kind: str, source: str, timeout: float | None) -> bytes:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(source, timeout=timeout) as answer:
            content: bytes = answer.read()
            return content
    except (URLError, OSError, ValueError) as error:
        raise ValueError(f"{kind} must be at an address that answers; got {shown(source)}: {error}") from None
