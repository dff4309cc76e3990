"""Rows as columns of pyarrow: types found in a first pass over all of them, written in a second.

A column whose values have no common type (ids that are numbers here and texts there) holds them as JSON; one that was
carried from a table has the type it had there (``carried_types``).
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .carried_types import certain, from_json, is_text_in_json
from .rows import encode_row
from .tables import needs_pyarrow
from .work_folder import fsync_folder
from .writing import Rows, chunks

AS_JSON = "json"  # in place of a type: the values have none in common


def write_table(kind: str, place: Path, rows: Rows, carried: Mapping[str, Any] | None = None) -> None:
    """Write rows as "parquet", "arrow" (a file) or "dataset" (a folder that ``datasets.load_from_disk`` opens).

    carried: the types that columns had in the table they come from, by name.
    """
    pyarrow = needs_pyarrow(kind)
    types = find_types(rows, carried or {})
    schema = pyarrow.schema([(name, pyarrow.string() if found == AS_JSON else found) for name, found in types.items()])
    batches = (_batch(chunk, types, schema) for chunk in chunks(rows()))
    if kind == "parquet":
        from pyarrow import parquet

        with parquet.ParquetWriter(place, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
    elif kind == "arrow":
        with pyarrow.ipc.new_file(os.fspath(place), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    else:
        _write_data_set(place, schema, batches)


def find_types(rows: Rows, carried: Mapping[str, Any]) -> dict[str, Any]:
    """The type of every column, by name: pyarrow's, or AS_JSON."""
    types = _found_types(rows)
    return {**types, **_holding(rows, certain(carried, list(types)))}


def _holding(rows: Rows, types: Mapping[str, Any]) -> dict[str, Any]:
    """The types that take every value of their column as it is, found in one pass over the rows."""
    import pyarrow

    held = dict(types)
    for chunk in chunks(rows()) if held else ():
        for name, type_ in list(held.items()):
            try:
                _of_type([row.get(name) for row in chunk], type_)
            except (pyarrow.ArrowException, ValueError, TypeError, OverflowError):
                del held[name]
    return held


def _of_type(values: Sequence[Any], type_: Any) -> Any:
    import pyarrow

    return from_json(values, type_) if is_text_in_json(type_) else pyarrow.array(values, type_)


def _found_types(rows: Rows) -> dict[str, Any]:
    """The types that the values themselves have, as JSON tells them."""
    pyarrow = needs_pyarrow("a table")
    found: dict[str, Any] = {"id": pyarrow.null(), "error": pyarrow.string()}
    for chunk in chunks(rows()):
        names = dict.fromkeys(name for row in chunk for name in row)
        for name in names:
            found[name] = _common(found.get(name), [row.get(name) for row in chunk])
    if found["id"] == pyarrow.null():
        found["id"] = pyarrow.int64()
    error = found.pop("error")
    return {**{name: AS_JSON if _is_void(kind) else kind for name, kind in found.items()}, "error": error}


def _common(before: Any, values: Sequence[Any]) -> Any:
    """The type of a column that so far had the type ``before``, with these values too."""
    import pyarrow

    if before == AS_JSON:
        return AS_JSON
    try:
        type_ = _array(values, None).type
        if before is None or before == pyarrow.null() or before == type_:
            return type_
        fields = [pyarrow.schema([("", each)]) for each in (before, type_)]
        return pyarrow.unify_schemas(fields, promote_options="permissive").field(0).type
    except (pyarrow.ArrowException, OverflowError, UnicodeError):
        return AS_JSON


def _is_void(type_: Any) -> bool:
    """Whether a type is or holds a record without fields, which Parquet cannot store."""
    import pyarrow

    if type_ == AS_JSON:
        return False
    if pyarrow.types.is_struct(type_):
        return type_.num_fields == 0 or any(_is_void(type_.field(i).type) for i in range(type_.num_fields))
    return bool(pyarrow.types.is_list(type_)) and _is_void(type_.value_type)


def _batch(chunk: Sequence[Mapping[str, Any]], types: Mapping[str, Any], schema: Any) -> Any:
    """A chunk of rows as a record batch: a column in its type, or as JSON where its values have none in common."""
    import pyarrow

    columns = []
    for name, found in types.items():
        values = [row.get(name) for row in chunk]
        if found == AS_JSON:
            columns.append(pyarrow.array([_as_json(value) for value in values], pyarrow.string()))
        else:
            columns.append(_array(values, found))
    return pyarrow.record_batch(columns, schema=schema)


def _array(values: Sequence[Any], type_: Any) -> Any:
    """A column's values, in ``type_`` if given; what does not fit exactly is rounded, what is no UTF-8 escaped."""
    import pyarrow

    try:
        return pyarrow.array(values, type_) if type_ is None else _of_type(values, type_)
    except UnicodeEncodeError:  # lone surrogates, which UTF-8 does not have
        return pyarrow.array([_encodable(value) for value in values], type_)
    except pyarrow.ArrowInvalid:
        if type_ is None:
            raise
        return pyarrow.array([_rounded(value) for value in values], type_)


def column_of(values: Sequence[Any], type_: Any = None) -> Any:
    """Values as an array of Arrow: of one type where they have one in common, else as JSON texts."""
    import pyarrow

    if type_ is None:
        values = [
            value if value is None or isinstance(value, str) else json.loads(encode_row(value)) for value in values
        ]
        type_ = _common(None, values)
    if type_ == AS_JSON or _is_void(type_):
        return pyarrow.array([_as_json(value) for value in values], pyarrow.string())
    return _array(values, type_)


def _rounded(value: Any) -> Any:
    """Whole numbers as floats, for columns that hold both: beyond 2^53 pyarrow does not round by itself."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 1 << 53:
        return float(value)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _as_json(value: Any) -> str | None:
    if value is None:
        return None
    return _encodable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))  # type: ignore[no-any-return]


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list) else value


def _write_data_set(folder: Path, schema: Any, batches: Any) -> None:
    """One file of batches as a stream, and the two files that say so."""
    import pyarrow

    name = "data-00000-of-00001.arrow"
    os.makedirs(folder, exist_ok=True)
    with pyarrow.ipc.new_stream(os.fspath(folder / name), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    state: dict[str, Any] = {
        "_data_files": [{"filename": name}],
        "_fingerprint": "afterlogits",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    for file, content in (("state.json", state), ("dataset_info.json", {"citation": "", "description": ""})):
        (folder / file).write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
    for file in os.listdir(folder):
        with open(folder / file, "rb") as written:
            os.fsync(written.fileno())
    fsync_folder(folder)
