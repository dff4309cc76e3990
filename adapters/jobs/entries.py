"""Records of an input as entries: the item to answer, its id, and the columns to carry along."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..running.failures import Failure
from .errors import UsageError
from .source import Record

OWN_NAMES = ("id", "result", "error")  # of the output; a carried column of that name becomes input_NAME


@dataclass(frozen=True)
class Entry:
    """One item of a job. number: its place, from 1; digest: of what it was read from."""

    number: int
    item: Any
    name: Any
    digest: bytes
    kept: Mapping[str, Any] = field(default_factory=dict)


def read_columns(text: str) -> dict[str, str]:
    """``question=q,context=doc`` as a dict.

    >>> read_columns("question=q,context=doc")
    {'question': 'q', 'context': 'doc'}
    """
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    wrong = next((name for name, sign, column in pairs if not (name.strip() and sign and column.strip())), None)
    if wrong is not None:
        raise UsageError(f"--columns must be field=column,...; got {text!r}")
    return {name.strip(): column.strip() for name, _, column in pairs}


def read_keep(text: str) -> tuple[str, ...] | None:
    """Names with commas between them; None for "all".

    >>> read_keep("id, url"), read_keep("all"), read_keep("")
    (('id', 'url'), None, ())
    """
    return None if text.strip() == "all" else tuple(name.strip() for name in text.split(",") if name.strip())


def check_columns(
    columns: list[str] | None, mapping: Mapping[str, str], keep: tuple[str, ...] | None, source: str
) -> None:
    """Refuse names that a table does not have."""
    if columns is None:
        return
    for name in [*mapping.values(), *(keep or ())]:
        if name not in columns and name != "id":
            raise UsageError(f"{source} has no column {name!r}; it has {', '.join(map(repr, columns))}")


def entries(
    records: Iterable[Record],
    mapping: Mapping[str, str],
    keep: tuple[str, ...] | None,
    wrap: Callable[[Any], Any] | None = None,
    numbers: Iterable[int] | None = None,
) -> Iterator[Entry]:
    """Number the records, map their columns, take id and kept columns out.

    ``wrap``: what the item is made of last. ``numbers``: theirs, where they do not count from 1.
    """
    for number, (value, digest) in zip(count(1) if numbers is None else numbers, records, strict=False):
        if not isinstance(value, dict):
            yield Entry(number, value, number, digest)
            continue
        kept = _kept(value, keep)
        item, name = _mapped(value, mapping), number
        if isinstance(item, dict):
            name = item.pop("id", number)
            item = wrap(item) if wrap is not None else item
        yield Entry(number, item, name, digest, kept)


def _mapped(value: dict[str, Any], mapping: Mapping[str, str]) -> Any:
    """The fields under the names that the task knows, or a Failure that names the column that is missing."""
    missing = next((column for column in mapping.values() if column not in value), None)
    if missing is not None:
        return Failure(ValueError(f"item must have a column {missing!r}; got {', '.join(map(repr, value)) or 'none'}"))
    taken = set(mapping.values())
    fields = {name: column for name, column in value.items() if name not in taken}
    return {**fields, **{name: value[column] for name, column in mapping.items()}}


def _kept(value: Mapping[str, Any], keep: tuple[str, ...] | None) -> dict[str, Any]:
    names = value if keep is None else keep
    return {f"input_{name}" if name in OWN_NAMES else name: value.get(name) for name in names if name != "id"}
