"""What one call of ``generate`` asks for beyond the library's own arguments, carried to the loop that serves it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["DRAWS", "ENDS", "Request", "current_request", "requested", "split_request"]


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
        return bool(self.asked)

    @property
    def asked(self) -> list[str]:
        """The names of the options that have a value per row."""
        others = {name: getattr(self, name) for name in ("seeds", "max_new_tokens", "eos_token_id")}
        return [*self.rows, *(name for name, value in others.items() if value is not None)]

    def refuse(self, names: Iterable[str], mode: str, why: str) -> None:
        """Raise ValueError if one of ``names`` is asked for: ``mode`` has no use for it."""
        unusable = [name for name in self.asked if name in names]
        if unusable:
            raise ValueError(f"{unusable[0]} must not be given per row for {mode}: {why}")


_PENDING: ContextVar[Request | None] = ContextVar("afterlogits_request", default=None)


def current_request() -> Request:
    """The request of the call in progress. It is handed out once: calls nested in this one start without it."""
    request = _PENDING.get()
    _PENDING.set(None)
    return request or Request()


@contextmanager
def requested(request: Request) -> Iterator[None]:
    """Make ``request`` the one that the next loop of this thread takes."""
    token = _PENDING.set(request)
    try:
        yield
    finally:
        _PENDING.reset(token)


# Per-row options, and what the library is told instead so that it adds no stage of its own for them.
ROW_OPTIONS: dict[str, Any] = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_h": None,
}


ENDS = ("max_new_tokens", "eos_token_id")
DRAWS = (*ROW_OPTIONS, "seeds")


def split_request(seeds: Any, compact: bool, kwargs: dict[str, Any]) -> tuple[Request, dict[str, Any]]:
    """Take the per-row options out of the arguments for the library."""
    kwargs = dict(kwargs)
    rows: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    for name, off in ROW_OPTIONS.items():
        if _is_per_row(kwargs.get(name)):
            rows[name] = kwargs.pop(name)
            kwargs[name] = off
    if _is_per_row(kwargs.get("max_new_tokens")):
        limits = kwargs["max_new_tokens"]
        ends["max_new_tokens"] = [int(limit) for limit in limits]
        kwargs["max_new_tokens"] = max(ends["max_new_tokens"])
    eos = kwargs.get("eos_token_id")
    if isinstance(eos, Tensor) and eos.ndim == 2:
        eos = eos.tolist()
    if isinstance(eos, (list, tuple)) and any(isinstance(row, (list, tuple)) for row in eos):
        ends["eos_token_id"] = [[row] if isinstance(row, int) else [int(one) for one in row] for row in eos]
        kwargs["eos_token_id"] = list(dict.fromkeys(one for row in ends["eos_token_id"] for one in row))
    return Request(seeds=seeds, compact=compact, rows=rows, **ends), kwargs


def _is_per_row(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.ndim > 0)
