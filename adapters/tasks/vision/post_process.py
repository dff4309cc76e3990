"""transformers' own ``post_process_*`` methods on the kernels: for one call, or under a processor's names for good."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .families import family_of
from .processor_methods import METHODS, Method
from .sam_methods import SAM_METHODS

ALL_METHODS: Mapping[str, Mapping[str, Method]] = {**METHODS, **SAM_METHODS}


def post_process(outputs: Any, processor: Any, method: str, **options: Any) -> Any:
    """What ``processor.post_process_<method>(outputs, **options)`` returns, by the kernels where they know its family.

    outputs: the model's. processor: an image processor, or the processor of a grounded detector. method:
    "object_detection", "panoptic_segmentation", "depth_estimation", ... or the method's whole name. The rule is told by
    the class that defines the method. A method whose family is not known runs as it is.
    Raises AttributeError where the processor has no such method.
    """
    name = method if hasattr(processor, method) else f"post_process_{method}"
    kernel = _kernel(type(processor), processor, name)
    if kernel is None:
        return getattr(processor, name)(outputs, **options)
    return kernel(processor, outputs, **options)


def install_postprocess(processor: Any) -> Any:
    """Put the kernels under the processor's ``post_process_*`` methods from now on; return it.

    Code that calls these methods then gains without a change: the same arguments, the same results. SAM's mask filter
    and mask generation no longer need torchvision. A processor of several parts has its image processor installed too.
    The class name, ``isinstance``, saving and copying stay as they are; what is pickled is the plain processor.
    Methods of families that are not known stay. Raises TypeError where not one method is known.
    """
    inner = getattr(processor, "image_processor", None)
    known = [part for part in (processor, inner) if part is not None and (_installed(part) or _methods_of(part))]
    if not known:
        raise TypeError(f"processor must have a post_process method that is known here; got {type(processor).__name__}")
    for part in known:
        if not _installed(part):
            kind: Any = type(part)
            part.__class__ = _installed_class(kind)
    return processor


def uninstall_postprocess(processor: Any) -> Any:
    """Undo ``install_postprocess``; return the processor. One that is not installed is left as it is."""
    for part in (processor, getattr(processor, "image_processor", None)):
        if part is not None and _installed(part):
            part.__class__ = type(part)._afterlogits_plain
    return processor


class InstalledPostprocess:
    """Marks the class of an installed processor. It pickles and copies as the plain one, the copy installed again."""

    _afterlogits_plain: Any

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain_copy, (type(self)._afterlogits_plain, self.__dict__)

    def __copy__(self) -> Any:
        return install_postprocess(_plain_copy(type(self)._afterlogits_plain, self.__dict__))


def _plain_copy(kind: Any, state: Mapping[str, Any]) -> Any:
    copied = kind.__new__(kind)
    copied.__dict__.update(state)
    return copied


def _installed(processor: Any) -> bool:
    return isinstance(processor, InstalledPostprocess)


def _methods_of(processor: Any) -> list[str]:
    kind = type(processor)
    return [name for name in ALL_METHODS if hasattr(kind, name) and _kernel(kind, processor, name) is not None]


@functools.cache
def _installed_class(kind: Any) -> Any:
    """A subclass of the processor's class, of the same name, with the kernels in the place of the methods they know."""
    example = kind.__new__(kind)
    methods = {name: _kernel(kind, example, name) for name in ALL_METHODS if hasattr(kind, name)}
    body = {name: method for name, method in methods.items() if method is not None}
    body |= {"_afterlogits_plain": kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (InstalledPostprocess, kind), body)


def _kernel(kind: Any, processor: Any, name: str) -> Callable[..., Any] | None:
    """The method ``name`` of a class on the kernels, or None where its family is not known."""
    plain_class = getattr(kind, "_afterlogits_plain", kind)
    plain = getattr(plain_class, name)
    family = family_of(processor, name)
    method = ALL_METHODS.get(name, {}).get(family or "")
    if method is None:
        return None
    signature = inspect.signature(plain)

    @functools.wraps(plain)
    def post_processed(self: Any, *arguments: Any, **options: Any) -> Any:
        bound = signature.bind(self, *arguments, **options)
        bound.apply_defaults()
        given = {key: value for key, value in bound.arguments.items() if key != "self"}
        given |= given.pop("kwargs", {})
        return method(self, given, functools.partial(plain, self))

    return post_processed
