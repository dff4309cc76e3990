"""The one loop of every task: read ahead, encode in the background, run batches sorted by size, keep the order.

A task (task.py) is a handful of functions; they are called from here on, and errors and the stream are owned here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from .batching import windows
from .explaining import explain_encoding, explain_forward
from .failures import Failure, attempt, each
from .loaded import Loaded
from .passes import forward
from .side_by_side import SideBySide
from .task import Prepared, Task
from .window_run import WindowRun

T = TypeVar("T")


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

    Where the first window holds all items there is nothing to look ahead for, and nothing encodes beside. On a device
    the first batch of the next window is launched, where it is encoded by then, before the answers of this one are
    written; batches that run side by side (side_by_side.py) all are.
    """
    opening = next(cut, None)
    if opening is None:
        return
    prepared = prepare_window(task, loaded, opening, options)
    with SideBySide(task, loaded) as threads:
        run: WindowRun | None = WindowRun(task, loaded, prepared, options, start, threads)
        if run is not None and len(opening) == total:
            run.launch_all()
            run.settle()
            yield run.answers(columns)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="afterlogits-encode") as worker:
            while run is not None:
                start += len(run.prepared)
                coming: Future[list[Prepared | Failure] | None] = worker.submit(
                    _prepare_next, task, loaded, cut, options
                )
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


def _following(run: WindowRun, coming: Future[list[Prepared | Failure] | None], start: int) -> WindowRun | None:
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
        item if isinstance(item, Failure) else attempt(partial(task.parse, loaded, item, options)) for item in window
    ]
    good = [index for index, item in enumerate(parsed) if not isinstance(item, Failure)]
    items = [parsed[index] for index in good]
    encoded = each(items, lambda chunk: task.encode(loaded, chunk, options), explain_encoding)
    for index, prepared in zip(good, encoded, strict=True):
        parsed[index] = prepared
    return parsed


def answer_prepared(task: Task, loaded: Loaded, prepared: Sequence[Prepared | Failure], options: Any) -> list[Any]:
    """The records of a window that ``prepare_window`` gave, and the Failures of items without one."""
    return WindowRun(task, loaded, prepared, options, 0).answers(False)
