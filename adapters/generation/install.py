"""Three ways into the same engine: ``generate(model, ...)``, ``install(model)`` and ``custom_generate``."""

import copy
import functools
import warnings
from typing import TYPE_CHECKING, Any, overload

from .arguments import check_seeds
from .fallback import FallbackEngine
from .generation_mixin import Engine
from .modes.beam import run_beam_search
from .modes.removed_modes import REMOVED_MODES
from .modes.sample import run_sample
from .request import split_request
from .speculation import run_assisted, why_not_assisted
from .wrapped_models import generating_model, with_inner, without_compilation

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .generate_arguments import GenerateArguments

__all__ = ["custom_generate", "engine_view", "generate", "install", "uninstall"]


# Options of the engine that a wrapper's own generate is told of only where they are asked for.
_OFF = {"seeds": None, "compact": False, "shared_prefill": True}


@overload
def generate(
    model: Any,
    inputs: Any = None,
    *,
    seeds: Any = None,
    compact: bool = False,
    shared_prefill: bool = True,
    **kwargs: "Unpack[GenerateArguments]",
) -> Any: ...
@overload  # a model's own inputs, whatever their names
def generate(model: Any, inputs: Any = None, *arguments: Any, **kwargs: Any) -> Any: ...
def generate(
    model: Any,
    inputs: Any = None,
    *arguments: Any,
    seeds: Any = None,
    compact: bool = False,
    shared_prefill: bool = True,
    **kwargs: Any,
) -> Any:
    """``model.generate(inputs, ...)`` on this engine: the same arguments, the same tokens, and more per row.

    temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, top_h, repetition_penalty,
    no_repeat_ngram_size, min_new_tokens, max_new_tokens: also a list or tensor with one value per prompt, or per row of
    the result where ``num_return_sequences`` makes several; a row then has the tokens of a call of its own. None in a
    list is "off". eos_token_id: also a list of lists, one per prompt.
    frequency_penalty, presence_penalty (of new tokens alone), logit_bias, allowed_token_ids, the ``dry_*`` options,
    top_n_sigma, xtc_probability, xtc_threshold, dynamic_temperature, dynamic_exponent: what transformers lacks, one
    value or one per row, as in ``decoding.SamplingParams``; the last five need ``do_sample``.
    seeds: ints, one per prompt; a row's draws then depend on its seed alone, whatever else is in the batch. Without
    seeds the draws are torch's, and transformers'.
    compact: rows that have finished leave the batch, where nothing that is asked for or looks on needs every row. The
    tokens of the others stay the same up to near ties that other matrix sizes may round differently.
    shared_prefill: run a prompt once for all its beams or returned sequences. Off where a forward hook that is not
    torch's, transformers' or accelerate's looks on, for it may count rows; rows do not leave then either.
    The model itself is left as it is, for other threads too. It may be wrapped: by PEFT, torch.compile, data
    parallelism, a value head. What this engine does not cover runs on transformers' loops, with one warning that says
    why.
    Raises TypeError if ``model`` cannot generate; ValueError naming an option whose rows do not fit.
    """
    # Some models' own generate knows no positional input, so none is passed where none was given.
    positional = () if inputs is None and not arguments else (inputs, *arguments)
    if generating_model(model) is None:
        return _by_its_own_generate(model, positional, kwargs, asks_for_more=seeds is not None)
    view = engine_view(model)
    own = {"seeds": seeds, "compact": compact, "shared_prefill": shared_prefill}
    asked = {name: value for name, value in own.items() if value is not _OFF[name]}
    return view.generate(*positional, **asked, **kwargs)


def install(model: Any) -> Any:
    """Make ``model.generate`` run on this engine from now on; return the model.

    It also takes the further options of ``generate``. The model keeps its class name, is an instance of its class,
    saves, loads, moves, compiles and deep-copies as before; what is pickled is the plain model, which loads anywhere.
    Of a model that is wrapped (by PEFT, torch.compile, data parallelism, a value head), what is inside is installed.
    Raises TypeError if ``model`` cannot generate.
    """
    inner = generating_model(model)
    if inner is None:
        raise TypeError(f"model must be a transformers model that can generate; got {type(model).__name__}")
    if not isinstance(inner, Engine):
        kind: Any = type(inner)
        inner.__class__ = _engine_class(kind)
    return model


def uninstall(model: Any) -> Any:
    """Undo ``install``; return the model. A model that is not installed is left as it is."""
    inner = generating_model(model)
    if isinstance(inner, Engine):
        inner.__class__ = type(inner)._afterlogits_base
    return model


def custom_generate(
    model: Any,
    input_ids: Any,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    seeds: Any = None,
    compact: bool = False,
    shared_prefill: bool = True,
    row_options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """The engine for one call: ``model.generate(..., custom_generate=custom_generate)``.

    seeds, compact, shared_prefill: as in ``generate``. row_options: the per-row options by name, because
    ``model.generate`` itself takes one value for all rows. A streamer does not reach a custom loop of transformers: use
    ``generate`` with it.
    """
    check_seeds(seeds)
    request, _ = split_request(seeds, compact, dict(row_options or {}), shared_prefill=shared_prefill)
    unused = [name for name in row_options or () if name not in request.asked]
    if unused:
        raise ValueError(f"row_options must hold options with a value per row; got {unused[0]}")
    mode = generation_config.get_generation_mode()
    if mode in REMOVED_MODES:
        run = REMOVED_MODES[mode]
    elif generation_config.num_beams > 1:
        run = run_beam_search
    elif mode == "assisted_generation" and not why_not_assisted(
        model,
        input_ids,
        {"logits_processor": logits_processor, "generation_config": generation_config, **kwargs},
    ):
        run = run_assisted
    else:  # what cannot be guessed ahead is decoded token by token: the answer is the same
        run = run_sample
    return run(
        model,
        input_ids,
        logits_processor=logits_processor,
        stopping_criteria=stopping_criteria,
        generation_config=generation_config,
        request=request,
        **kwargs,
    )


def _by_its_own_generate(
    model: Any, positional: tuple[Any, ...], kwargs: dict[str, Any], *, asks_for_more: bool
) -> Any:
    """A wrapper that is no transformers model but generates, such as one with adapters, is left to itself."""
    name = type(model).__name__
    if not callable(getattr(model, "generate", None)):
        raise TypeError(f"model must be a transformers model that can generate; got {name}")
    if asks_for_more or split_request(None, False, kwargs)[0].asks_for_more:
        raise ValueError(f"model must be a transformers model for per-row options; got {name}")
    warnings.warn(
        f"{name} is decoded by its own generate: it is not a transformers model.", RuntimeWarning, stacklevel=3
    )
    return model.generate(*positional, **kwargs)


def engine_view(model: Any) -> Any:
    """``model`` under the engine's class, itself left as it is. Raises TypeError if it cannot generate."""
    if generating_model(model) is None:
        raise TypeError(f"model must be a transformers model that can generate; got {type(model).__name__}")
    return with_inner(without_compilation(model), _view)


def _view(model: Any) -> Any:
    """The same model under the engine's class: a second object that shares all state; ``model`` is not touched."""
    if isinstance(model, Engine):
        return model
    base: Any = type(model)
    kind = _engine_class(base)
    view = kind.__new__(kind)
    object.__setattr__(view, "__dict__", model.__dict__)
    return view


@functools.cache
def _engine_class(base: Any) -> Any:
    """``base`` with the engine's loops, under the same name: saved configurations name the architecture by it."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    engine: Any = FallbackEngine if hasattr(base, "generate_with_fallback") else Engine
    kind: Any = type(base.__name__, (_Installed, engine, base), {**names, "_afterlogits_base": base})
    # Not as methods: wrappers hand every attribute that they lack to the model, and would be copied as the model alone.
    copy._copy_dispatch[kind] = _copied  # type: ignore[attr-defined]
    copy._deepcopy_dispatch[kind] = _deep_copied  # type: ignore[attr-defined]
    return kind


def _copied(model: Any) -> Any:
    kind: Any = type(model)
    twin = kind.__new__(kind)
    twin.__dict__.update(model.__dict__)
    return twin


def _deep_copied(model: Any, memo: dict[int, Any]) -> Any:
    kind: Any = type(model)
    twin = kind.__new__(kind)
    memo[id(model)] = twin
    twin.__dict__.update(copy.deepcopy(model.__dict__, memo))
    return twin


class _Installed:
    """How an installed model is pickled, its class not being one that can be found by name."""

    _afterlogits_base: Any

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As the plain model, so that what is saved loads where afterlogits is not installed."""
        plain = self._afterlogits_base.__new__(self._afterlogits_base)
        object.__setattr__(plain, "__dict__", self.__dict__)
        return (object.__new__, (self._afterlogits_base,), *plain.__reduce_ex__(max(protocol, 2))[2:])
