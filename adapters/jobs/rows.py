"""Answers as rows of the output, and rows as lines of JSON that every reader of JSON takes."""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

from ..running.failures import Failure
from .entries import Entry

Row = dict[str, Any]


def rows_of(entry: Entry, answer: Any, noun: str, *, flat: bool = False) -> list[Row]:
    """The rows of one item: id, carried columns, and its result or error; with ``flat`` a row an answer."""
    head = {"id": entry.name, **entry.kept}
    if isinstance(answer, Failure):
        return [{**head, "error": f"{noun} {entry.number}: {answer.error}"}]
    if not flat:
        return [{**head, "result": answer}]
    return [_joined(head, each) for each in _answers(answer)]


def _answers(answer: Any) -> Iterator[Row]:
    """The answers of an item, one by one: of lists of lists each, of labels with their scores a label each."""
    if isinstance(answer, Mapping):
        labels, scores = answer.get("labels"), answer.get("scores")
        if isinstance(labels, list) and isinstance(scores, list) and len(labels) == len(scores):
            rest = {name: value for name, value in answer.items() if name not in ("labels", "scores")}
            yield from ({**rest, "label": label, "score": score} for label, score in zip(labels, scores, strict=True))
        else:
            yield dict(answer)
    elif isinstance(answer, list) and all(isinstance(each, Mapping | list) for each in answer) and not _numbers(answer):
        for each in answer:
            yield from _answers(each)
    else:
        yield {"result": answer}


def _numbers(answer: Sequence[Any]) -> bool:
    """Whether nested lists hold numbers: a vector or a matrix is one answer."""
    while isinstance(answer, list) and answer:
        answer = answer[0]
    return isinstance(answer, int | float)


def _joined(head: Row, answer: Row) -> Row:
    """A carried column that has a name of the answer becomes input_NAME."""
    return {**{f"input_{name}" if name in answer and name != "id" else name: head[name] for name in head}, **answer}


def encode_row(row: Any) -> bytes:
    """A row as one line of JSON in UTF-8. NaN and the infinities become null, lone surrogates stay as their escapes.

    >>> encode_row({"id": float("nan"), "result": "ü"}).decode()
    '{"id": null, "result": "ü"}\\n'
    """
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=plain)
    except ValueError:
        text = json.dumps(_finite(row), ensure_ascii=False, allow_nan=False, default=plain)
    try:
        return (text + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(json.loads(text)) + "\n").encode()


def plain(value: Any) -> Any:
    """What JSON has no word for: tensors and arrays as lists, pictures and bytes as base64, times as text."""
    if hasattr(value, "tolist"):  # of torch and numpy
        return _finite(value.tolist())
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "save") and hasattr(value, "getpixel"):
        held = BytesIO()
        value.save(held, format="PNG")
        return base64.b64encode(held.getvalue()).decode()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | tuple | frozenset):
        return list(value)
    raise TypeError(f"result must be made of JSON's types; got {type(value).__name__}")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return value
