"""Answers from tables, as the table-question-answering pipeline of transformers 5.23: TAPAS cells, or generated text.

The TAPAS tokenizer works on pandas tables, so pandas must be installed for this task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ....decoding.options.numpy_or_torch import sent
from ....postprocess.text.tables import CellAnswers, select_cells
from ...running.batching import Batch, Row
from ...running.exceptions import InputTypeError
from ...running.inputs import as_call, as_list, field_of, non_empty_text, plain
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading, Reads
from ...running.task import Call, Prepared, Task
from ...running.tokenising import tokenize
from .generating import generate_options, run_generate, with_defaults

SEGMENT, COLUMN, ROW, PREVIOUS = 0, 1, 2, 3  # TAPAS' token types


@dataclass(frozen=True)
class TableOptions:
    sequential: bool = False
    padding: Any = True
    truncation: Any = None
    forwarded: dict[str, Any] = field(default_factory=dict)


def read(table: Any = None, query: Any = None, **options: Any) -> Call:
    """``pipe(table=..., query=...)`` with one query or several, or dicts with both: one, a list, or a stream."""
    require(table is not None, "table must be given; got None")
    if query is not None:
        return Call([{"table": table, "query": query}], "single", options)
    call = as_call(table, options)
    if call.kind == "list" and len(call.items) == 1:  # type: ignore[arg-type]
        return Call(call.items, "single", options)
    return call


def parse(loaded: Loaded, item: Any, options: TableOptions) -> tuple[Any, list[str]]:
    """The table as a DataFrame, and its queries."""
    item = plain(item)
    if not isinstance(item, Mapping):
        raise InputTypeError(f"item must be a dict with table and query; got {type(item).__name__}")
    try:
        import pandas
    except ImportError:
        raise ImportError("table-question-answering needs pandas; install it") from None
    table, query = field_of(item, "table"), field_of(item, "query")
    table = table if isinstance(table, pandas.DataFrame) else pandas.DataFrame(table)
    require(not table.empty, "table must not be empty; got no cells")
    if is_tapas(loaded):  # its tokenizer takes nothing else
        for name, column in table.items():
            other = next((cell for cell in column if not isinstance(cell, str)), None)
            if other is not None:
                raise InputTypeError(f"table must hold strings alone; got {type(other).__name__} in column {name!r}")
    query = as_list(query)
    queries = [query] if isinstance(query, str) else list(query)
    return table, [non_empty_text("query", each) for each in queries]


def is_tapas(loaded: Loaded) -> bool:
    return hasattr(loaded.config, "aggregation_labels")


def encode(loaded: Loaded, items: Sequence[tuple[Any, list[str]]], options: TableOptions) -> list[Prepared]:
    truncation = options.truncation
    if truncation is None:
        truncation = "drop_rows_to_fit" if is_tapas(loaded) else "do_not_truncate"
    prepared = []
    for table, queries in items:
        given = {
            "return_tensors": "pt",
            "truncation": truncation,
            "padding": options.padding is None or options.padding,
        }
        encoded = tokenize(loaded.tokenizer, table, queries, **given)
        tensors = {name: value for name, value in encoded.items() if isinstance(value, torch.Tensor)}
        length = tensors["input_ids"].shape[1]
        if options.sequential and is_tapas(loaded):
            rows = [Row({}, length, None, {"tensors": tensors})]  # one answer enters the next question
        else:
            rows = [
                Row({name: value[number].tolist() for name, value in tensors.items()}, length)
                for number in range(len(queries))
            ]
        prepared.append(Prepared(rows, table))
    return prepared


def forward(loaded: Loaded, batch: Batch, options: TableOptions) -> Reading:
    """Per row, a list of the cells and the aggregation of each of its queries, or the generated text."""
    if not is_tapas(loaded):
        arguments = with_defaults(loaded, options.forwarded, {"max_new_tokens": 256})
        rows = run_generate(loaded, batch, arguments)
        return [[loaded.tokenizer.decode(row["sequences"][0], skip_special_tokens=True)] for row in rows]
    if not batch.inputs:
        answered = []
        for row in batch.rows:
            answered.append((yield from _in_sequence(loaded, row.facts["tensors"])))
        return answered
    found = yield from _select(loaded, batch.inputs, batch.host)
    return [[each] for each in _cells(found, loaded.compat)]


def _select(loaded: Loaded, inputs: Mapping[str, torch.Tensor], host: Mapping[str, torch.Tensor]) -> Reads[CellAnswers]:
    """The answers to a batch, finished on the host, where the inputs lie too."""
    output = loaded.run_tokens(**inputs)
    types = host["token_type_ids"]
    logits, *aggregation = yield [output["logits"], *([output["logits_aggregation"]] if _aggregates(loaded) else [])]
    return select_cells(
        logits,
        host["attention_mask"],
        types[..., SEGMENT],
        types[..., ROW],
        types[..., COLUMN],
        aggregation_logits=aggregation[0] if aggregation else None,
    )


def _aggregates(loaded: Loaded) -> bool:
    config = loaded.config
    return bool(getattr(config, "aggregation_labels", None) and getattr(config, "num_aggregation_labels", None))


def _cells(found: CellAnswers, compat: bool) -> list[tuple[list[tuple[int, int]], int | None]]:
    cells = found.records(compat=compat)
    kinds: list[Any] = [None] * len(cells) if found.aggregation is None else found.aggregation.tolist()
    return list(zip(cells, kinds, strict=False))


def _in_sequence(loaded: Loaded, tensors: Mapping[str, torch.Tensor]) -> Reads[list[Any]]:
    """Queries one after the other: the cells of each answer are marked in the token types of the next question."""
    answers: list[Any] = []
    chosen: set[tuple[int, int]] | None = None
    for number in range(tensors["input_ids"].shape[0]):
        host = {name: value[number : number + 1] for name, value in tensors.items()}
        if chosen is not None:
            types = host["token_type_ids"] = host["token_type_ids"].clone()
            places = zip(*(types[0, :, kind].tolist() for kind in (SEGMENT, ROW, COLUMN)), strict=True)
            marks = [int(segment == 1 and (row - 1, column - 1) in chosen) for segment, row, column in places]
            types[0, :, PREVIOUS] = torch.tensor(marks, device="cpu")
        inputs = {name: sent(value, loaded.device) for name, value in host.items()}
        found = _cells((yield from _select(loaded, inputs, host)), compat=False)[0]
        chosen = set(found[0])
        answers.append(found)
    return answers


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: TableOptions
) -> list[Any]:
    finished: list[Any] = []
    for item, rows in zip(items, outputs, strict=True):
        answers = [_record(loaded, item.facts, answer) for row in rows for answer in row]
        finished.append(answers if len(answers) > 1 else answers[0])
    return finished


def _record(loaded: Loaded, table: Any, answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"answer": answer}
    coordinates, kind = answer
    cells = [table.iat[place] for place in coordinates]
    aggregator = "" if kind is None else loaded.config.aggregation_labels[kind]
    plain = kind is None or kind == loaded.config.no_aggregation_label_index
    answer = ("" if plain else f"{aggregator} > ") + ", ".join(cells)
    record = {"answer": answer, "coordinates": coordinates, "cells": cells}
    return {**record, "aggregator": aggregator} if aggregator else record


TASK = Task(
    name="table-question-answering",
    auto_classes=("AutoModelForTableQuestionAnswering", "AutoModelForSeq2SeqLM"),
    options=TableOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    forwarded=generate_options,
)
