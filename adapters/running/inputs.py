"""What a caller may pass as input, and how it becomes items: strings, dicts, lists, columns, generators, datasets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .exceptions import InputTypeError, MissingFieldError
from .task import Call

TEXT_FIELDS = ("text", "inputs", "sentence", "sequence", "sequences", "text_inputs", "document", "article")


def read_inputs(inputs: Any = None, **options: Any) -> Call:
    """A call with one argument: one item, a list of them, or any iterable, which streams."""
    if inputs is None:
        raise InputTypeError("inputs must be a string, a list, or an iterable of them; got None")
    return as_call(inputs, options)


def as_call(inputs: Any, options: dict[str, Any]) -> Call:
    if isinstance(inputs, str):
        return Call([inputs], "single", options)
    inputs = as_list(inputs)
    if isinstance(inputs, list | tuple):
        return Call(inputs, "list", options)
    if isinstance(inputs, str | bytes | bytearray | memoryview | Mapping) or not _iterable(inputs):
        return Call([inputs], "single", options)
    return Call(inputs, "stream", options)


def as_list(inputs: Any) -> Any:
    """A column as the list it stands for, a table as the list of its rows, an Arrow scalar as its value; else itself.

    Columns are sequences, pandas and polars series, numpy arrays of strings or objects, and Arrow arrays.
    >>> as_list(np.array(["a", "b"]))
    ['a', 'b']
    """
    if isinstance(inputs, str | list | tuple | dict | bytes | bytearray | memoryview):
        return inputs
    inputs = plain(inputs)
    library = type(inputs).__module__.partition(".")[0]
    if isinstance(inputs, np.ndarray):
        return inputs.tolist() if inputs.dtype.kind in "OSUT" else inputs
    if library == "pyarrow" and hasattr(inputs, "to_pylist"):
        return inputs.to_pylist()
    if library in ("pandas", "polars"):
        if hasattr(inputs, "to_dicts"):  # a frame of polars
            return inputs.to_dicts()
        return inputs.to_dict("records") if hasattr(inputs, "iterrows") else inputs.to_list()
    if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes | tuple | list):
        return list(inputs)
    return inputs


def plain(value: Any) -> Any:
    """An Arrow scalar as its value; anything else as it is."""
    return value.as_py() if hasattr(value, "as_py") else value


def _iterable(inputs: Any) -> bool:
    if isinstance(inputs, Iterable):
        return True
    # A map-style dataset has a length and items, and need not define __iter__.
    return hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")


def as_text(item: Any, fields: Sequence[str] = TEXT_FIELDS, *, allow_empty: bool = False) -> str:
    """The text of an item: itself, or the first of ``fields`` that a dict has."""
    if not isinstance(item, str):
        item = plain(item)
        if isinstance(item, Mapping):
            found = next((name for name in fields if name in item), None)
            if found is None:
                wanted = " or ".join(map(repr, fields[:2]))
                raise MissingFieldError(f"item must have a field {wanted}; got {_keys(item)}")
            item = item[found]
    return non_empty_text("text", item, allow_empty=allow_empty)


def non_empty_text(name: str, value: Any, *, allow_empty: bool = False) -> str:
    """``value``, which must be a non-empty string."""
    value = value if isinstance(value, str) else plain(value)
    if not isinstance(value, str):
        raise InputTypeError(f"{name} must be a string; got {type(value).__name__}")
    if not value and not allow_empty:
        raise ValueError(f"{name} must not be empty; got ''")
    return value


def field_of(item: Mapping[str, Any], name: str) -> Any:
    """A field that an item must have."""
    if name not in item:
        raise MissingFieldError(f"item must have a field {name!r}; got {_keys(item)}")
    return item[name]


def _keys(item: Mapping[str, Any]) -> str:
    return "fields " + ", ".join(repr(key) for key in item) if item else "an empty dict"
