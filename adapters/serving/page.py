"""The page at ``/``: one file of the package, and the policy that lets a browser run nothing else."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def page() -> tuple[bytes, str]:
    """The page, and its Content-Security-Policy: its own script and style by their digests, requests to the server it
    came from, pictures and sounds that it made itself, nothing from elsewhere."""
    content = files(__package__).joinpath("page.html").read_bytes()
    digests = {kind.decode(): _digest(inner) for kind, inner in _INLINE.findall(content)}
    policy = (
        f"default-src 'none'; script-src {digests['script']}; style-src {digests['style']}; img-src data: blob:; "
        "media-src data: blob:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    return content, policy


def _digest(content: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
