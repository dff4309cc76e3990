"""What one call of ``generate`` asks for beyond the library's own arguments, carried to the loop that serves it."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Request", "current_request"]


@dataclass(frozen=True)
class Request:
    """Options of this engine alone; ``rows`` holds per-row sampling parameters by name. None or empty: not asked."""

    seeds: Any = None
    compact: bool = False
    rows: dict[str, Any] = field(default_factory=dict)
    max_new_tokens: Any = None
    eos_token_id: Any = None

    @property
    def asks_for_more(self) -> bool:
        """Whether the answer would be different without this engine (``compact`` only makes it faster)."""
        per_row = self.max_new_tokens is not None or self.eos_token_id is not None
        return self.seeds is not None or bool(self.rows) or per_row


PENDING: ContextVar[Request | None] = ContextVar("afterlogits_request", default=None)


def current_request() -> Request:
    """The request of the call in progress. It is handed out once: calls nested in this one start without it."""
    request = PENDING.get()
    PENDING.set(None)
    return request or Request()
