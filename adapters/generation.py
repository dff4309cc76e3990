"""Three ways into the same engine: ``generate(model, ...)``, ``install(model)`` and ``custom_generate``."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import GenerationMixin

from .engine import Engine, run_beam_search, run_sample
from .request import PENDING, Request

__all__ = ["custom_generate", "generate", "install", "uninstall"]


def generate(model: Any, inputs: Any = None, **kwargs: Any) -> Any:
    """``model.generate(inputs, **kwargs)`` on this engine: the same arguments, the same tokens.

    The model itself is left as it is, for other threads too.
    """
    if not isinstance(model, GenerationMixin):
        raise TypeError(f"model must be a transformers model that can generate; got {type(model).__name__}")
    with _request(Request()):
        return _view(model).generate(inputs, **kwargs)


def install(model: Any) -> Any:
    """Make ``model.generate`` run on this engine from now on; return the model."""
    if not isinstance(model, GenerationMixin):
        raise TypeError(f"model must be a transformers model that can generate; got {type(model).__name__}")
    if not isinstance(model, Engine):
        model.__class__ = _engine_class(type(model))
    return model


def uninstall(model: Any) -> Any:
    """Undo ``install``; return the model. A model that is not installed is left as it is."""
    if isinstance(model, Engine):
        model.__class__ = type(model)._afterlogits_base
    return model


def custom_generate(
    model: Any, input_ids: Any, logits_processor: Any, stopping_criteria: Any, generation_config: Any, **kwargs: Any
) -> Any:
    """The engine for one call: ``model.generate(..., custom_generate=custom_generate)``."""
    run = run_beam_search if generation_config.num_beams > 1 else run_sample
    return run(model, input_ids, logits_processor, stopping_criteria, generation_config, **kwargs)


@contextmanager
def _request(request: Request) -> Iterator[None]:
    token = PENDING.set(request)
    try:
        yield
    finally:
        PENDING.reset(token)


def _view(model: Any) -> Any:
    """The same model under the engine's class: a second object that shares all state; ``model`` is not touched."""
    if isinstance(model, Engine):
        return model
    kind = _engine_class(type(model))
    view = kind.__new__(kind)
    object.__setattr__(view, "__dict__", model.__dict__)
    return view


@functools.cache
def _engine_class(base: type) -> type:
    """``base`` with the engine's loops, under the same name: saved configurations name the architecture by it."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (_Installed, Engine, base), {**names, "_afterlogits_base": base})


class _Installed:
    """How an installed model is copied and pickled, its class not being one that can be found by name."""

    _afterlogits_base: type

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As the plain model, so that what is saved loads where afterlogits is not installed."""
        plain = self._afterlogits_base.__new__(self._afterlogits_base)
        object.__setattr__(plain, "__dict__", self.__dict__)
        return (object.__new__, (self._afterlogits_base,), *plain.__reduce_ex__(max(protocol, 2))[2:])

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin
