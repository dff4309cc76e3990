"""The tasks of a server with their models, each loaded once, and the thread that runs it."""

import warnings
from dataclasses import dataclass
from typing import Any

from ..checkpoints import path
from ..jobs.errors import UsageError, one_line
from ..running.loading import NewWeights
from ..running.pipeline_object import Pipeline
from ..running.task import Task
from ..tasks.table import TASKS, find_task
from .grouped_engine import GroupedEngine
from .metrics import Metrics
from .model_thread import Engine, ModelThread
from .settings import Limits, ModelChoice, Settings
from .text_engine import TextEngine


@dataclass(frozen=True)
class Served:
    """A task that is served: its pipeline, what answers its requests, and the thread they wait for."""

    name: str
    pipe: Pipeline
    engine: Engine
    thread: ModelThread

    @property
    def task(self) -> Task:
        """The row of the table of tasks."""
        return self.pipe.task_entry

    @property
    def chats(self) -> bool:
        """Whether the model has a template for chats."""
        return bool(self.task.name == "text-generation" and getattr(self.pipe.loaded.tokenizer, "chat_template", None))


def shipped_choices() -> tuple[ModelChoice, ...]:
    """Every task whose model ships with the package."""
    found = []
    for name in TASKS:
        try:
            path(name)
        except ValueError:
            continue
        found.append(ModelChoice(name))
    return tuple(found)


def load_served(settings: Settings, metrics: Metrics) -> list[Served]:
    """Load every model of ``settings``, or those that ship where it names none. A model that serves several tasks is
    loaded once, and has one thread. Raises UsageError naming what cannot be loaded."""
    served: list[Served] = []
    threads: dict[Any, tuple[Pipeline, ModelThread]] = {}
    for choice in settings.models or shipped_choices():
        task = find_task(choice.task)
        key = (task.auto_classes, choice.model or str(_shipped(task)), choice.revision, choice.device, choice.dtype)
        if key in threads:
            first, thread = threads[key]
            pipe = _load(choice, settings, like=first)
        else:
            pipe = _load(choice, settings)
            thread = _thread(f"{choice.shown_name}/{task.name}", settings.limits, metrics)
            threads[key] = pipe, thread
        served.append(Served(choice.shown_name, pipe, _engine(pipe, settings.limits, metrics, choice), thread))
    return served


def of_pipeline(pipe: Pipeline, limits: Limits, metrics: Metrics, name: str = "model") -> Served:
    """A pipeline that is loaded already, ready to be served."""
    choice = ModelChoice(pipe.task, name=name)
    thread = _thread(f"{name}/{pipe.task}", limits, metrics)
    return Served(name, pipe, _engine(pipe, limits, metrics, choice), thread)


def _engine(pipe: Pipeline, limits: Limits, metrics: Metrics, choice: ModelChoice) -> Engine:
    name = f"{choice.shown_name}/{pipe.task}"

    def observe(size: int) -> None:
        metrics.batch(name, size)

    if pipe.task != "text-generation":
        return GroupedEngine(pipe, observe, most=limits.batch_rows)
    return TextEngine(pipe, limits, lambda old, new: metrics.tokens(choice.shown_name, old, new), observe)


def _thread(name: str, limits: Limits, metrics: Metrics) -> ModelThread:
    thread = ModelThread(
        name,
        limit=limits.queue,
        most=limits.batch_rows,
        gather=limits.gather_ms / 1000,
    )
    metrics.queues[name] = thread.__len__
    return thread


def _shipped(task: Task) -> Any:
    try:
        return path(task.name)
    except ValueError as error:
        raise UsageError(f"--model must be given for {task.name}: {error}") from None


def _load(choice: ModelChoice, settings: Settings, like: Pipeline | None = None) -> Pipeline:
    """The pipeline of a choice; like: one whose model it shares."""
    from ..pipelines import pipeline

    given: dict[str, Any] = {"compat": not choice.corrected, **choice.options}
    if like is not None:
        parts = ("model", "tokenizer", "image_processor", "feature_extractor", "video_processor", "processor")
        given |= {part: getattr(like, part) for part in parts if getattr(like, part) is not None}
    else:
        named = {name: getattr(choice, name) for name in ("model", "tokenizer", "revision", "device", "dtype")}
        given |= {name: value for name, value in named.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if settings.allow_new_weights else "error", NewWeights)
        try:
            return pipeline(choice.task, **given)
        except NewWeights as error:
            raise UsageError(f"{one_line(error)}; --allow-new-weights serves it all the same") from None
        except Exception as error:
            raise UsageError(f"cannot load {choice.model or choice.task}: {one_line(error)}") from error
