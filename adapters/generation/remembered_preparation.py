"""What transformers works out anew for every call of ``generate``, though nothing that it depends on has changed.

To prepare a call, transformers completes a generation configuration from the model's own, checks it three times, looks
through the model's configuration and reads the signatures of the model's methods: for a few tokens of a small model
that is a quarter of the call. Here the outcome is kept beside everything that it was made of, and used again where all
of that is as it was; anything else is for transformers itself, and so are classes with a step of their own.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from operator import is_
from types import NoneType
from typing import Any

from transformers import GenerationConfig, GenerationMixin

from .model_inputs import parameters_of

__all__ = ["RememberedPreparation"]

_PLAIN = (NoneType, bool, int, float, str)
_PARAMETERS = frozenset(vars(GenerationConfig()))
_ALIKE = 8  # outcomes kept for calls with the same names of arguments
_MOST = 256

# transformers' own steps; a class with another keeps that.
_LIBRARY: Any = GenerationMixin
_PREPARES, _VALIDATES = _LIBRARY._prepare_generation_config, _LIBRARY._validate_model_kwargs
_KEEPS_LOGITS = _LIBRARY._supports_logits_to_keep
_ENCODES_BEFORE = getattr(_LIBRARY, "_supports_mm_encoder_outputs", None)


class RememberedPreparation(GenerationMixin):  # type: ignore[misc]
    """Steps of transformers' preparation whose outcome is kept; mixed in before a model's own class."""

    def _prepare_generation_config(self, generation_config: Any = None, *beside: Any, **kwargs: Any) -> Any:
        """The completed configuration of a call, and the arguments that are no part of it."""
        step = super()._prepare_generation_config
        if not _is(step, _PREPARES) or not all(type(one) in (NoneType, bool) for one in beside):
            return step(generation_config, *beside, **kwargs)
        names = (*beside, *kwargs)
        for kept in _PREPARED.get(names, ()):
            if kept.follows_from(self, generation_config, kwargs):
                return kept.again(kwargs)
        before = Origin.of(self, generation_config, kwargs)
        found, rest = step(generation_config, *beside, **kwargs)
        if before is not None and before.is_still(self, generation_config):
            outcome = Outcome.of(before, found, rest, kwargs)
            if outcome is not None:
                _remember(names, outcome)
        return found, rest

    def _validate_model_kwargs(self, model_kwargs: dict[str, Any]) -> None:
        """Refuse arguments that the model has no use for: names alone matter, and what the methods take."""
        step = super()._validate_model_kwargs
        methods = _asked_methods(self) if _is(step, _VALIDATES) else None
        if methods is None:
            step(model_kwargs)
            return
        known = (*methods, *(name for name, value in model_kwargs.items() if value is not None))
        if known not in _VALID:
            step(model_kwargs)
            if len(_VALID) >= _MOST:
                _VALID.clear()
            _VALID.add(known)

    def _supports_logits_to_keep(self) -> bool:
        step = super()._supports_logits_to_keep
        return "logits_to_keep" in parameters_of(self.forward) if _is(step, _KEEPS_LOGITS) else bool(step())

    def _supports_mm_encoder_outputs(self) -> bool:
        step = super()._supports_mm_encoder_outputs
        return "mm_encoder_outputs" in parameters_of(self.forward) if _is(step, _ENCODES_BEFORE) else bool(step())


@dataclass(frozen=True)
class Fields:
    """The attributes of a generation configuration as they were: names, types, and copies of the values."""

    names: list[str]
    types: list[type]
    values: list[Any]

    @classmethod
    def of(cls, config: Any) -> "Fields | None":
        """None where a value is an object of its own, of which nobody knows what it holds."""
        if type(config) is not GenerationConfig or not all(map(_is_plain, vars(config).values())):
            return None
        held = vars(config)
        return cls([*held], [*map(type, held.values())], deepcopy([*held.values()]))

    def are_those_of(self, config: Any) -> bool:
        """Whether ``config`` holds the same; 1, 1.0 and True are not."""
        if type(config) is not GenerationConfig:
            return False
        held = vars(config)
        types = [*map(type, held.values())]
        return [*held] == self.names and types == self.types and _equal([*held.values()], self.values)


@dataclass(frozen=True)
class Origin:
    """What a prepared configuration is made of: the model's own configurations, and the call's.

    of_model: the attributes of the model's configuration, which transformers searches for parameters of generation:
    the objects themselves, since what it searches for are no containers here.
    """

    kind: type
    names_of_model: list[str]
    of_model: list[Any]
    own: Fields
    given: Fields | None

    @classmethod
    def of(cls, model: Any, given: Any, kwargs: Mapping[str, Any]) -> "Origin | None":
        """None where it cannot be told from what it may become."""
        held = vars(model.config)
        own = Fields.of(model.generation_config)
        given_fields = None if given is None else Fields.of(given)
        if own is None or (given is not None and given_fields is None):
            return None
        if any(type(held.get(name)) not in _PLAIN for name in _PARAMETERS):
            return None
        return cls(type(model.config), [*held], [*held.values()], own, given_fields)

    def is_still(self, model: Any, given: Any) -> bool:
        """Whether a call would start from the same."""
        held = vars(model.config)
        return (
            type(model.config) is self.kind
            and [*held] == self.names_of_model
            and all(map(is_, self.of_model, held.values()))
            and self.own.are_those_of(model.generation_config)
            and (given is None if self.given is None else given is not None and self.given.are_those_of(given))
        )


@dataclass(frozen=True)
class Outcome:
    """A prepared configuration and the arguments it left, with what they are made of.

    taken: the arguments that went into it. lists: those of them that it holds as they were given. owned: its own
    values that are containers, of which every call has new ones. left: names of the arguments that it left; added:
    what stands beside these.
    """

    origin: Origin
    taken: dict[str, Any]
    fields: dict[str, Any]
    lists: Sequence[str]
    owned: Sequence[str]
    left: Sequence[str]
    added: dict[str, Any]

    @classmethod
    def of(cls, origin: Origin, found: Any, rest: Mapping[str, Any], kwargs: Mapping[str, Any]) -> "Outcome | None":
        """None where a part of it cannot be made again."""
        left, held = [name for name in kwargs if name in rest], vars(found)
        taken = {name: value for name, value in kwargs.items() if name not in rest}
        added = {name: value for name, value in rest.items() if name not in kwargs}
        if type(found) is not GenerationConfig or [*rest] != [*left, *added]:
            return None
        if not all(map(_is_plain, (*taken.values(), *held.values(), *added.values()))):
            return None
        lists, containers = _containers(taken), _containers(held)
        if not all(held.get(name) is taken[name] for name in lists):
            return None
        fields = {name: None if name in lists else deepcopy(value) for name, value in held.items()}
        owned = [name for name in containers if name not in lists]
        return cls(origin, deepcopy(taken), fields, lists, owned, left, added)

    def follows_from(self, model: Any, given: Any, kwargs: Mapping[str, Any]) -> bool:
        """Whether a call with arguments of these names has this outcome."""
        for name, kept in self.taken.items():
            value = kwargs[name]
            if type(value) is not type(kept) or not _equal(value, kept):
                return False
        return self.origin.is_still(model, given)

    def again(self, kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The same for another call, which may write into it."""
        config: Any = GenerationConfig.__new__(GenerationConfig)
        fields = dict(self.fields)
        for name in self.owned:
            fields[name] = deepcopy(fields[name])
        for name in self.lists:
            fields[name] = kwargs[name]
        config.__dict__ = fields
        return config, {**{name: kwargs[name] for name in self.left}, **self.added}


_PREPARED: dict[tuple[Any, ...], tuple[Outcome, ...]] = {}
_VALID: set[tuple[Any, ...]] = set()


def _remember(names: tuple[Any, ...], outcome: Outcome) -> None:
    if len(_PREPARED) >= _MOST:
        _PREPARED.clear()
    _PREPARED[names] = (outcome, *_PREPARED.get(names, ())[: _ALIKE - 1])


def _is(step: Any, function: Any) -> bool:
    """Whether a method is transformers' own."""
    return getattr(step, "__func__", None) is function


def _equal(value: Any, kept: Any) -> bool:
    """Whether ``value`` is the plain value ``kept``; containers may hold tensors by now."""
    try:
        return bool(value == kept)
    except (RuntimeError, ValueError):
        return False


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, None or a container of them."""
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(one) for key, one in value.items())
    return type(value) in _PLAIN


def _containers(values: Mapping[str, Any]) -> list[str]:
    """The names of what can be written into."""
    return [name for name, value in values.items() if type(value) not in _PLAIN]


def _asked_methods(model: Any) -> tuple[Any, ...] | None:
    """The methods whose arguments a call may have, and whether there is an encoder; None if one is not a class's."""
    bound = [model.prepare_inputs_for_generation, model.forward]
    is_encoder_decoder = bool(model.config.is_encoder_decoder)
    if is_encoder_decoder:
        base = getattr(model, model.base_model_prefix, None)
        for name in ("encoder", "decoder"):
            part = getattr(model, name, None)
            part = getattr(base, name, None) if part is None else part
            bound.append(None if part is None else part.forward)
    found = [None if one is None else getattr(one, "__func__", model) for one in bound]
    return None if any(one is model for one in found) else (is_encoder_decoder, *found)
