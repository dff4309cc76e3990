"""transformers' image processors without their check of arguments that nobody has given.

Since version 5 each call builds and checks a data class of some twenty fields for what the caller passes beside the
pictures. Where that is ``return_tensors`` alone the check can only pass, at a tenth of a small picture's call.
"""

from functools import cache
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

CHECK = "validate_typed_dict"
_GIVEN = {"return_tensors": "pt"}
_quick: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def quick(processor: Any) -> Any:
    """``processor``, or one that shares all its attributes and does not check ``return_tensors="pt"``.

    A change of the processor's attributes shows in both; the processor itself and transformers stay as they are.
    """
    kind: Any = type(processor)
    own = _unchecked(kind)
    if own is None:
        return processor
    found = _quick.get(processor)
    if type(found) is not own:
        found = object.__new__(own)
        found.__dict__ = processor.__dict__
        _quick[processor] = found
    return found


@cache
def _unchecked(kind: Any) -> type[Any] | None:
    """A subclass in whose line ``BaseImageProcessor.preprocess``, which all kinds call in the end, checks less.

    None for what is no image processor of transformers, or compares by anything but identity.
    """
    base = _base()
    if base is None or not issubclass(kind, base.__mro__[1]) or kind.__hash__ is not object.__hash__:
        return None
    return type(kind.__name__, (kind, base), {"__module__": kind.__module__, "__doc__": kind.__doc__})


@cache
def _base() -> type[Any] | None:
    from transformers.image_processing_utils import BaseImageProcessor

    method = getattr(BaseImageProcessor, "preprocess", None)
    if not isinstance(method, FunctionType) or method.__closure__ or CHECK not in method.__globals__:
        return None
    check = method.__globals__[CHECK]

    def only_what_is_given(schema: Any, given: dict[str, Any]) -> None:
        if given != _GIVEN:
            check(schema, given)

    scope = {**method.__globals__, CHECK: only_what_is_given}
    own = FunctionType(method.__code__, scope, method.__name__, method.__defaults__)
    own.__kwdefaults__ = method.__kwdefaults__
    return type(BaseImageProcessor.__name__, (BaseImageProcessor,), {"preprocess": own})
