"""A loaded task that is called: with an item, a list, or any iterable, which streams; options merged and checked."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import Any, TypeVar

import torch

from ...decoding.options.forkable_lock import forkable_lock
from .asked import AskedOfPipelines
from .columns import join, of_failure, to_arrow, to_columns
from .exceptions import InputError
from .failures import Failure
from .loaded import Loaded
from .loading import for_call
from .options import build_options, effective, option_names, require_bool, require_choice, require_count
from .portable import portable
from .roomy_stack import with_room
from .runner import answer_one, answer_prepared, answer_windows, answers, cut_windows, prepare_window
from .task import Call, Prepared, Task
from .views import Results

T = TypeVar("T")

# Options of every task, at construction or at a call. num_workers is accepted for transformers' sake: tokenisation
# already overlaps the forward pass, so it changes nothing.
RUN_OPTIONS = ("batch_size", "batch_tokens", "progress", "on_error", "output", "compat", "num_workers")

# Calls that reached a pipeline of this package, by task: what a program that was patched must be seen to do.
CALLS: Counter[str] = Counter()
_counting = forkable_lock()


class Pipeline(AskedOfPipelines):
    """A loaded task. Call it with an item, a list or any iterable; a list returns a list, an iterable streams.

    ``construction``: names of the arguments it may have been built with, to name the nearest of a wrong one.
    """

    def __new__(cls, task: Task, *_: Any, **__: Any) -> "Pipeline":
        return object.__new__(class_of(task.name))

    def __init__(
        self,
        task: Task,
        loaded: Loaded,
        *,
        run: Mapping[str, Any],
        options: Mapping[str, Any],
        construction: Collection[str] = (),
    ) -> None:
        self._task = task
        self._run = dict(run)
        self._options = self._effective(options)
        if "src_lang" not in options and "tgt_lang" not in options:
            self._options.update(_language_pair(loaded))
        self._loaded = replace(loaded, constructed=self._options)
        self._built: tuple[dict[str, Any], Any] | None = None
        self.task = task.name
        self.call_count = 0
        _check_run({"batch_size": loaded.batch_size, "batch_tokens": loaded.batch_tokens, **self._run})
        self._resolve({}, self._loaded, (*RUN_OPTIONS, *construction))

    def __repr__(self) -> str:
        return f"Pipeline({self.task!r}, {type(self.model).__name__}, device={str(self.device)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.task,), {**self.__dict__, "_loaded": portable(self._loaded)}

    def __copy__(self) -> "Pipeline":
        same = _restored(self.task)
        same.__dict__.update(self.__dict__)
        return same

    def option_names(self) -> list[str]:
        """The options this task documents, run options first."""
        return [*RUN_OPTIONS, *option_names(self._task.options)]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Answer one item (a string or a dict), a list of items, or any iterable of them.

        A list gives a list of results; a generator or a dataset gives an iterator, read as it is consumed.
        """
        call = self._task.read(*args, **options)
        loaded, resolved, run = self._prepare_call(call)
        with _counting:
            self.call_count += 1
            CALLS[self.task] += 1
        if run["output"] != "records":
            return self._columns(call, loaded, resolved, run)
        if call.kind == "stream":
            return self._records(call, loaded, resolved, run)
        if call.kind == "single" and not run["progress"]:
            return self.shape_answers([self._record_of_one(call, loaded, resolved, run)], call)
        return self.shape_answers(with_room(list, (self._records(call, loaded, resolved, run),), {}), call)

    @property
    def task_entry(self) -> Task:
        """The row of the table of tasks that this pipeline is of."""
        return self._task

    @property
    def loaded(self) -> Loaded:
        """The model and its processors, as the functions of the task take them."""
        return self._loaded

    def with_batch_tokens(self, batch_tokens: int) -> "Pipeline":
        """The same pipeline with another budget of a batch; ``batch_limits`` tells the unit."""
        same = self.__copy__()
        same._loaded = for_call(self._loaded, None, batch_tokens, None)
        return same

    def read_call(self, *args: Any, **options: Any) -> Call:
        """The items and options that a call with these arguments is about, answered by ``answer_windows``."""
        return self._task.read(*args, **options)

    def resolved_options(self, options: Mapping[str, Any]) -> Any:
        """The task's options for a call, checked: ``options`` above the pipeline's own."""
        return self._resolve(self._effective(options), self._loaded, ())

    def shape_answers(self, answers: Sequence[Any], call: Call) -> Any:
        """The answers to a call's items in the nesting that the call gives them in."""
        return self._task.shape(answers[0] if call.kind == "single" else Results(answers), call)

    @property
    def batch_limits(self) -> tuple[str, int, int | None]:
        """The unit that a batch has a budget of, the budget, and the most rows of a batch if there is such a limit."""
        return self._task.unit, self._loaded.batch_tokens, self._loaded.batch_size

    def windows(self, items: Iterable[T], item_of: Callable[[T], Any]) -> Iterator[list[T]]:
        """Cut what holds items into the windows in which a stream of these items is answered."""
        options = self._resolve({}, self._loaded, ())
        return cut_windows(self._task, self._loaded, items, options, item_of=item_of)

    def answer_windows(
        self, windows: Iterator[list[Any]], *, start: int = 0, options: Mapping[str, Any] | None = None
    ) -> Iterator[list[Any]]:
        """Answer windows of items one after the other, with this pipeline's own options and ``options`` above them.

        Yields a list a window: records, and a Failure for each item without one. ``start``: the number of the first
        item, which seeds by item go by. A Failure among the items stays one.
        """
        resolved = self.resolved_options(options or {})
        return answer_windows(self._task, self._loaded, windows, resolved, start=start)

    def encode_items(self, items: Sequence[Any], options: Any) -> list[Prepared | Failure]:
        """Items as rows of the model's input, with options that ``resolved_options`` gave; a Failure for a bad one."""
        return prepare_window(self._task, self._loaded, items, options)

    def answer_encoded(self, encoded: Sequence[Prepared | Failure], options: Any) -> list[Any]:
        """The records of items that ``encode_items`` gave, in any company, and the Failures of those without one."""
        return answer_prepared(self._task, self._loaded, encoded, options)

    def _prepare_call(self, call: Call) -> tuple[Loaded, Any, dict[str, Any]]:
        """What is loaded, the task's options and the run options of one call."""
        if not call.options:
            return self._loaded, self._task.check(self._loaded, self._own_options()), self._run
        own = {name: value for name, value in call.options.items() if name in RUN_OPTIONS}
        _check_run(own)
        loaded = for_call(self._loaded, *(own.get(name) for name in ("batch_size", "batch_tokens", "compat")))
        given = self._effective({name: value for name, value in call.options.items() if name not in RUN_OPTIONS})
        run = {**self._run, **{name: value for name, value in own.items() if name in self._run}}
        return loaded, self._resolve(given, loaded, _beside(self._task.read)), run

    def _own_options(self) -> Any:
        """The options of a call that gives none, not yet checked: built once where no value in them can change."""
        if self._built is None or self._built[0] != self._options:
            built = self._options_of(self._options, ())
            if not all(isinstance(value, str | int | float | None) for value in self._options.values()):
                return built
            self._built = dict(self._options), built
        return self._built[1]

    def _effective(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options by their names of today, without those that transformers makes nothing of."""
        names = option_names(self._task.options)
        return effective(self._task.earlier(dict(given)), self._task.swallowed, self._task.name, names)

    def _resolve(self, given: Mapping[str, Any], loaded: Loaded, beside: Collection[str]) -> Any:
        """The task's options, checked. beside: other names that may be meant by a wrong one."""
        return self._task.check(loaded, self._options_of({**self._options, **given}, beside))

    def _options_of(self, given: Mapping[str, Any], beside: Collection[str]) -> Any:
        """``given`` as the task's options."""
        kind, forwarded = self._task.options, self._task.forwarded()
        return build_options(kind, given, task=self.task, forwarded=forwarded, beside=beside or RUN_OPTIONS)

    def _records(self, call: Call, loaded: Loaded, options: Any, run: Mapping[str, Any]) -> Iterator[Any]:
        for index, found in self._found(call, loaded, options, run, columns=False):
            yield found.record(index) if isinstance(found, Failure) else found

    def _record_of_one(self, call: Call, loaded: Loaded, options: Any, run: Mapping[str, Any]) -> Any:
        found = answer_one(self._task, loaded, next(iter(call.items)), options)
        if isinstance(found, Failure):
            if run["on_error"] == "raise":
                raise found.error
            return found.record(0)
        return found

    def _columns(self, call: Call, loaded: Loaded, options: Any, run: Mapping[str, Any]) -> Any:
        blocks = self._found(call, loaded, options, run, columns=True)
        found = join([of_failure(block.error) if isinstance(block, Failure) else block for _, block in blocks])
        return to_arrow(found) if run["output"] == "arrow" else to_columns(found)

    def _found(
        self, call: Call, loaded: Loaded, options: Any, run: Mapping[str, Any], *, columns: bool
    ) -> Iterator[tuple[int, Any]]:
        """Every answer or block of columns with the number of its first item; a Failure raises if it is to."""
        items: Any = call.items
        if not hasattr(items, "__iter__"):
            items = (call.items[index] for index in range(len(items)))  # type: ignore[index]
        if call.kind != "single" and loaded.compat and self._task.in_order(loaded, options):
            # Transformers' data loader draws a seed of its own before the first item: sampling starts after it.
            torch.empty((), dtype=torch.int64, device="cpu").random_()
        total = len(items) if hasattr(items, "__len__") else None
        streamed = call.kind != "list"
        index = 0
        with _bar(self.task, total) if run["progress"] else nullcontext() as bar:
            for found in answers(self._task, loaded, items, options, total=total, streamed=streamed, columns=columns):
                if isinstance(found, Failure) and run["on_error"] == "raise":
                    if call.kind == "single":
                        raise found.error
                    raise _named(found.error, index) from found.error
                yield index, found
                done = found.counts.shape[0] if columns and not isinstance(found, Failure) else 1
                index += done
                if bar is not None:
                    bar.update(done)


def _bar(task: str, total: int | None) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=task, unit="item", disable=None)


def _named(error: Exception, index: int) -> Exception:
    """The error with the index of its item, of the same kind where that kind takes a message."""
    plain_kinds = (ValueError, TypeError, IndexError, KeyError, RuntimeError)
    kind = type(error) if isinstance(error, InputError) or type(error) in plain_kinds else RuntimeError
    return kind(f"item {index}: {error}")


@cache
def _beside(read: Callable[..., Any]) -> tuple[str, ...]:
    """The names that a call takes beside the options of its task."""
    return (*RUN_OPTIONS, *(name for name in signature(read).parameters if name != "options"))


def _check_run(given: Mapping[str, Any]) -> None:
    """The run options, at construction or at a call, where None leaves what was given before."""
    for name, least in (("batch_size", 1), ("batch_tokens", 1), ("num_workers", 0)):
        require_count(name, given.get(name), least=least, optional=True)
    require_bool("compat", given.get("compat", True), optional=True)
    require_bool("progress", given.get("progress", False))
    require_choice("on_error", given.get("on_error", "raise"), ("raise", "record"))
    require_choice("output", given.get("output", "records"), ("records", "columns", "arrow"))


def _language_pair(loaded: Loaded) -> dict[str, str]:
    """The languages that a task name such as "translation_en_to_fr" carries, or else the model's configuration."""
    name = loaded.task
    if name == "translation":
        specific = getattr(loaded.config, "task_specific_params", None) or {}
        name = next((key for key in specific if key.startswith("translation")), name)
    parts = name.split("_")
    return {"src_lang": parts[1], "tgt_lang": parts[3]} if len(parts) == 4 and parts[2] == "to" else {}


@cache
def class_of(task: str) -> type[Pipeline]:
    """The class of a task's pipelines, named as transformers names its own and registered under it: ``isinstance`` of
    ``transformers.Pipeline``, and of the class of the task where this version has one, is true."""
    import transformers

    name = re.sub(r"(^|-|\d)([a-z])", lambda part: part[1].strip("-") + part[2].upper(), task) + "Pipeline"
    own = type(name, (Pipeline,), {"__module__": Pipeline.__module__, "__doc__": Pipeline.__doc__})
    for base in ("Pipeline", name):
        found = getattr(transformers, base, None)
        if found is not None:
            found.register(own)
            # Some programs (gradio) tell a pipeline by the module of its class.
            own.__module__ = found.__module__
    return own


def _restored(task: str) -> Pipeline:
    """An empty pipeline of a task, for pickle and copy to fill."""
    return object.__new__(class_of(task))
