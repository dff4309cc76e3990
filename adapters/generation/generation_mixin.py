"""The methods that replace transformers' own decoding loops on a model.

``GenerationMixin.generate`` prepares a call (configuration, processors, criteria, cache, encoder) and looks its loop up
on the model's class; ``Engine`` puts this package's loops there and leaves the preparation to transformers. What it
does not cover goes to transformers' loop, with one warning that says why.
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import GenerationMixin
from transformers.generation import utils as library

from ..running.roomy_stack import with_room
from .arguments import check_seeds, explain
from .captured_call import Captured, Capturing
from .grammar import take_grammars
from .modes.beam import run_beam_search
from .modes.removed_modes import REMOVED_MODES
from .modes.sample import run_sample
from .remembered_preparation import RememberedPreparation
from .request import Pending, Request, current_pending, current_request, requested, split_request
from .speculation import run_assisted, why_not_assisted

__all__ = ["Engine"]

_WARNED: set[tuple[str, str]] = set()


class Engine(RememberedPreparation):
    """Mixed in before a model's own class; see ``generation.install``."""

    def generate(
        self,
        *arguments: Any,
        seeds: Any = None,
        compact: bool = False,
        shared_prefill: bool = True,
        **options: Any,
    ) -> Any:
        """The model's own ``generate``, which also takes the options of ``generation.generate``."""
        check_seeds(seeds)
        given = dict(options)
        try:
            options = take_grammars(self, options)
            request, options = split_request(
                seeds, compact, options, shared_prefill=shared_prefill, own_sequences=self._own_sequences
            )
            pending, options = self._pending(request, options)
            with requested(pending):
                answer = with_room(super().generate, arguments, options)
            if not pending.taken and _has_own_generate(self):
                _fall_through(self, "its own generate uses none of its decoding loops", request)
            return answer
        except BaseException as error:
            # Whoever iterates over a stream in another thread must not wait for ever.
            fail = getattr(options.get("streamer"), "fail", None)
            if callable(fail):
                fail(error)
            named = explain(error, given, (given.get("generation_config"), getattr(self, "generation_config", None)))
            if named is not None:
                raise named from error
            raise

    # Options of which a model's own generate takes several with a meaning of its own.
    _own_sequences: frozenset[str] = frozenset()

    def _pending(self, request: Request, options: dict[str, Any]) -> tuple[Pending, dict[str, Any]]:
        """How ``request`` is handed to the loops of a call, and the arguments for the model's own ``generate``."""
        return Pending(request), options

    def _sample(self, input_ids: Tensor, **prepared: Any) -> Any:
        return self._decode("_sample", run_sample, input_ids, prepared)

    def _beam_search(self, input_ids: Tensor, **prepared: Any) -> Any:
        return self._decode("_beam_search", run_beam_search, input_ids, prepared)

    def _assisted_decoding(self, input_ids: Tensor, inputs_tensor: Any = None, **prepared: Any) -> Any:
        # Transformers hands ``inputs_tensor`` to a loop that names it.
        prepared["inputs_tensor"] = inputs_tensor
        return self._decode("_assisted_decoding", run_assisted, input_ids, prepared, why_not_assisted)

    def _decode(
        self,
        method: str,
        run: Callable[..., Any],
        input_ids: Tensor,
        prepared: dict[str, Any],
        why_not: Callable[..., str | None] = lambda *_: None,
    ) -> Any:
        """This engine's loop on what transformers prepared, or transformers' own loop where this one does not serve."""
        if isinstance(current_pending(), Capturing):
            return Captured(method, input_ids, prepared)
        config = prepared["generation_config"]
        request = current_request(config, input_ids.shape[0] // int(config.num_beams or 1))
        reason = _not_covered(self, method, bool(prepared.get("synced_gpus")), config)
        reason = reason or why_not(self, input_ids, prepared)
        if reason is not None:
            _fall_through(self, reason, request)
            return getattr(super(), method)(input_ids, **prepared)
        prepared.pop("synced_gpus", None)
        return run(self, input_ids, request=request, **prepared)

    def _get_deprecated_gen_repo(self, *args: Any, **kwargs: Any) -> None:
        """The modes transformers keeps on its Hub run here: no repository is needed."""


# For whoever asks a model what its generate takes, as pipelines and trainers do.
_parameters = inspect.signature(GenerationMixin.generate).parameters
_named = [one for one in _parameters.values() if one.kind is not one.VAR_KEYWORD]
_own = ("seeds", "compact", "shared_prefill")
_further = [one for one in inspect.signature(Engine.generate).parameters.values() if one.name in _own]
Engine.generate.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [*_named, *_further, *(one for one in _parameters.values() if one.kind is one.VAR_KEYWORD)]
)

# Transformers finds the loop of such a mode by the name of its repository; see ``generate``.
for _mode, _run in REMOVED_MODES.items():
    setattr(Engine, library.GENERATION_MODES_MAPPING[_mode], _run)


def _has_own_generate(model: Any) -> bool:
    own = next(kind for kind in type(model).__mro__ if "generate" in vars(kind) and not issubclass(kind, Engine))
    return own is not GenerationMixin


def _not_covered(model: Any, method: str, synced_gpus: bool, config: Any) -> str | None:
    """Why transformers' own loop must run, or None."""
    own = next((kind for kind in type(model).__mro__ if method in vars(kind) and kind is not Engine), GenerationMixin)
    if own is not GenerationMixin:
        return f"it has its own {method}"
    if synced_gpus:
        return "its forward calls are synchronised across GPUs"
    if getattr(config, "prefill_chunk_size", None) is not None and not hasattr(model, "_prefill"):
        return "this version of transformers prefills in chunks inside its own loop"
    return None


def _fall_through(model: Any, reason: str, request: Request | None) -> None:
    name = type(model).__name__
    if request is not None and request.asks_for_more:
        raise ValueError(f"{name} must be decoded by this engine for per-row options; got a model where {reason}")
    if (name, reason) not in _WARNED:
        _WARNED.add((name, reason))
        warnings.warn(f"{name} is decoded by transformers' own loop: {reason}.", RuntimeWarning, stacklevel=5)
