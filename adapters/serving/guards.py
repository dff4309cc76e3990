"""What is refused before a model hears of it: foreign hosts and sites, bodies of forms, too large or too slow."""

import asyncio
import ipaddress
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.requests import ClientDisconnect, Request

from .errors import Refused
from .settings import Limits

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What a page of another site can send without asking first; huggingface_hub's client sends none of it.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_MEDIA = ("image/", "audio/", "video/", "application/octet-stream", "application/ogg")


def check_host(request: Request, allowed: Collection[str]) -> None:
    """Refuse a Host header that names neither this machine nor one of ``allowed``: a page elsewhere may have a name
    of its own point here. "*" allows all."""
    if "*" in allowed:
        return
    named = request.headers.getlist("host")
    host = _hostname(named[0]) if len(named) == 1 else None
    if host is None or not (host in allowed or host in _LOOPBACK or (_is_address(host) and "0.0.0.0" in allowed)):
        raise Refused(403, f"host must be this server's own; got {', '.join(named)[:100]!r}", error_type="forbidden")


def check_site(request: Request) -> None:
    """Refuse a request that a page of another site makes: by its Origin, or what browsers say of where it stands."""
    origin = request.headers.get("origin")
    if origin is not None:
        parts = _split(origin)
        if parts is None or parts.netloc != request.headers.get("host"):
            raise Refused(403, f"origin must be this server's own; got {origin[:100]!r}", error_type="forbidden")
    elif request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Refused(403, "requests from pages of other sites are refused", error_type="forbidden")


def media_type(request: Request) -> str:
    """The type of a body, of those that are taken. Raises Refused (415) for forms and plain text."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found in _FORMS or (found and found != "application/json" and not found.startswith(_MEDIA)):
        raise Refused(415, f"content type must be application/json or of a picture, sound or film; got {found[:80]!r}")
    return found


async def read_body(request: Request, limits: Limits, most: int) -> bytes:
    """The body. Raises Refused: 413 for more than ``most`` bytes, before they are read; 408 if it does not come."""
    length = request.headers.get("content-length")
    if length is not None and length.isdigit() and int(length) > most:
        raise _too_large(most)
    pieces: list[bytes] = []
    size = 0

    async def read() -> None:
        nonlocal size
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            pieces.append(piece)

    try:
        await asyncio.wait_for(read(), limits.body_seconds)
    except asyncio.TimeoutError:
        raise Refused(408, f"body must arrive within {limits.body_seconds:g} seconds", close=True) from None
    except ClientDisconnect:
        raise Refused(499, "the client left", error_type="incomplete") from None
    return b"".join(pieces)


def _too_large(most: int) -> Refused:
    return Refused(413, f"body must be at most {most:,} bytes", close=True)


def _hostname(host: str) -> str | None:
    parts = _split(f"//{host}")
    try:
        return None if parts is None else parts.hostname
    except ValueError:
        return None


def _split(address: str) -> SplitResult | None:
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
