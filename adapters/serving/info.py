"""What ``/info`` says of a server, and what its page is drawn from: tasks, inputs, options, labels, limits."""

from collections.abc import Callable, Sequence
from typing import Any

from ..running.options import defaults_of, option_names
from .loaded_models import Served
from .media import kind_of, takes_media
from .parameters import REFUSED
from .settings import Limits

Describe = Callable[[str], str]

# What an input of a task is made of, where it is more than one text or one file: a page draws its form from this.
FIELDS: dict[str, tuple[str, ...]] = {
    "question-answering": ("question", "context"),
    "zero-shot-classification": ("text", "candidate_labels"),
    "table-question-answering": ("query", "table"),
    "multiple-choice": ("prompt", "choices"),
    "next-sentence-prediction": ("text", "text_pair"),
    "visual-question-answering": ("image", "question"),
    "document-question-answering": ("image", "question"),
    "zero-shot-image-classification": ("image", "candidate_labels"),
    "zero-shot-object-detection": ("image", "candidate_labels"),
    "zero-shot-audio-classification": ("audio", "candidate_labels"),
    "grounded-detection": ("image", "text"),
    "image-guided-detection": ("image", "query_image"),
    "keypoint-matching": ("image", "query_image"),
    "image-text-to-text": ("image", "text"),
    "any-to-any": ("image", "text"),
    "forced-alignment": ("audio", "text"),
    "decision": ("state", "questions"),
    "translation": ("text", "src_lang", "tgt_lang"),
}


def info_of(served: Sequence[Served], limits: Limits, describe: Describe = lambda name: "") -> dict[str, Any]:
    """What ``/info`` says: the tasks, their models and options, and the limits. describe: the sentence of an option."""
    from ... import __version__

    return {
        "name": "afterlogits",
        "version": __version__,
        "tasks": [_info(each, describe) for each in served],
        "limits": {name: getattr(limits, name) for name in limits.__dataclass_fields__},
    }


def _info(served: Served, describe: Describe) -> dict[str, Any]:
    """What a page must know of a task to draw its form and its answers."""
    task = served.task
    defaults = defaults_of(task.options)
    options = [
        {"name": name, "default": _shown(defaults.get(name)), "help": describe(name)}
        for name in option_names(task.options)
        if name not in REFUSED
    ]
    labelled = any(kind in task.name for kind in ("classification", "detection", "segmentation"))
    labels = (getattr(served.pipe.loaded.config, "id2label", None) or {}) if labelled else {}
    return {
        "task": task.name,
        "aliases": list(task.aliases),
        "model": served.name,
        "kind": type(served.pipe.model).__name__,
        "input": kind_of(task) or ("text" if not takes_media(task) else "mixed"),
        "fields": list(FIELDS.get(task.name, ())),
        "labels": [str(label) for label in labels.values()][:200],
        "mask": getattr(served.pipe.tokenizer, "mask_token", None) if task.name == "fill-mask" else None,
        "stream": task.name == "text-generation",
        "chat": served.chats,
        "options": options,
    }


def _shown(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
