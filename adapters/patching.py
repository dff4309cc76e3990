"""``patch()``: this package's pipelines under ``transformers.pipeline``, for programs that cannot be edited.

The function itself is given another body. Setting an attribute would miss most callers: the module object of
transformers is replaced in ``sys.modules`` while it loads, and programs bind the name when they are imported.
"""

import inspect
from collections import Counter
from contextlib import ContextDecorator
from types import CodeType, FunctionType
from typing import Any

from .pipelines import CALLS, pipeline
from .tasks.table import task_names

__all__ = ["Patch", "patch", "unpatch"]

# The models that 4.57.6 takes where none is given, for the tasks that version 5 dropped, with their revisions.
_T5 = ("google-t5/t5-base", "a9723ea")
_DROPPED = {
    "question-answering": ("distilbert/distilbert-base-cased-distilled-squad", "564e9b5"),
    "summarization": ("sshleifer/distilbart-cnn-12-6", "a4f8f3e"),
    "translation_en_to_fr": _T5,
    "translation_en_to_de": _T5,
    "translation_en_to_ro": _T5,
    "text2text-generation": _T5,
    "visual-question-answering": ("dandelin/vilt-b32-finetuned-vqa", "d0a1f6a"),
    "vqa": ("dandelin/vilt-b32-finetuned-vqa", "d0a1f6a"),
    "image-to-text": ("ydshieh/vit-gpt2-coco-en", "5bebf1e"),
    "image-to-image": ("caidas/swin2SR-classical-sr-x2-64", "cee1c92"),
}
_patches: list["Patch"] = []
_original: FunctionType | None = None  # transformers' own body, under another name
_code: CodeType | None = None


class Patch(ContextDecorator):
    """What ``patch()`` returns: undone by ``unpatch()``, by the end of its ``with`` block, or of a decorated function.

    ``built``: how many pipelines of each task were made of this package's; ``left``: of each task that it left to
    transformers.
    """

    def __init__(self) -> None:
        self.built: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self._before = Counter(CALLS)

    @property
    def calls(self) -> Counter[str]:
        """How many calls have reached a pipeline of this package since, by task."""
        return Counter(CALLS) - self._before

    def __enter__(self) -> "Patch":
        if self not in _patches:
            _patches.append(self)
            _apply()
        return self

    def __exit__(self, *_: Any) -> None:
        self.undo()

    def undo(self) -> None:
        """Take this patch away; transformers' own pipelines are back once every patch is."""
        if self in _patches:
            _patches.remove(self)
        if not _patches:
            _restore()


def patch() -> Patch:
    """Put this package's pipelines under ``transformers.pipeline``, wherever that name is already bound.

    A task that only transformers has, and a ``pipeline_class`` of the caller's own, stay with transformers. Where no
    model is given, it is the one that transformers takes.
    The result counts the pipelines it built and the calls that reached them.

    >>> with patch() as patched:  # doctest: +SKIP
    ...     import program_that_imports_transformers
    ...     program_that_imports_transformers.run()
    >>> patched.built, patched.calls  # doctest: +SKIP
    (Counter({'token-classification': 1}), Counter({'token-classification': 40}))
    """
    return Patch().__enter__()


def unpatch() -> None:
    """Take every patch away."""
    for patched in list(_patches):
        patched.undo()


def _stand_in(*args: Any, **kwargs: Any) -> Any:
    # The body that transformers' function is given runs with its globals: everything is imported here.
    from afterlogits.adapters.patching import build

    return build(*args, **kwargs)


def build(*args: Any, **kwargs: Any) -> Any:
    """A pipeline for a call of ``transformers.pipeline`` while it is patched."""
    assert _original is not None
    given = dict(inspect.signature(_original).bind_partial(*args, **kwargs).arguments)
    given.update(given.pop("kwargs", {}))
    task, kind = given.get("task"), given.get("pipeline_class")
    own = kind is None or getattr(kind, "__module__", "").startswith("transformers.")
    if own and (task is None or _known(task)):
        if given.get("model") is None and task is not None:
            given["model"], revision = _default_model(task)
            given.setdefault("revision", revision)
        # By name: the order of the last parameters is not the same in versions 4 and 5.
        built = pipeline(**given)
        _count("built", built.task)
        return built
    left = _original(*args, **kwargs)
    _count("left", str(task))
    return left


def _default_model(task: str) -> tuple[Any, Any]:
    """The model that transformers takes where none is given, and its revision; (None, None) where it has none either.

    Never the checkpoint of this package: a program that cannot be edited expects what it always got.
    """
    from transformers import pipelines

    try:
        _, row, languages = pipelines.check_task(task)
    except (KeyError, ValueError):
        return _DROPPED.get(task, (None, None))
    default = row.get("default", {})
    found = default.get(languages, {}).get("model") if languages else default.get("model")
    found = found.get("pt") if isinstance(found, dict) else found
    return found or (None, None)


def _known(task: Any) -> bool:
    return task in task_names() or (isinstance(task, str) and task.startswith("translation_"))


def _count(what: str, task: str) -> None:
    for patched in _patches:
        getattr(patched, what)[task] += 1


def _target() -> FunctionType:
    from transformers import pipelines

    found: FunctionType = pipelines.pipeline
    return found


def _apply() -> None:
    """Put the stand-in's code into transformers' ``pipeline``, so that names imported before are patched too."""
    global _original, _code
    if _code is not None:
        return
    target = _target()
    _code = target.__code__
    _original = FunctionType(_code, target.__globals__, target.__name__, target.__defaults__, target.__closure__)
    _original.__kwdefaults__ = target.__kwdefaults__
    # Programs look the parameters up: they stay those of transformers.
    target.__signature__ = inspect.signature(target)  # type: ignore[attr-defined]
    target.__code__ = _stand_in.__code__


def _restore() -> None:
    global _original, _code
    if _code is None:
        return
    target = _target()
    target.__code__ = _code
    del target.__signature__  # type: ignore[attr-defined]
    _original = _code = None
