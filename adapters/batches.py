"""A task as a class of batches: Arrow, pandas or a dict of columns in, the same with the answers out.

One class for every framework that maps over batches: ``datasets.map(batched=True)``, Ray Data, Spark, Daft, Beam.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .jobs.rows import encode_row
from .running.extras import need
from .running.failures import Failure
from .running.item_seeds import ItemSeeds

RESULT, ERROR = "result", "error"


class TaskOnBatches:
    """Call it with a batch; every row gets a ``result``, or an ``error`` that says why it has none.

    task, model and further keyword arguments are those of ``pipeline``. columns: which column holds a field of the
    task's items, by field; without it items are the rows themselves, whose columns have the names that the task knows.
    parameters: a column with options of a row's own (a dict, or one as JSON): rows of equal parameters are answered
    together. seed: draws of a row depend on it and on the row's number in column ``number``.
    as_json: the results as JSON texts, one type whatever they hold.

    A batch is a ``pyarrow.Table`` or ``RecordBatch``, a ``pandas.DataFrame``, or a dict of lists or arrays; what is
    returned is of the same kind (an Arrow table for both of Arrow's) and has all columns of the batch. In Arrow, where
    the rows of a batch have one answer or several by parameters of their own, every result is a list.

    >>> answer = TaskOnBatches("sentiment-analysis")
    >>> answer({"text": ["A wonderful film.", ""]})["error"]
    [None, "text must not be empty; got ''"]
    """

    def __init__(
        self,
        task: str,
        model: Any = None,
        *,
        columns: Mapping[str, str] | None = None,
        parameters: str | None = "parameters",
        seed: int = 0,
        number: str | None = None,
        as_json: bool = False,
        **options: Any,
    ) -> None:
        from .jobs.model import seeds_by_item
        from .pipelines import pipeline

        self._pipe = pipeline(task, model, **options)
        self._columns = dict(columns or {})
        self._parameters = parameters
        self._number, self._seed = number if seeds_by_item(task) else None, seed
        self._as_json = as_json

    def __call__(self, batch: Any) -> Any:
        columns = _columns(batch)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        answers = self._answers(rows)
        errors = [str(answer.error) if isinstance(answer, Failure) else None for answer in answers]
        results = [None if isinstance(answer, Failure) else answer for answer in answers]
        if self._as_json:
            results = [None if result is None else encode_row(result).decode().rstrip("\n") for result in results]
        return _like(batch, {RESULT: results, ERROR: errors})

    def _answers(self, rows: Sequence[dict[str, Any]]) -> list[Any]:
        """One answer or Failure a row; rows with parameters of their own in groups of equal ones."""
        groups: dict[str, list[int]] = {}
        given: dict[str, Mapping[str, Any]] = {}
        answers: list[Any] = [None] * len(rows)
        for index, row in enumerate(rows):
            try:
                own = self._own(row)
                key = json.dumps(own, sort_keys=True, default=repr)
            except ValueError as error:
                answers[index] = Failure(error)
                continue
            groups.setdefault(key, []).append(index)
            given[key] = own
        for key, members in groups.items():
            found = self._answer([rows[index] for index in members], given[key])
            for index, answer in zip(members, found, strict=True):
                answers[index] = answer
        return answers

    def _own(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a row; what is null in them is not given, for Arrow fills records up with nulls."""
        own = row.get(self._parameters) if self._parameters else None
        if isinstance(own, str):
            own = json.loads(own) if own.strip() else None
        if own is not None and not isinstance(own, Mapping):
            raise ValueError(f"{self._parameters} must be a record; got {type(own).__name__}")
        return {name: value for name, value in (own or {}).items() if value is not None}

    def _answer(self, rows: Sequence[dict[str, Any]], own: Mapping[str, Any]) -> list[Any]:
        options = dict(own)
        if self._number is not None:
            options.setdefault("seeds", ItemSeeds(self._seed, [row[self._number] for row in rows]))
        try:
            windows = self._pipe.windows([self._item(row) for row in rows], lambda item: item)
            return [answer for window in self._pipe.answer_windows(windows, options=options) for answer in window]
        except (TypeError, ValueError) as error:  # a parameter that the task does not take
            return [Failure(error)] * len(rows)

    def _item(self, row: Mapping[str, Any]) -> Any:
        if not self._columns:
            return {name: value for name, value in row.items() if name != self._parameters}
        missing = next((column for column in self._columns.values() if column not in row), None)
        if missing is not None:
            return Failure(ValueError(f"item must have a column {missing!r}; got {', '.join(map(repr, row))}"))
        return {field: row[column] for field, column in self._columns.items()}


def _columns(batch: Any) -> dict[str, Any]:
    """Every column as a list of Python's own values."""
    if hasattr(batch, "to_pydict"):  # Arrow
        return dict(batch.to_pydict())
    if hasattr(batch, "to_dict"):  # pandas
        return {str(name): batch[name].tolist() for name in batch.columns}
    if not isinstance(batch, Mapping):
        raise TypeError(f"batch must be a table, a data frame or a dict of columns; got {type(batch).__name__}")
    return {name: values.tolist() if hasattr(values, "tolist") else list(values) for name, values in batch.items()}


def _like(batch: Any, added: Mapping[str, list[Any]]) -> Any:
    """The batch with further columns; those of its own that have their names are replaced."""
    if hasattr(batch, "to_pydict"):
        from .jobs.table_writing import column_of

        pyarrow = need("pyarrow", "jobs", "a batch of Arrow")
        table = pyarrow.Table.from_batches([batch]) if isinstance(batch, pyarrow.RecordBatch) else batch
        table = table.drop_columns([name for name in added if name in table.column_names])
        for name, values in added.items():
            table = table.append_column(name, column_of(_alike(values), pyarrow.string() if name == ERROR else None))
        return table
    if hasattr(batch, "to_dict"):
        return batch.assign(**{name: _objects(values, batch.index) for name, values in added.items()})
    return {**batch, **added}


def _alike(values: list[Any]) -> list[Any]:
    """Answers for a column of one type: where some rows have several, by parameters of their own, all are lists."""
    if any(isinstance(value, list) for value in values) and any(isinstance(value, Mapping) for value in values):
        return [[value] if isinstance(value, Mapping) else value for value in values]
    return values


def _objects(values: Sequence[Any], index: Any) -> Any:
    """A column of pandas that holds lists, records and None as they are."""
    import numpy as np
    import pandas

    held = np.empty(len(values), dtype=object)
    held[:] = list(values)
    return pandas.Series(held, index=index, dtype=object)
