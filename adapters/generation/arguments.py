"""What is wrong with the arguments of ``generate``, said by name.

transformers ignores many a wrong argument that a call does not use, so that nothing is refused ahead: a call that has
failed without a name in its error is explained.
"""

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["check_seeds", "explain", "whole_numbers"]

# Options that are one number, or one per row where the engine takes rows.
_NUMBERS = (
    *("max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time", "num_beams", "num_return_sequences"),
    *("num_beam_groups", "diversity_penalty", "length_penalty", "penalty_alpha", "guidance_scale", "temperature"),
    *("top_k", "top_p", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff", "repetition_penalty"),
    *("encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
    *("prompt_lookup_num_tokens", "max_matching_ngram_size", "num_assistant_tokens", "assistant_early_exit"),
    *("assistant_confidence_threshold", "frequency_penalty", "presence_penalty", "top_n_sigma", "xtc_probability"),
    *("xtc_threshold", "dynamic_temperature", "dynamic_exponent", "dry_multiplier", "dry_base", "dry_allowed_length"),
    "dry_penalty_last_n",
)
_COUNTS = (
    "num_beams",
    "num_return_sequences",
    "num_beam_groups",
    "prompt_lookup_num_tokens",
    "max_matching_ngram_size",
)
_TOKENS = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id")
_CALLABLES = ("logits_processor", "stopping_criteria")


def explain(error: BaseException, options: Mapping[str, Any], configs: Iterable[Any]) -> Exception | None:
    """An error that names the argument of a failed call which explains ``error``, or None.

    options: the arguments. configs: the configurations that they complete. An error that names the argument itself,
    as transformers' own checks do, needs no explanation.
    """
    if not isinstance(error, TypeError | ValueError | AttributeError | ArithmeticError | RuntimeError | LookupError):
        return None
    where = [dict(options)]
    for config in configs:  # there, None is a default
        where.append({name: value for name, value in getattr(config, "__dict__", {}).items() if value is not None})
    try:
        for values in where:
            _check_arguments(values)
    except (TypeError, ValueError) as found:
        return None if str(found).split(" ", 1)[0] in str(error) else found
    return None


def _check_arguments(options: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError naming an argument that transformers cannot use where it uses it at all."""
    for name in _NUMBERS:
        _check_number(name, options.get(name))
    for name in _COUNTS:
        if name in options and (options[name] is not None or name in ("num_beams", "num_return_sequences")):
            _check_count(name, options[name])
    for name in _TOKENS:
        _check_tokens(name, options.get(name))
    for name in _CALLABLES:
        _check_callables(name, options.get(name))
    prefix = options.get("prefix_allowed_tokens_fn")
    if prefix is not None and not callable(prefix):
        raise TypeError(f"prefix_allowed_tokens_fn must be a function; got {type(prefix).__name__}")
    streamer = options.get("streamer")
    if streamer is not None and not (hasattr(streamer, "put") and hasattr(streamer, "end")):
        raise TypeError(f"streamer must have put and end; got {type(streamer).__name__}")


def check_seeds(seeds: Any) -> None:
    """Raise TypeError unless there are several seeds, or none."""
    if seeds is not None and (not isinstance(seeds, Iterable) or (isinstance(seeds, Tensor) and not seeds.ndim)):
        raise TypeError(f"seeds must be ints, one per prompt; got {seeds!r}")


def whole_numbers(name: str, values: Iterable[Any], least: int) -> list[int]:
    """``values``, one per row, as ints of at least ``least``.

    >>> whole_numbers("max_new_tokens", [3, 2.0], 1)
    [3, 2]
    """
    rows = list(values)
    if not rows:
        raise ValueError(f"{name} must have one value per row; got none")
    for row, value in enumerate(rows):
        if isinstance(value, str) or not hasattr(value, "__int__") or int(value) != value or value < least:
            kind: Any = ValueError if hasattr(value, "__int__") and not isinstance(value, str) else TypeError
            raise kind(f"{name} must be an integer >= {least}; got {value!r} in row {row}")
    return [int(value) for value in rows]


def _check_count(name: str, value: Any) -> None:
    """A count of Python, numpy or torch is at least 1."""
    try:
        count = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer >= 1; got {value!r}") from None
    if count < 1:
        raise ValueError(f"{name} must be an integer >= 1; got {count}")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, str | bytes | Mapping | set | frozenset):
        raise TypeError(f"{name} must be a number; got {value!r}")


def _check_tokens(name: str, value: Any) -> None:
    """Ids are whole numbers; what holds several may hold lists, one per row."""
    for entry in value if isinstance(value, list | tuple) else [value]:
        is_none = entry is None and isinstance(value, list | tuple)
        if is_none or not isinstance(entry, int | float | list | tuple | Tensor | np.ndarray | np.generic | None):
            raise TypeError(f"{name} must be a token id or a list of them; got {value!r}")


def _check_callables(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of functions; got {type(value).__name__}")
    entry = next((entry for entry in value if not callable(entry)), None)
    if isinstance(value, list | tuple) and entry is not None:
        raise TypeError(f"{name} must be a list of functions; got {entry!r} in it")
