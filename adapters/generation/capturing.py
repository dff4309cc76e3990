"""A call of ``generate`` prepared by transformers for rows that are decoded token by token."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationMixin

from .arguments import explain
from .captured_call import Captured, Capturing
from .generation_mixin import Engine
from .install import engine_view
from .request import Request, requested

__all__ = ["capture"]


def capture(
    model: Any, request: Request, input_ids: Tensor, arguments: Mapping[str, Any], attention_mask: Tensor | None = None
) -> Captured:
    """What transformers prepares for ``input_ids`` [N, P] under ``arguments``.

    Raises what ``generate`` raises for them, and ValueError for modes that do not decode token by token and for more
    than one returned sequence.
    """
    view, library = engine_view(model), cast(Any, GenerationMixin)
    own = next(kind for kind in type(view).__mro__ if "generate" in vars(kind) and not issubclass(kind, Engine))
    if own is not GenerationMixin:
        raise TypeError(f"model must generate by transformers' own generate; got {type(model).__name__}")
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    try:
        with requested(Capturing(request)):
            found = library.generate(view, input_ids, attention_mask=mask, **arguments)
    except Exception as error:
        named = explain(
            error, arguments, (arguments.get("generation_config"), getattr(model, "generation_config", None))
        )
        if named is not None:
            raise named from error
        raise
    if not isinstance(found, Captured) or found.method != "_sample":
        raise ValueError(
            "num_beams, assistants and the like must be off for rows of a running batch, which decodes token by token"
        )
    if found.input_ids.shape[0] != input_ids.shape[0] and not model.config.is_encoder_decoder:
        raise ValueError("num_return_sequences must be 1 for rows of a running batch")
    return found
