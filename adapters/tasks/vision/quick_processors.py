"""transformers' image processors with a check of what is passed to them, and not of what nobody has passed.

Since version 5 each call builds and checks a data class of the twenty arguments that a processor may be given, as its
``valid_kwargs`` lists them. The tasks pass ``return_tensors`` alone: of a class that lists no more, the check takes
3 us in place of 20, of 110 to 130 that a small picture takes.
"""

from functools import cache
from typing import Any, TypedDict
from weakref import WeakKeyDictionary

_quick: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


class OnlyTensors(TypedDict, total=False):
    """What the tasks pass beside the pictures."""

    return_tensors: Any


def quick(processor: Any) -> Any:
    """``processor``, or one that shares all its attributes and takes no argument but ``return_tensors``.

    A change of the processor's attributes shows in both; the processor itself and transformers stay as they are.
    """
    kind: Any = type(processor)
    own = _listing_less(kind) if _names_are_noted(processor) else None
    if own is None:
        return processor
    found = _quick.get(processor)
    if type(found) is not own:
        found = object.__new__(own)
        found.__dict__ = processor.__dict__
        _quick[processor] = found
    return found


def _names_are_noted(processor: Any) -> bool:
    """Whether the arguments' names, which a call gives their defaults, were noted when the processor was made, and are
    read from there: only then is the list asked for the check alone."""
    return "_valid_kwargs_names" in getattr(processor, "__dict__", ()) and _names_are_read()


@cache
def _names_are_read() -> bool:
    from transformers.image_processing_utils import BaseImageProcessor

    method = getattr(BaseImageProcessor, "preprocess", None)
    return "_valid_kwargs_names" in getattr(getattr(method, "__code__", None), "co_names", ())


@cache
def _listing_less(kind: Any) -> type[Any] | None:
    """A subclass that lists ``return_tensors`` alone; None of classes that are not transformers' own, or compare by
    anything but identity."""
    if not kind.__module__.startswith("transformers.models.") or kind.__hash__ is not object.__hash__:
        return None
    made = {"__module__": kind.__module__, "__doc__": kind.__doc__, "valid_kwargs": OnlyTensors}
    return type(kind.__name__, (kind,), made)
