"""Building many small Python objects at once: lists of records without a cyclic collection in between."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

MANY_TUPLES = 1000  # from where on one look at the young objects costs less than what it saves


@contextmanager
def collection_paused() -> Iterator[None]:
    """No cyclic garbage collection inside: records hold no cycles, and passes over them cost a third of the build."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def untrack_young(count: int) -> None:
    """Have the collector look at ``count`` tuples of numbers that were just made: it takes them off its books.

    Records that hold them and plain values are then never on its books: neither the collection that follows the build
    nor any later one walks over them, as long as they live. (Python 3.14 leaves them there, at no harm.)
    """
    if count >= MANY_TUPLES:
        gc.collect(0)


def by_row(records: list[dict[str, Any]], splits: Sequence[int]) -> list[list[dict[str, Any]]]:
    """One list per row. splits: [B + 1], row b is records splits[b] to splits[b + 1]."""
    return [records[a:b] for a, b in pairwise(splits)]
