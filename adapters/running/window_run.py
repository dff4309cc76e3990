"""One window of prepared items: its batches launched and read in turn, its answers in the order of the items."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

from .batching import Row
from .explaining import explain_forward
from .failures import Failure, attempt, each, halved
from .loaded import Loaded
from .passes import forward, group_of, launch, planned
from .reading import InFlight, outputs_of
from .side_by_side import SideBySide
from .task import Prepared, Task


class WindowRun:
    """A window's rows in batches through the model, a batch launched before the one ahead of it is read."""

    def __init__(
        self,
        task: Task,
        loaded: Loaded,
        prepared: Sequence[Prepared | Failure],
        options: Any,
        start: int,
        threads: SideBySide | None = None,
    ) -> None:
        """start: the number of the window's first item. threads: of the call, where it may run batches side by side."""
        self.prepared = prepared
        self._task, self._loaded, self._options, self._threads = task, loaded, options, threads
        owned = [(index, row) for index, item in enumerate(prepared) if isinstance(item, Prepared) for row in item.rows]
        self._owners = [index for index, _ in owned]
        self._rows = [(start + index, row) for index, row in owned]
        if task.unit == "pixels" and len(owned) > 1 and loaded.batch_size != 1:
            self._loaded = replace(loaded, in_company=True)  # large pictures have a batch each
        self._outputs: list[Any] = [None] * len(self._rows)
        self._batches: Iterator[list[int]] | None = None
        self._ahead: tuple[list[int], InFlight] | None = None  # the batch whose answers are on their way
        self._beside: list[tuple[list[int], Future[Any]]] = []  # batches that are on threads of their own
        self.flew = False  # whether a batch was launched without being waited for

    def next(self, prepared: Sequence[Prepared | Failure] | None, start: int) -> "WindowRun | None":
        """The window after this one."""
        return (
            None
            if prepared is None
            else WindowRun(self._task, self._loaded, prepared, self._options, start, self._threads)
        )

    def launch(self) -> bool:
        """Launch the next batch, then read the one before it; False where there is none to launch."""
        if self._batches is None:
            self._plan()
        batch = next(self._batches or iter(()), None)
        if batch is None:
            return False
        self._await_threads()
        started = attempt(self._launching(batch))
        self.settle()
        if isinstance(started, InFlight):
            self._ahead, self.flew = (batch, started), True
        else:
            self._note(batch, started)
        return True

    def _plan(self) -> None:
        """Plan the batches, and start those that run side by side."""
        batches = planned(self._task, self._loaded, self._rows, self._options, self._outputs)
        threads, count = self._threads, 0
        if threads is not None and self._loaded.in_company:
            lengths = [row.length for _, row in self._rows]
            batches, count = threads.share(batches, lengths, lambda row: group_of(self._task, self._rows[row][1]))
            for batch in batches[:count]:
                running = threads.submit(partial(attempt, self._launching(batch)))
                self._beside.append((batch, running))
                self.flew = True
        self._batches = iter(batches[count:])

    def _launching(self, batch: list[int]) -> Callable[[], Any]:
        return partial(launch, self._task, self._loaded, self._chosen(batch), self._options)

    def _await_threads(self) -> None:
        """Note the batches that are on threads of their own."""
        beside, self._beside = self._beside, []
        for batch, running in beside:
            self._note(batch, running.result())

    def launch_all(self) -> None:
        """Launch all batches; the last may still be in flight."""
        while self.launch():
            pass

    def settle(self) -> None:
        """Read the batches that are in flight."""
        self._await_threads()
        if self._ahead is not None:
            before, self._ahead = self._ahead, None
            self._note(*before)

    def _chosen(self, batch: list[int]) -> list[tuple[int, Row]]:
        return [self._rows[number] for number in batch]

    def _note(self, batch: list[int], started: Any) -> None:
        """Note a batch's outputs; where it failed those of its halves, down to a Failure of single rows."""
        found = attempt(partial(outputs_of, started))
        if isinstance(found, Failure):
            found = halved(
                found.error,
                self._chosen(batch),
                lambda chunk: forward(self._task, self._loaded, chunk, self._options),
                lambda error, row: explain_forward(error, row[1], self._loaded, self._task.shortening),
            )
        for number, output in zip(batch, found, strict=True):
            self._outputs[number] = output

    def answers(self, columns: bool) -> list[Any]:
        """A record (or Failure) an item, or the columns of the items between two Failures."""
        self.launch_all()
        self.settle()
        results: list[Any] = list(self.prepared)
        by_owner: dict[int, list[Any]] = {index: [] for index, item in enumerate(results) if isinstance(item, Prepared)}
        for index, output in zip(self._owners, self._outputs, strict=True):
            by_owner[index].append(output)
        for index, own in by_owner.items():
            failed = next((output for output in own if isinstance(output, Failure)), None)
            if failed is not None:
                results[index] = failed

        def build(chosen: Iterable[int], work: Callable[..., Sequence[Any]]) -> list[Any]:
            return each(
                [(results[index], by_owner[index]) for index in chosen],
                lambda chunk: work(
                    self._loaded, [item for item, _ in chunk], [outs for _, outs in chunk], self._options
                ),
            )

        if columns:
            found: list[Any] = []
            for bad, run in groupby(range(len(results)), key=lambda index: isinstance(results[index], Failure)):
                chosen = list(run)
                found += [results[index] for index in chosen] if bad else build(chosen, self._task.block)
            return found
        whole = [index for index in by_owner if not isinstance(results[index], Failure)]
        for index, record in zip(whole, build(whole, self._task.finish), strict=True):
            results[index] = record
        return results
