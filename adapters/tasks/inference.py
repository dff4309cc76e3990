"""The task of a model that is given without one, read from its architecture."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..running.exceptions import NoTaskError
from ..running.parts import without_use_fast
from ..running.task import Task
from .table import TASKS

# What the first input of a model is called, for the unit in which its tasks count a batch.
_UNITS = {"input_ids": "tokens", "pixel_values": "pixels", "input_values": "samples", "input_features": "samples"}


def infer_task(model: Any, config: Any = None, hub: Mapping[str, Any] | None = None) -> str:
    """The name of the one task that a model's architecture can do.

    model: a model, or its path or name. Raises ValueError for an architecture of no known task, and, with their names,
    for one of several.
    """
    config = _config(model, config, hub or {})
    architecture = _architecture(model, config)
    found = sorted(task.name for task in TASKS.values() if _does(task, architecture, config))
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoTaskError(f"task must be given: none is known for a {architecture}")
    raise NoTaskError(f"task must be given: a {architecture} can do {', '.join(found[:-1])} and {found[-1]}")


def _config(model: Any, config: Any, hub: Mapping[str, Any]) -> Any:
    if config is None and not isinstance(model, str | Path):
        return getattr(model, "config", None)
    if config is None or isinstance(config, str | Path):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(str(model if config is None else config), **without_use_fast(hub))
    return config


def _architecture(model: Any, config: Any) -> str:
    """The class of the model, or what its configuration names: an object may be a wrapper of it."""
    import transformers

    if not isinstance(model, str | Path):
        for kind in type(model).__mro__:
            if getattr(transformers, kind.__name__, None) is not None and kind.__name__ != "PreTrainedModel":
                return str(kind.__name__)
    named = getattr(config, "architectures", None)
    if not named:
        raise NoTaskError("task must be given: the model's configuration names no architecture")
    return str(named[0])


def _does(task: Task, architecture: str, config: Any) -> bool:
    """Whether a task loads this architecture and has a use for it."""
    import transformers

    if not any(architecture in _names(auto_class) for auto_class in task.auto_classes):
        return False
    if task.name == "zero-shot-classification":
        labels = getattr(config, "label2id", None) or {}
        return any(str(label).lower().startswith("entail") for label in labels)
    kind = getattr(transformers, architecture, None)
    # Any plain encoder is an AutoModel; sounds are held against labels by those that read both.
    reads_both = all(hasattr(kind, name) for name in ("get_audio_features", "get_text_features"))
    if reads_both or task.name == "zero-shot-audio-classification":
        return reads_both and task.name == "zero-shot-audio-classification"
    return _UNITS.get(getattr(kind, "main_input_name", "input_ids"), "tokens") == task.unit


def _names(auto_class: str) -> Iterator[str]:
    """The architectures that an Auto class of transformers loads."""
    import transformers

    mapping = getattr(getattr(transformers, auto_class, None), "_model_mapping", None)
    for name in getattr(mapping, "_model_mapping", {}).values():
        yield from (name,) if isinstance(name, str) else name
