"""The processors of a model, of any kind: one for texts, images, sounds or videos, or one that holds several."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .extras import need
from .task import Task

# Each with the Auto class that loads it; one with several is read first, for the others may come from it.
PARTS = {
    "processor": "AutoProcessor",
    "tokenizer": "AutoTokenizer",
    "image_processor": "AutoImageProcessor",
    "feature_extractor": "AutoFeatureExtractor",
    "video_processor": "AutoVideoProcessor",
}


# A tokenizer that was made without its files knows its special tokens and at most the mark of a word's beginning; the
# smallest real one (amino acids) knows 27 tokens more. Larger vocabularies need no look.
_WORDS = 2
_SMALL = 1000


class NoVocabulary(UserWarning):
    """A tokenizer knows no words: its files are not there, and transformers 5 makes an empty one without a word."""


def load_parts(task: Task, given: Mapping[str, Any], name: Any, hub: Mapping[str, Any]) -> dict[str, Any]:
    """Every part by name, None for one that the task neither needs nor was given.

    given: objects (of any class), paths or names, or None. A part that is not given is taken from the processor that
    is, or else loaded from ``name``, the model's own; one that is only in ``task.may_use`` is left out where that
    fails.
    An image processor may come as ``feature_extractor``, its name of old; what the task has no use for is left aside.
    Raises ValueError for a needed part that a model object came without.
    """
    given = _renamed(task, given)
    held: dict[str, Any] = dict.fromkeys(PARTS)
    for part in PARTS:
        found = given.get(part)
        if found is None:
            found = getattr(held["processor"], part, None)
        if isinstance(found, str | Path):
            found = load_part(part, found, hub)
        elif found is None and part in task.needs:
            if name is None:
                raise ValueError(f"{part} must be given along with a model object; got None for {task.name}")
            found = load_part(part, name, hub)
        elif found is None and part in task.may_use and name is not None:
            found = _load_if_there(part, name, hub)
        held[part] = found
    if name is not None and not _is_given(given):
        _warn_of_no_vocabulary(task, name, held["tokenizer"])
    return held


def _is_given(given: Mapping[str, Any]) -> bool:
    return any(given.get(part) is not None for part in ("tokenizer", "processor"))


def _warn_of_no_vocabulary(task: Task, name: Any, tokenizer: Any) -> None:
    """Warn where a tokenizer has next to nothing but special tokens, as one made from an empty folder has."""
    if not hasattr(tokenizer, "get_vocab") or len(tokenizer) > _SMALL:
        return
    beside = {*tokenizer.all_special_tokens, *getattr(tokenizer, "added_tokens_encoder", ())}
    if len(set(tokenizer.get_vocab()) - beside) < _WORDS:
        warnings.warn(
            f"{name} holds no vocabulary for {type(tokenizer).__name__}: every word is unknown to it, and the answers "
            f"of {task.name} say nothing of the text",
            NoVocabulary,
            stacklevel=6,
        )


def _renamed(task: Task, given: Mapping[str, Any]) -> Mapping[str, Any]:
    used = {*task.needs, *task.may_use, "processor"}
    if "image_processor" in used and "feature_extractor" not in used and given.get("image_processor") is None:
        given = {**given, "image_processor": given.get("feature_extractor"), "feature_extractor": None}
    return {part: value for part, value in given.items() if part in used}


def load_part(part: str, name: str | Path, hub: Mapping[str, Any]) -> Any:
    """The part of a folder or of a name on the hub, by transformers' Auto class for it."""
    import transformers

    if part in ("image_processor", "video_processor"):
        need("PIL", "vision", part)
    require_place(part, str(name))
    return getattr(transformers, PARTS[part]).from_pretrained(
        str(name), **(hub if part == "tokenizer" else without_use_fast(hub))
    )


def require_place(part: str, name: str) -> None:
    """ValueError for what is written as a path and leads nowhere: on the hub no name begins so."""
    if not Path(name).exists() and name[:1] in ("/", ".", "~"):
        raise ValueError(f"{part} must be a folder that exists or a name on the hub; got {name!r}")


def without_use_fast(hub: Mapping[str, Any]) -> dict[str, Any]:
    """What all parts of a model are loaded with: ``use_fast`` is a question to tokenizers alone, as in transformers."""
    return {name: value for name, value in hub.items() if name != "use_fast"}


def _load_if_there(part: str, name: str | Path, hub: Mapping[str, Any]) -> Any:
    # A checkpoint without the part is told by an OSError (no such file) or a ValueError (no class for the model; in
    # 4.57.6 a KeyError), an environment without what the part runs on (torchvision, for processors of videos) by an
    # ImportError.
    try:
        return load_part(part, name, hub)
    except (OSError, ValueError, KeyError, ImportError):
        return None
