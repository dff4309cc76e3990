"""Pictures, sounds and films of a request: bytes, base64 or data URLs of the formats listed here, and nothing else.

What decoders would open beyond the bytes themselves (paths, addresses, playlists, PostScript) never reaches them.
"""

import base64
import binascii
import io
import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from ..running.extras import need
from ..running.task import Task
from .errors import invalid

# The first bytes of the formats that are let through. A film's container may name other files: these do not.
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")
_SOUNDS = (b"fLaC", b"OggS", b"ID3", b"FORM", b".snd")
_FILMS = (b"\x1aE\xdf\xa3", b"OggS", *_PICTURES[:3])
# What the bytes of a picture, a sound or a film may unfold to.
MOST_PIXELS = 50_000_000
MOST_SECONDS = 3600
MOST_FRAME_PIXELS = 4_000_000
# Fields of an item that hold media, by the kind they must be of; a string there is base64 or a data URL.
_FIELDS = {
    "image": "image",
    "images": "image",
    "query_image": "image",
    "audio": "audio",
    "audios": "audio",
    "video": "video",
    "videos": "video",
    "frames": "image",
}
# Fields that name what is to be fetched or opened: a data URL is the only value they may have.
_NAMES = ("path", "url", "file", "filename", "uri")
# Tasks whose inputs themselves are media although they count tokens.
_OF_PICTURES = ("image-to-text", "visual-question-answering", "document-question-answering")


def kind_of(task: Task) -> str | None:
    """What a bare string or body stands for in a task: "image", "audio" or "video", or None for a text.

    >>> from ..tasks.table import find_task
    >>> kind_of(find_task("ner")), kind_of(find_task("object-detection"))
    (None, 'image')
    """
    if task.name == "video-classification":
        return "video"
    if task.unit == "samples":
        return "audio"
    return "image" if task.unit == "pixels" or task.name in _OF_PICTURES else None


def takes_media(task: Task) -> bool:
    """Whether items of a task can hold pictures, sounds or films at all."""
    return kind_of(task) is not None or task.needs != ("tokenizer",) or bool(task.may_use)


def with_media(task: Task, inputs: Any) -> Any:
    """``inputs`` with every picture, sound and film as its bytes. Raises Refused (422) for what is none."""
    return _converted(inputs, kind_of(task)) if takes_media(task) else inputs


def _converted(value: Any, kind: str | None) -> Any:
    """kind: of what a string stands for here, None for text."""
    if isinstance(value, bytes):
        return checked(value, kind or "image")
    if isinstance(value, str):
        return value if kind is None else checked(decoded(value, kind), kind)
    if isinstance(value, list):
        return value if _are_numbers(value) else [_converted(each, kind) for each in value]
    if isinstance(value, Mapping):
        return _part(value) if "type" in value else {name: _field(name, each) for name, each in value.items()}
    return value


def _are_numbers(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(each, int | float) for each in values)


def _field(name: str, value: Any) -> Any:
    if name in _NAMES:
        raise invalid(f"{name} must not be given: inputs are bytes, base64 or data URLs, never what is to be opened")
    if name in ("raw", "array") and isinstance(value, list):
        return _samples(value)
    if name == "bytes" and isinstance(value, str):
        return decoded(value, "media")
    if name in ("messages", "content", "text", "state"):
        return _converted(value, None)
    return _converted(value, _FIELDS.get(name))


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a chat's message, with its picture or sound where transformers looks for it."""
    kind = str(part["type"]).removesuffix("_url").removeprefix("input_")
    if kind not in ("image", "audio", "video"):
        return {name: _field(name, value) for name, value in part.items()}
    held = next((part[name] for name in (str(part["type"]), kind, "base64", "url", "data") if name in part), None)
    if isinstance(held, Mapping):
        held = held.get("url", held.get("data"))
    if not isinstance(held, str | bytes):
        raise invalid(f"a part of type {part['type']!r} must hold base64 or a data URL; got {type(held).__name__}")
    content = checked(held if isinstance(held, bytes) else decoded(held, kind), kind)
    return {"type": kind, kind: _opened(kind)(content)}


def _opened(kind: str) -> Callable[[bytes], Any]:
    """What a chat template takes for a picture or a sound."""
    if kind == "image":
        from ..media.pictures import read_picture

        return read_picture
    return lambda content: content


def _samples(values: list[Any]) -> Any:
    import numpy as np

    try:
        return np.asarray(values, dtype=np.float32)
    except (ValueError, TypeError):
        raise invalid("audio must be lists of numbers of one length") from None


def decoded(text: str, kind: str) -> bytes:
    """The bytes of base64 or of a data URL. Raises Refused (422) for a path, an address, or any other text.

    >>> decoded("data:image/png;base64,iVBO", "image")
    b'\\x89PN'
    """
    header, comma, content = text.partition(",")
    if not text.startswith("data:"):
        header, content = ";base64", text
    elif not comma:
        raise invalid(f"{kind} must be a whole data URL")
    if not header.endswith(";base64"):
        return unquote_to_bytes(content)
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        shown = repr(text[:60])
        raise invalid(f"{kind} must be bytes, base64 or a data URL, never a path or an address; got {shown}") from None


def checked(content: bytes, kind: str) -> bytes:
    """``content``, which must begin as one of the formats of its kind does."""
    if not content:
        raise invalid(f"{kind} must not be empty")
    known = {"image": _is_picture, "audio": _is_sound, "video": _is_film}
    if kind in known and not known[kind](content):
        formats = {"image": "PNG, JPEG, WebP, GIF, BMP, TIFF or PPM", "audio": "WAV, FLAC, Ogg, MP3, AIFF or AU"}
        expected = formats.get(kind, "MP4, WebM, Matroska, Ogg, AVI or GIF")
        raise invalid(f"{kind} must be {expected}; got {len(content)} bytes that begin with {content[:8]!r}")
    check_size(content, kind)
    return content


def check_size(content: bytes, kind: str) -> None:
    """Refuse what a few bytes can unfold to: heads alone are read; what has none is left to the task."""
    size, most, unit = 0.0, 0, ""
    with suppress(Exception):
        if kind == "image":
            size, most, unit = _pixels(content), MOST_PIXELS, "pixels"
        elif kind == "audio":
            size, most, unit = _seconds(content), MOST_SECONDS, "seconds"
        elif kind == "video" and not content.startswith(b"GIF8"):
            size, most, unit = _frame_pixels(content), MOST_FRAME_PIXELS, "pixels a frame"
    if size > most:
        raise invalid(f"{kind} must have at most {most:,} {unit}; got {size:,.0f}")


def _pixels(content: bytes) -> float:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            width, height = Image.open(io.BytesIO(content)).size
        except Image.DecompressionBombError:
            return math.inf
    return float(width * height)


def _seconds(content: bytes) -> float:
    return float(need("soundfile", "audio", "reading a sound").info(io.BytesIO(content)).duration)


def _frame_pixels(content: bytes) -> float:
    with need("av", "vision", "reading a film").open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        return float(stream.width * stream.height)


def _is_picture(content: bytes) -> bool:
    return content.startswith(_PICTURES) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")


def _is_sound(content: bytes) -> bool:
    mpeg = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0
    return content.startswith(_SOUNDS) or mpeg or (content[:4] in (b"RIFF", b"RF64") and content[8:12] == b"WAVE")


def _is_film(content: bytes) -> bool:
    return content.startswith(_FILMS) or content[4:8] == b"ftyp" or (content[:4] == b"RIFF" and content[8:11] == b"AVI")
