"""Columns carried from one table to another keep their type, although shards hold them as JSON.

Times, decimals and bytes stand in a shard as text (``rows.plain``); whole numbers and floats lose their width there.
What is written into a table at the end is turned back; nested columns, and a column whose name an answer also has, are
typed by their values like any other.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import time
from typing import Any

from .entries import OWN_NAMES


def carried_types(schema: Any, keep: tuple[str, ...] | None) -> dict[str, Any]:
    """pyarrow's types of the columns that --keep carries, by their names in the output.

    schema: of the input, None where it is no table. keep: as ``read_keep`` gives it, None for all columns.
    """
    if schema is None:
        return {}
    found = {}
    for field in schema:
        wanted = keep is None or field.name in keep
        if wanted and field.name != "id" and not _is_nested(field.type):
            found[f"input_{field.name}" if field.name in OWN_NAMES else field.name] = field.type
    return found


def certain(types: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The carried types of an output with these columns, by their names there.

    Where an answer has a name too, the carried column is ``input_NAME`` in its rows, and NAME is the answer's.
    """
    renamed = {name for name in types if f"input_{name}" in names}
    found = {f"input_{name}" if name in renamed else name: kind for name, kind in types.items()}
    return {name: kind for name, kind in found.items() if name in names}


def is_text_in_json(type_: Any) -> bool:
    """Whether JSON holds the values of a type in another form: times, decimals and bytes."""
    from pyarrow import types

    return any(
        is_kind(type_)
        for is_kind in (
            types.is_temporal,
            types.is_decimal,
            types.is_binary,
            types.is_large_binary,
            types.is_fixed_size_binary,
        )
    )


def from_json(values: Sequence[Any], type_: Any) -> Any:
    """The array of a type for which ``is_text_in_json`` holds, from its values as JSON has them.

    Raises pyarrow's errors or ValueError where a value is not what ``rows.plain`` writes for that type.
    """
    from pyarrow import types

    if types.is_duration(type_):  # seconds
        return _array(_each(values, lambda value: round(value * 1_000_000)), "int64", "duration[us]", type_)
    if types.is_timestamp(type_) and type_.unit != "ns":  # ISO texts have six decimals or none
        import pyarrow

        return _array(values, "string", pyarrow.timestamp("us", type_.tz), type_)
    if types.is_time(type_):
        return _array(_each(values, time.fromisoformat), "time64[us]", type_)
    if types.is_temporal(type_) or types.is_decimal(type_):
        return _array(values, "string", type_)
    return _array(_each(values, lambda value: base64.b64decode(value, validate=True)), type_)


def _each(values: Sequence[Any], read: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else read(value) for value in values]


def _array(values: Sequence[Any], first: Any, *casts: Any) -> Any:
    """An array of a type, cast to others in turn; a cast that would lose something raises."""
    import pyarrow

    array = pyarrow.array(values, first)
    for type_ in casts:
        array = array.cast(type_)
    return array


def _is_nested(type_: Any) -> bool:
    from pyarrow import types

    return bool(types.is_nested(type_) or types.is_dictionary(type_) or types.is_null(type_))
