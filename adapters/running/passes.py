"""Rows of prepared items in batches through a model and a task's kernel."""

from collections.abc import Sequence
from typing import Any

import torch

from .batching import Row, collate, plan_batches, shapes
from .failures import Failure
from .loaded import Loaded
from .reading import InFlight, begun, outputs_of
from .task import Task


def planned(
    task: Task, loaded: Loaded, rows: Sequence[tuple[int, Row]], options: Any, outputs: list[Any]
) -> list[list[int]]:
    """The batches to run. ``outputs`` is written to where a loop of the task's own has answered rows already."""
    joined = None if task.joined is None or len(rows) < 2 else task.joined(loaded, rows, options)
    if joined is not None:
        outputs[:] = joined
        return [[number] for number, output in enumerate(outputs) if isinstance(output, Failure)]
    if task.in_order(loaded, options):
        size = loaded.batch_size or 1
        return [list(range(first, min(first + size, len(rows)))) for first in range(0, len(rows), size)]
    return plan_batches(
        [row.length for _, row in rows],
        batch_tokens=loaded.batch_tokens,
        batch_size=1 if loaded.batch_size is None and loaded.row_by_row else loaded.batch_size,
        may_pad=not rows or (may_pad(task, loaded, rows[0][1]) and not task.equal_lengths(loaded, options)),
        groups=None if task.unit == "tokens" else [group_of(task, row) for _, row in rows],
    )


def launch(task: Task, loaded: Loaded, rows: Sequence[tuple[int, Row]], options: Any) -> Sequence[Any] | InFlight:
    """One batch through the model and the task's kernel, up to where a device has to be waited for.

    rows: each with the number of its item.
    """
    own = [row for _, row in rows]
    with torch.no_grad():
        batch = collate(
            own,
            pad_values=pad_values(loaded, own),
            device=loaded.device,
            left=task.pad_left,
            items=[item for item, _ in rows],
            dtype=None if task.collate is None and not _has_floats(own[0]) else loaded.dtype,
            joined=None if task.collate is None else task.collate(loaded, own),
        )
        return begun(task.forward(loaded, batch, options))


def forward(task: Task, loaded: Loaded, rows: Sequence[tuple[int, Row]], options: Any) -> Sequence[Any]:
    """The outputs of one batch."""
    return outputs_of(launch(task, loaded, rows, options))


def _has_floats(row: Row) -> bool:
    return any(isinstance(value, torch.Tensor) and value.is_floating_point() for value in row.inputs.values())


def group_of(task: Task, row: Row) -> Any:
    """What rows must have in common to share a batch: their group, and all shapes where nothing pads them."""
    return row.group if task.collate is not None else (row.group, shapes(row))


def may_pad(task: Task, loaded: Loaded, row: Row) -> bool:
    """Whether rows of different lengths may share a batch: there is a pad token, and the model is told of it.

    Rows that are no text are kept apart by their groups instead.
    """
    if task.unit != "tokens":
        return True
    return loaded.tokenizer.pad_token_id is not None and "attention_mask" in row.inputs


def pad_values(loaded: Loaded, rows: Sequence[Row]) -> dict[str, int]:
    """What fills the shorter rows up, as the tokenizer says now; nothing where a row is alone."""
    if loaded.tokenizer is None or len(rows) < 2:
        return {}
    return {"input_ids": loaded.tokenizer.pad_token_id or 0, "token_type_ids": loaded.tokenizer.pad_token_type_id}
