"""An item that fails costs the others nothing: a chunk that fails is tried again by halves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any


@dataclass(frozen=True)
class Failure:
    """An item that could not be answered, in place of its record. A reader may put one in the stream of items."""

    error: Exception

    def record(self, index: int) -> dict[str, Any]:
        return {"error": str(self.error), "index": index}


def each(
    chunk: Sequence[Any],
    work: Callable[[Sequence[Any]], Sequence[Any]],
    explain: Callable[[Exception, Any], Exception] = lambda error, member: error,
) -> list[Any]:
    """``work`` on the whole chunk, or where that fails on each member alone, with Failures for those that fail.

    explain: what the error of a member means.
    """
    if not chunk:
        return []
    try:
        return list(work(chunk))
    except Exception as error:
        return halved(error, chunk, work, explain)


def halved(
    error: Exception,
    chunk: Sequence[Any],
    work: Callable[[Sequence[Any]], Sequence[Any]],
    explain: Callable[[Exception, Any], Exception],
) -> list[Any]:
    """What a chunk that failed gives: ``work`` on its halves, a Failure for a single member."""
    if len(chunk) == 1:
        return [Failure(explain(error, chunk[0]))]
    half = len(chunk) // 2
    return list(chain(each(chunk[:half], work, explain), each(chunk[half:], work, explain)))


def attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        return Failure(error)
