"""The keyword arguments of a forward: what they are called, and what becomes of them when rows change."""

import inspect
from functools import cache
from typing import Any

from torch import Tensor
from transformers.generation import utils as library

__all__ = ["CACHE", "SHAREABLE", "input_names", "one_of_each", "parameters_of", "rows_of"]

# What a forward takes and gives its cache as: ``past_key_values``, from transformers 5.24 on ``cache``.
CACHE = "cache" if "cache" in library.GenerateDecoderOnlyOutput.__dataclass_fields__ else "past_key_values"

# What a prompt may consist of for its forward to run once and be repeated afterwards.
SHAREABLE = frozenset(
    {
        CACHE,
        "attention_mask",
        "decoder_attention_mask",
        "decoder_position_ids",
        "encoder_outputs",
        "logits_to_keep",
        "output_attentions",
        "output_hidden_states",
        "position_ids",
        "token_type_ids",
        "use_cache",
    }
)


def parameters_of(forward: Any) -> frozenset[str]:
    """The names of the arguments of a model's forward; those of a class's method are read once."""
    of_class = getattr(forward, "__func__", None)
    return frozenset(inspect.signature(forward).parameters) if of_class is None else _parameters_of(of_class)


@cache
def _parameters_of(method: Any) -> frozenset[str]:
    return frozenset(inspect.signature(method).parameters)


def input_names(is_encoder_decoder: bool) -> dict[str, str]:
    """What a forward calls the tokens, positions and mask that change at every step."""
    prefix = "decoder_" if is_encoder_decoder else ""
    return {
        "token_ids": f"{prefix}input_ids",
        "position_ids": f"{prefix}position_ids",
        "mask": f"{prefix}attention_mask",
    }


def rows_of(value: Any, rows: Tensor, count: int) -> Any:
    """``value`` with its rows selected, wherever ``count`` rows come first (second for three-dimensional positions)."""
    if isinstance(value, Tensor):
        if value.ndim >= 1 and value.shape[0] == count:
            return value.index_select(0, rows.to(value.device))
        if value.ndim == 3 and value.shape[1] == count:
            return value.index_select(1, rows.to(value.device))
        return value
    if isinstance(value, library.ModelOutput):
        return type(value)(**{name: rows_of(inner, rows, count) for name, inner in value.items()})
    if isinstance(value, tuple):
        return tuple(rows_of(inner, rows, count) for inner in value)
    return value


def one_of_each(value: Any, copies: int) -> Any:
    """The first of every ``copies`` neighbouring rows of an expanded input."""
    if isinstance(value, Tensor):
        return value[::copies]
    if isinstance(value, library.ModelOutput):
        return type(value)(**{name: one_of_each(inner, copies) for name, inner in value.items()})
    if isinstance(value, tuple):
        return tuple(one_of_each(inner, copies) for inner in value)
    return value
