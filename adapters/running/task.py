"""What a task is made of: a handful of functions, the items it prepares, and one call's input."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .batching import TEXT_WINDOWS, Batch, Row, WindowSizes, characters
from .columns import Columns, of_records
from .loaded import Loaded
from .reading import Reading


@dataclass(frozen=True)
class Prepared:
    """An item as rows of model input. ``facts`` is whatever the task needs to build the answer."""

    rows: Sequence[Row]
    facts: Any = None


@dataclass(frozen=True)
class Task:
    """What distinguishes one task from another; see ``tasks.TASKS`` for the table.

    ``read`` turns a call's arguments into an iterable of items (or one item); ``parse`` checks one item;
    ``encode`` turns a window of parsed items into rows at once; ``forward`` runs one batch and reduces it to an output
    per row, and yields the tensors that it needs on the host (reading.py); ``finish`` builds the records of a
    window from those outputs, ``columns`` its columns (from the records where it is None: answers that are texts).
    ``check`` completes the options; ``shape`` gives a whole call's result transformers' nesting. ``in_order``:
    batches must be consecutive items, one by one unless a batch size is given. ``equal_lengths``: only rows of one
    length may share a batch. ``earlier`` gives options by the names of version 4 today's; ``swallowed`` are those
    that transformers makes nothing of. ``side_by_side``: several threads may call ``forward`` at once. ``shortening``
    is what a caller
    can do about a text that is too long.

    ``needs`` and ``may_use`` name the processors to load (parts.py). ``unit`` is what ``Row.length`` counts and a batch
    has a budget of (``loading.BATCH_BUDGETS``). Lists of token ids are padded; tensors are stacked, so that rows share
    a batch only where all their shapes agree, unless ``collate`` says how to make one batch of the rows of one
    ``Row.group``. ``window_sizes`` and ``weigh``, how much of ``batching.WINDOW_WEIGHT`` an item takes, bound what is
    read ahead.
    """

    name: str
    auto_classes: tuple[str, ...]
    options: type[Any]
    read: Callable[..., "Call"]
    parse: Callable[[Loaded, Any, Any], Any]
    encode: Callable[[Loaded, Sequence[Any], Any], Sequence[Prepared]]
    forward: Callable[[Loaded, Batch, Any], Sequence[Any] | Reading]
    finish: Callable[[Loaded, Sequence[Prepared], Sequence[Sequence[Any]], Any], Sequence[Any]]
    columns: Callable[[Loaded, Sequence[Prepared], Sequence[Sequence[Any]], Any], Columns] | None = None
    aliases: tuple[str, ...] = ()
    forwarded: Callable[[], frozenset[str]] = field(default=frozenset)
    shape: Callable[[Any, "Call"], Any] = field(default=lambda results, call: results)
    check: Callable[[Loaded, Any], Any] = field(default=lambda loaded, options: options)
    in_order: Callable[[Loaded, Any], bool] = field(default=lambda loaded, options: False)
    equal_lengths: Callable[[Loaded, Any], bool] = field(default=lambda loaded, options: False)
    pad_left: bool = False
    joined: Callable[[Loaded, Sequence[tuple[int, Row]], Any], "Sequence[Any] | None"] | None = None
    needs: tuple[str, ...] = ("tokenizer",)
    may_use: tuple[str, ...] = ()
    unit: str = "tokens"
    collate: Callable[[Loaded, Sequence[Row]], dict[str, Any]] | None = None
    window_sizes: WindowSizes = TEXT_WINDOWS
    weigh: Callable[[Any], int] = characters
    earlier: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda options: options)
    swallowed: frozenset[str] = frozenset()
    side_by_side: bool = False
    shortening: str = "truncation=True cuts it"

    def block(self, *finishing: Any) -> list[Columns]:
        """The columns of consecutive items, in a list of one; the arguments are those of ``finish``."""
        return [of_records(self.finish(*finishing)) if self.columns is None else self.columns(*finishing)]


@dataclass(frozen=True)
class Call:
    """One call's input: ``items`` is a list (``kind`` "list"), another iterable ("stream") or holds one ("single")."""

    items: Iterable[Any]
    kind: str
    options: dict[str, Any]
