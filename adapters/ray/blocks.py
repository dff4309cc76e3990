"""Blocks of Ray for a job: entries as numbers and JSON texts on the way in, rows of the output on the way out.

One type whatever the values are, so that blocks of any content go together.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from ..jobs.answering import render
from ..jobs.entries import Entry, entries
from ..jobs.errors import one_line
from ..jobs.job import Job, item_of_file
from ..jobs.model import load_pipeline, seeds_by_item
from ..jobs.rows import encode_row
from ..jobs.splits import Split
from ..running.failures import Failure
from ..running.item_seeds import ItemSeeds

NUMBER = "number"  # of the item, from 1: the id that Ray's checkpoints go by


def datasource(splits: list[Split]) -> Any:
    """A data source of Ray with one read task a part, which becomes a block of ``number``, ``record`` and ``error``."""
    from ray.data import Datasource
    from ray.data.block import BlockMetadata
    from ray.data.datasource import ReadTask

    class Splits(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, per_task_row_limit: Any = None, data_context: Any = None) -> Any:
            return [
                ReadTask(
                    partial(blocks_of, split),
                    BlockMetadata(num_rows=split.count, size_bytes=None, input_files=None, exec_stats=None),
                    per_task_row_limit=per_task_row_limit,
                )
                for split in splits
            ]

    return Splits()


def blocks_of(split: Split) -> list[Any]:
    """A part of the input as the blocks of its read task."""
    return [block_of(split)]


def block_of(split: Split) -> Any:
    """A part of the input as a table."""
    import pyarrow

    numbers, records, errors = [], [], []
    for number, (value, _) in enumerate(split.records(), split.first + 1):
        record, error = None, None
        try:
            if isinstance(value, Failure):
                raise value.error
            record = encode_row(value).decode()
        except (ValueError, TypeError, RecursionError) as wrong:
            error = one_line(wrong)
        numbers.append(number)
        records.append(record)
        errors.append(error)
    columns = [pyarrow.array(numbers, pyarrow.int64())]
    columns += [pyarrow.array(values, pyarrow.string()) for values in (records, errors)]
    return pyarrow.table(columns, names=[NUMBER, "record", "error"])


class AnswerBlocks:
    """An actor's class: a block of entries in, their rows out, each item's as one text of JSON lines."""

    def __init__(self, job: Job, noun: str, mapping: dict[str, str], keep: tuple[str, ...] | None) -> None:
        self._job, self._noun, self._mapping, self._keep = job, noun, mapping, keep
        self._pipe = load_pipeline(job)
        self._seeded = seeds_by_item(job.task)

    def __call__(self, block: Any) -> Any:
        import pyarrow

        numbers = block[NUMBER].to_pylist()
        found = list(self._entries(block, numbers))
        options = {"seeds": ItemSeeds(self._job.seed, [number - 1 for number in numbers])} if self._seeded else {}
        windows = self._pipe.windows(iter(found), lambda entry: entry.item)
        answers: Iterator[Any] = (
            answer
            for window in self._pipe.answer_windows(([e.item for e in each] for each in windows), options=options)
            for answer in window
        )
        texts, failed = [], []
        for entry, answer in zip(found, answers, strict=True):
            lines, error = render(entry, answer, self._noun, flat=self._job.flat)
            texts.append(b"".join(lines).decode())
            failed.append(error)
        columns = [block[NUMBER], pyarrow.array(texts, pyarrow.large_string()), pyarrow.array(failed, pyarrow.string())]
        return pyarrow.table(columns, names=[NUMBER, "rows", "error"])

    def _entries(self, block: Any, numbers: list[int]) -> Iterator[Entry]:
        """The entries of a block under their own numbers."""
        records = (
            (Failure(ValueError(error)) if record is None else json.loads(record), b"")
            for record, error in zip(block["record"].to_pylist(), block["error"].to_pylist(), strict=True)
        )
        wrap = item_of_file if self._noun in ("file", "film") else None
        return entries(records, self._mapping, self._keep, wrap, numbers=numbers)
