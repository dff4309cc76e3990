"""The one loop of every task: read ahead, encode in the background, run batches sorted by size, keep the order.

A task (``Task``) is a handful of functions; this file calls them and owns errors, batches and the stream.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from inspect import signature
from itertools import chain, groupby
from typing import Any, TypeVar

import torch

from .batching import TEXT_WINDOWS, Batch, Row, WindowSizes, characters, collate, plan_batches, shapes, windows
from .columns import Columns, of_records
from .explaining import explain_encoding, explain_forward
from .onednn_products import LEAST_TOKENS, OneDnnProducts, gains_by_onednn
from .reading import InFlight, Reading, begun, outputs_of

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """A model and its processors, ready to run, and what the tasks need to know of them.

    ``tokenizer``, ``image_processor``, ``feature_extractor``, ``video_processor`` and ``processor`` (several in one):
    those that the task uses (``Task.needs``, ``Task.may_use``); the others are None. ``batch_tokens``: the budget of a
    batch in the unit of the task (``Task.unit``).
    """

    task: str
    model: Any
    tokenizer: Any
    device: torch.device
    compat: bool = True
    batch_tokens: int = 4096
    batch_size: int | None = None
    constructed: Mapping[str, Any] = field(default_factory=dict)  # the options the pipeline was built with
    findings: dict[str, Any] = field(default_factory=dict)  # found out once for this model, shared by its calls
    token_strings: dict[int, str] = field(default_factory=dict)  # as the vocabulary has them, for ids met so far
    token_texts: dict[int, str] = field(default_factory=dict)  # as decode gives them
    image_processor: Any = None
    feature_extractor: Any = None
    video_processor: Any = None
    processor: Any = None
    in_company: bool = False  # whether a row that has a batch to itself comes with others that have not asked for one

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of the model's numbers, which its inputs take; None where the model does not say."""
        found: torch.dtype | None = getattr(self.model, "dtype", None)
        return found

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        found: dict[str, int] = self.tokenizer.get_vocab()
        return found

    def token_text(self, token_id: int) -> str:
        """What one token decodes to."""
        if token_id not in self.token_texts:
            self.token_texts[token_id] = self.tokenizer.decode([token_id])
        return self.token_texts[token_id]

    @property
    def row_by_row(self) -> bool:
        """Whether a row's answer hangs on its neighbours: layers that quantize what goes through them by its range."""
        if "row_by_row" not in self.findings:
            modules = self.model.modules() if hasattr(self.model, "modules") else ()
            self.findings["row_by_row"] = any("quantized.dynamic" in type(each).__module__ for each in modules)
        return bool(self.findings["row_by_row"])

    @property
    def no_cache(self) -> dict[str, bool]:
        """``use_cache=False`` where the model's forward takes it: one pass needs no cache."""
        if "no_cache" not in self.findings:
            takes = "use_cache" in signature(getattr(self.model, "forward", self.model)).parameters
            self.findings["no_cache"] = {"use_cache": False} if takes else {}
        found: dict[str, bool] = self.findings["no_cache"]
        return found

    def run(self, **inputs: Any) -> Any:
        """The model's outputs for a batch, its matrix products by whatever is fastest for them here."""
        sizes = [len(value) for value in inputs.values() if isinstance(value, torch.Tensor) and value.dim()]
        with self.in_pass(min(sizes, default=1)):
            return self.model(**inputs)

    def run_tokens(self, **inputs: Any) -> Any:
        """The same for a batch of texts."""
        with self.in_token_pass(inputs.get("input_ids")):
            return self.model(**inputs)

    def in_token_pass(self, input_ids: Any) -> AbstractContextManager[Any]:
        """What a forward pass of texts runs in. Of few tokens no product is large enough to gain, and looking at each
        call would cost more."""
        few = input_ids is None or input_ids.numel() < LEAST_TOKENS
        return nullcontext() if few else self.in_pass(len(input_ids))

    def in_pass(self, rows: int) -> AbstractContextManager[Any]:
        """What a forward pass of so many rows runs in, for methods of the model that are not its forward.

        A single row is computed as transformers does, to the last bit; see onednn_products.py.
        """
        if "by_onednn" not in self.findings:
            self.findings["by_onednn"] = gains_by_onednn(self.model)
        together = rows > 1 or self.in_company
        return OneDnnProducts() if together and self.findings["by_onednn"] else nullcontext()


@dataclass(frozen=True)
class Prepared:
    """An item as rows of model input. ``facts`` is whatever the task needs to build the answer."""

    rows: Sequence[Row]
    facts: Any = None


@dataclass(frozen=True)
class Task:
    """What distinguishes one task from another; see ``tasks.TASKS`` for the table.

    ``read`` turns a call's arguments into an iterable of items (or one item); ``parse`` checks one item;
    ``encode`` turns a window of parsed items into rows at once; ``forward`` runs one batch and reduces it to an output
    per row, and yields the tensors that it needs on the host (reading.py); ``finish`` builds the records of a
    window from those outputs, ``columns`` its columns (from the records where it is None: answers that are texts).
    ``check`` completes the options; ``shape`` gives a whole call's result transformers' nesting. ``in_order``:
    batches must be consecutive items, one by one unless a batch size is given. ``equal_lengths``: only rows of one
    length may share a batch. ``earlier`` gives options by the names of version 4 today's; ``swallowed`` are those
    that transformers makes nothing of. ``shortening``: what a caller
    can do about a text that is too long.

    ``needs`` and ``may_use`` name the processors to load (parts.py). ``unit`` is what ``Row.length`` counts and a batch
    has a budget of (``loading.BATCH_BUDGETS``). Lists of token ids are padded; tensors are stacked, so that rows share
    a batch only where all their shapes agree, unless ``collate`` says how to make one batch of the rows of one
    ``Row.group``. ``window_sizes`` and ``weigh``, how much of ``batching.WINDOW_WEIGHT`` an item takes, bound what is
    read ahead.
    """

    name: str
    auto_classes: tuple[str, ...]
    options: type[Any]
    read: Callable[..., "Call"]
    parse: Callable[[Loaded, Any, Any], Any]
    encode: Callable[[Loaded, Sequence[Any], Any], Sequence[Prepared]]
    forward: Callable[[Loaded, Batch, Any], Sequence[Any] | Reading]
    finish: Callable[[Loaded, Sequence[Prepared], Sequence[Sequence[Any]], Any], Sequence[Any]]
    columns: Callable[[Loaded, Sequence[Prepared], Sequence[Sequence[Any]], Any], Columns] | None = None
    aliases: tuple[str, ...] = ()
    forwarded: Callable[[], frozenset[str]] = field(default=frozenset)
    shape: Callable[[Any, "Call"], Any] = field(default=lambda results, call: results)
    check: Callable[[Loaded, Any], Any] = field(default=lambda loaded, options: options)
    in_order: Callable[[Loaded, Any], bool] = field(default=lambda loaded, options: False)
    equal_lengths: Callable[[Loaded, Any], bool] = field(default=lambda loaded, options: False)
    pad_left: bool = False
    joined: Callable[["Loaded", Sequence[tuple[int, Row]], Any], "Sequence[Any] | None"] | None = None
    needs: tuple[str, ...] = ("tokenizer",)
    may_use: tuple[str, ...] = ()
    unit: str = "tokens"
    collate: Callable[[Loaded, Sequence[Row]], dict[str, Any]] | None = None
    window_sizes: WindowSizes = TEXT_WINDOWS
    weigh: Callable[[Any], int] = characters
    earlier: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda options: options)
    swallowed: frozenset[str] = frozenset()
    shortening: str = "truncation=True cuts it"

    def block(self, *finishing: Any) -> list[Columns]:
        """The columns of consecutive items, in a list of one; the arguments are those of ``finish``."""
        return [of_records(self.finish(*finishing)) if self.columns is None else self.columns(*finishing)]


@dataclass(frozen=True)
class Call:
    """One call's input: ``items`` is a list (``kind`` "list"), another iterable ("stream") or holds one ("single")."""

    items: Iterable[Any]
    kind: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """An item that could not be answered, in place of its record. A reader may put one in the stream of items."""

    error: Exception

    def record(self, index: int) -> dict[str, Any]:
        return {"error": str(self.error), "index": index}


def answers(
    task: Task,
    loaded: Loaded,
    items: Iterable[Any],
    options: Any,
    *,
    total: int | None = None,
    streamed: bool = True,
    columns: bool = False,
) -> Iterator[Any]:
    """Yield one record (or Failure) an item, in order. Holds two look-ahead windows of items at a time, no more.

    A background thread reads and encodes the next window while this one is in the model. ``total``: how many items
    there are, where that is known. ``streamed``: first results matter, so windows start small.
    With ``columns`` the items between two Failures come as Columns, at most a window of them at once.
    """
    cut = cut_windows(task, loaded, items, options, streamed=streamed)
    for found in answer_windows(task, loaded, cut, options, total=total, columns=columns):
        yield from found


def answer_one(task: Task, loaded: Loaded, item: Any, options: Any) -> Any:
    """The record of one item, or its Failure: the stages of ``answers`` without windows, planner and look-ahead."""
    try:
        parsed = task.parse(loaded, item, options)
    except Exception as error:
        return Failure(error)
    try:
        (prepared,) = task.encode(loaded, [parsed], options)
    except Exception as error:
        return Failure(explain_encoding(error, parsed))
    if len(prepared.rows) != 1:
        return answer_prepared(task, loaded, [prepared], options)[0]
    (row,) = prepared.rows
    try:
        outputs = forward(task, loaded, [(0, row)], options)
    except Exception as error:
        return Failure(explain_forward(error, row, loaded, task.shortening))
    try:
        return task.finish(loaded, [prepared], [outputs], options)[0]
    except Exception as error:
        return Failure(error)


def cut_windows(
    task: Task,
    loaded: Loaded,
    items: Iterable[T],
    options: Any,
    *,
    streamed: bool = True,
    item_of: Callable[[T], Any] | None = None,
) -> Iterator[list[T]]:
    """The look-ahead windows of a stream: a function of the items and of the batch options, of nothing else.

    ``item_of``: the item in each of ``items``, where they hold more than that.
    """
    size = loaded.batch_size if task.in_order(loaded, options) else None
    sizes = task.window_sizes
    weigh = task.weigh if item_of is None else lambda each: task.weigh(item_of(each))
    return windows(items, size, first=sizes.streamed if streamed else sizes.listed, largest=sizes.largest, weigh=weigh)


def answer_windows(
    task: Task,
    loaded: Loaded,
    cut: Iterator[list[Any]],
    options: Any,
    *,
    total: int | None = None,
    columns: bool = False,
    start: int = 0,
) -> Iterator[list[Any]]:
    """What ``answers`` yields, a list for every window. ``start``: the number of the first item.

    Where the first window holds all items there is nothing to look ahead for, and no thread is started. On a device
    the first batch of the next window is launched, where it is encoded by then, before the answers of this one are
    written.
    """
    opening = next(cut, None)
    if opening is None:
        return
    run: _Run | None = _Run(task, loaded, prepare_window(task, loaded, opening, options), options, start)
    if run is not None and len(opening) == total:
        run.launch_all()
        run.settle()
        yield run.answers(columns)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="afterlogits-encode") as worker:
        while run is not None:
            start += len(run.prepared)
            coming: Future[list[Prepared | Failure] | None] = worker.submit(_prepare_next, task, loaded, cut, options)
            follow = partial(_following, run, coming, start)
            try:
                run.launch_all()
                following = follow()
                run.settle()
                following = following or follow()
                yield run.answers(columns)
            except BaseException:  # the consumer has stopped: the next window is not needed
                coming.cancel()
                raise
            run = following or run.next(coming.result(), start)


def _following(run: "_Run", coming: Future[list[Prepared | Failure] | None], start: int) -> "_Run | None":
    """The next window with its first batch launched, where it is encoded and a device would have nothing to do."""
    if not run.flew or not coming.done() or coming.exception() is not None:
        return None
    following = run.next(coming.result(), start)
    if following is not None:
        following.launch()
    return following


def _prepare_next(
    task: Task, loaded: Loaded, cut: Iterator[list[Any]], options: Any
) -> list[Prepared | Failure] | None:
    window = next(cut, None)
    return None if window is None else prepare_window(task, loaded, window, options)


def prepare_window(task: Task, loaded: Loaded, window: Sequence[Any], options: Any) -> list[Prepared | Failure]:
    """Check and encode a window; an item that fails becomes a Failure and costs the others nothing."""
    parsed: list[Any] = [
        item if isinstance(item, Failure) else _attempt(partial(task.parse, loaded, item, options)) for item in window
    ]
    good = [index for index, item in enumerate(parsed) if not isinstance(item, Failure)]
    items = [parsed[index] for index in good]
    encoded = _each(items, lambda chunk: task.encode(loaded, chunk, options), explain_encoding)
    for index, prepared in zip(good, encoded, strict=True):
        parsed[index] = prepared
    return parsed


def answer_prepared(task: Task, loaded: Loaded, prepared: Sequence[Prepared | Failure], options: Any) -> list[Any]:
    """The records of a window that ``prepare_window`` gave, and the Failures of items without one."""
    return _Run(task, loaded, prepared, options, 0).answers(False)


class _Run:
    """A window's rows in batches through the model, a batch launched before the one ahead of it is read."""

    def __init__(
        self, task: Task, loaded: Loaded, prepared: Sequence[Prepared | Failure], options: Any, start: int
    ) -> None:
        """start: the number of the window's first item."""
        self.prepared = prepared
        self._task, self._loaded, self._options = task, loaded, options
        owned = [(index, row) for index, item in enumerate(prepared) if isinstance(item, Prepared) for row in item.rows]
        self._owners = [index for index, _ in owned]
        self._rows = [(start + index, row) for index, row in owned]
        if task.unit == "pixels" and len(owned) > 1 and loaded.batch_size != 1:
            self._loaded = replace(loaded, in_company=True)  # large pictures have a batch each
        self._outputs: list[Any] = [None] * len(self._rows)
        self._batches: Iterator[list[int]] | None = None
        self._ahead: tuple[list[int], InFlight] | None = None  # the batch whose answers are on their way
        self.flew = False  # whether a batch was launched without being waited for

    def next(self, prepared: Sequence[Prepared | Failure] | None, start: int) -> "_Run | None":
        """The window after this one."""
        return None if prepared is None else _Run(self._task, self._loaded, prepared, self._options, start)

    def launch(self) -> bool:
        """Launch the next batch, then read the one before it; False where there is none to launch."""
        if self._batches is None:
            self._batches = iter(_planned(self._task, self._loaded, self._rows, self._options, self._outputs))
        batch = next(self._batches, None)
        if batch is None:
            return False
        started = _attempt(partial(launch, self._task, self._loaded, self._chosen(batch), self._options))
        self.settle()
        if isinstance(started, InFlight):
            self._ahead, self.flew = (batch, started), True
        else:
            self._note(batch, started)
        return True

    def launch_all(self) -> None:
        """Launch all batches; the last may still be in flight."""
        while self.launch():
            pass

    def settle(self) -> None:
        """Read the batch that is in flight."""
        if self._ahead is not None:
            before, self._ahead = self._ahead, None
            self._note(*before)

    def _chosen(self, batch: list[int]) -> list[tuple[int, Row]]:
        return [self._rows[number] for number in batch]

    def _note(self, batch: list[int], started: Any) -> None:
        """Note a batch's outputs; where it failed those of its halves, down to a Failure of single rows."""
        found = _attempt(partial(outputs_of, started))
        if isinstance(found, Failure):
            found = _halved(
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
            return _each(
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


def _planned(
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
            pad_values=pad_values(loaded),
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


def pad_values(loaded: Loaded) -> dict[str, int]:
    if loaded.tokenizer is None:
        return {}
    found: dict[str, int] | None = loaded.findings.get("pad_values")
    if found is None:
        tokenizer = loaded.tokenizer
        found = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
        loaded.findings["pad_values"] = found
    return found


def _each(
    chunk: Sequence[Any],
    work: Callable[[Sequence[Any]], Sequence[Any]],
    explain: Callable[[Exception, Any], Exception] = lambda error, member: error,
) -> list[Any]:
    """``work`` on the whole chunk, or where that fails on each member alone, with Failures for those that fail.

    explain: what the error of a member means.
    """
    if not chunk:
        return []
    try:
        return list(work(chunk))
    except Exception as error:
        return _halved(error, chunk, work, explain)


def _halved(
    error: Exception,
    chunk: Sequence[Any],
    work: Callable[[Sequence[Any]], Sequence[Any]],
    explain: Callable[[Exception, Any], Exception],
) -> list[Any]:
    """What a chunk that failed gives: ``work`` on its halves, a Failure for a single member."""
    if len(chunk) == 1:
        return [Failure(explain(error, chunk[0]))]
    half = len(chunk) // 2
    return list(chain(_each(chunk[:half], work, explain), _each(chunk[half:], work, explain)))


def _attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        return Failure(error)
