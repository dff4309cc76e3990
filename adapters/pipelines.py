"""``pipeline(task, ...)``: the library's call and its results, batched by length and streamed in order."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from inspect import signature
from typing import Any

import torch

from .running.columns import join, of_failure, to_arrow, to_columns
from .running.exceptions import InputError
from .running.loading import for_call, load
from .running.options import build_options, effective, option_names, require_choice, require_count
from .running.runner import Call, Failure, Loaded, Task, answers
from .running.views import Results
from .tasks.table import find_task

# Options of every task, at construction or at a call. num_workers is accepted for the library's sake: tokenisation
# already overlaps the forward pass, so it changes nothing.
RUN_OPTIONS = ("batch_size", "batch_tokens", "progress", "on_error", "output", "compat", "num_workers")


def pipeline(
    task: str,
    model: Any = None,
    tokenizer: Any = None,
    *,
    feature_extractor: Any = None,
    image_processor: Any = None,
    video_processor: Any = None,
    processor: Any = None,
    config: Any = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool | None = None,
    use_fast: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    compat: bool = True,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    num_workers: int | None = None,
    progress: bool = False,
    on_error: str = "raise",
    output: str = "records",
    **options: Any,
) -> "Pipeline":
    """A task ready to call: same arguments and same results as the pipeline of that name in transformers.

    task: a name of ``afterlogits.adapters.tasks.table.TASKS``, e.g. "ner" or "question-answering".
    model: a path, a name on the hub, or a model object together with its tokenizer or processors; None takes the small
    checkpoint that ships with the package.
    tokenizer, feature_extractor, image_processor, video_processor, processor: objects of any class that is called as
    transformers' own, or paths or names; what the task needs and is not given is taken from ``processor`` or loaded
    with the model.
    compat: True returns what transformers returns, its known defects included; False the corrected result
    (docs/semantics.md leads to every difference).
    batch_tokens: the budget of a batch in the task's unit (rows times longest row; tokens of text, pixels of pictures,
    samples of sound); rows of like length go together. ``batch_size`` caps the rows of a batch as well.
    progress: a tqdm bar over the items. on_error: "raise" stops at a bad item, naming it; "record" puts
    ``{"error": ..., "index": ...}`` in its place. output: "records", "columns" (a dict of tensors and lists, built from
    the kernels' own without a record on the way, with an ``offsets`` tensor: item i owns its rows ``offsets[i]`` to
    ``offsets[i + 1]``) or "arrow" (a pyarrow table, its column ``item`` says whose a row is). With "record" an item
    that failed owns one row, with its text in the column ``error`` and NaN, -1 or None (null) in the others.
    options: the task's own, as the library documents them; they may also be given at each call.

    >>> ner = pipeline("ner", aggregation_strategy="simple")  # doctest: +SKIP
    >>> ner("Ada Lovelace lived in London.")  # doctest: +SKIP
    [{'entity_group': 'PER', ...}, {'entity_group': 'LOC', ...}]
    """
    found = find_task(task)
    hub = {"revision": revision, "token": token, "trust_remote_code": trust_remote_code, "use_fast": use_fast}
    loaded = load(
        found,
        model,
        {
            "tokenizer": tokenizer,
            "feature_extractor": feature_extractor,
            "image_processor": image_processor,
            "video_processor": video_processor,
            "processor": processor,
        },
        config=config,
        compat=compat,
        device=device,
        device_map=device_map,
        dtype=dtype if torch_dtype is None else torch_dtype,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        model_kwargs=model_kwargs,
        hub={name: value for name, value in hub.items() if value is not None},
        asked=task,
    )
    run = {"progress": progress, "on_error": on_error, "output": output}
    return Pipeline(found, loaded, run=run, options=options)


class Pipeline:
    """A loaded task. Call it with an item, a list or any iterable; a list returns a list, an iterable streams."""

    def __init__(self, task: Task, loaded: Loaded, *, run: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self._task = task
        self._run = dict(run)
        self._options = self._effective(options)
        if "src_lang" not in options and "tgt_lang" not in options:
            self._options.update(_language_pair(loaded))
        self._loaded = replace(loaded, constructed=self._options)
        self.task = task.name
        _check_run(loaded.batch_size, loaded.batch_tokens, self._run)
        self._resolve({})

    @property
    def model(self) -> Any:
        return self._loaded.model

    @property
    def tokenizer(self) -> Any:
        return self._loaded.tokenizer

    @property
    def image_processor(self) -> Any:
        return self._loaded.image_processor

    @property
    def feature_extractor(self) -> Any:
        return self._loaded.feature_extractor

    @property
    def video_processor(self) -> Any:
        return self._loaded.video_processor

    @property
    def processor(self) -> Any:
        return self._loaded.processor

    @property
    def device(self) -> Any:
        return self._loaded.device

    def __repr__(self) -> str:
        return f"Pipeline({self.task!r}, {type(self.model).__name__}, device={str(self.device)!r})"

    def option_names(self) -> list[str]:
        """The options this task documents, run options first."""
        return [*RUN_OPTIONS, *option_names(self._task.options)]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Answer one item (a string or a dict), a list of items, or any iterable of them.

        A list gives a list of results; a generator or a dataset gives an iterator, read as it is consumed.
        """
        call = self._task.read(*args, **options)
        run = {**self._run, **{name: call.options[name] for name in self._run if name in call.options}}
        compat, size, tokens = (call.options.get(name) for name in ("compat", "batch_size", "batch_tokens"))
        _check_run(size, tokens, run)
        loaded = for_call(self._loaded, size, tokens, compat)
        given = self._effective({name: value for name, value in call.options.items() if name not in RUN_OPTIONS})
        resolved = self._resolve(given, loaded)
        if run["output"] != "records":
            return self._columns(call, loaded, resolved, run)
        if call.kind == "stream":
            return self._records(call, loaded, resolved, run)
        results = list(self._records(call, loaded, resolved, run))
        return self._task.shape(results[0] if call.kind == "single" else Results(results), call)

    def _effective(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options by their names of today, without those that transformers makes nothing of."""
        names = option_names(self._task.options)
        return effective(self._task.earlier(dict(given)), self._task.swallowed, self._task.name, names)

    def _resolve(self, given: Mapping[str, Any], loaded: Loaded | None = None) -> Any:
        # At construction the names of ``pipeline`` itself may be meant, at a call those of the inputs.
        names = signature(pipeline if loaded is None else self._task.read).parameters
        options = build_options(
            self._task.options,
            {**self._options, **given},
            task=self.task,
            forwarded=self._task.forwarded(),
            beside=[*RUN_OPTIONS, *(name for name in names if name != "options")],
        )
        return self._task.check(self._loaded if loaded is None else loaded, options)

    def _records(self, call: Call, loaded: Loaded, options: Any, run: Mapping[str, Any]) -> Iterator[Any]:
        for index, found in self._found(call, loaded, options, run, columns=False):
            yield found.record(index) if isinstance(found, Failure) else found

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
            # The library's data loader draws a seed of its own before the first item: sampling starts after it.
            torch.empty((), dtype=torch.int64).random_()
        total = len(items) if hasattr(items, "__len__") else None
        ahead = total is None or total > 1
        streamed = call.kind != "list"
        index = 0
        with _bar(self.task, total) if run["progress"] else nullcontext() as bar:
            for found in answers(self._task, loaded, items, options, ahead=ahead, streamed=streamed, columns=columns):
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


def _check_run(batch_size: int | None, batch_tokens: int | None, run: Mapping[str, Any]) -> None:
    require_count("batch_size", batch_size, optional=True)
    require_count("batch_tokens", batch_tokens, optional=True)
    require_choice("on_error", run["on_error"], ("raise", "record"))
    require_choice("output", run["output"], ("records", "columns", "arrow"))


def _language_pair(loaded: Loaded) -> dict[str, str]:
    """The languages that a task name such as "translation_en_to_fr" carries, or else the model's configuration."""
    name = loaded.task
    if name == "translation":
        specific = getattr(loaded.config, "task_specific_params", None) or {}
        name = next((key for key in specific if key.startswith("translation")), name)
    parts = name.split("_")
    return {"src_lang": parts[1], "tgt_lang": parts[3]} if len(parts) == 4 and parts[2] == "to" else {}
