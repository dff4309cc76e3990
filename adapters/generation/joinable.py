"""Which models take prompts into a batch that runs, and why the others do not."""

import inspect
from typing import Any

from transformers import DynamicCache, GenerationMixin
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .model_inputs import CACHE
from .rotary_lengths import switches_to_long
from .row_hooks import sees_rows

__all__ = ["HELD", "why_rows_cannot_join"]

# Layers of a cache that hold keys and values and nothing else.
HELD = (DynamicLayer, DynamicSlidingWindowLayer)
# Kinds whose own prepare_inputs_for_generation hands on pictures and sounds, which no prompt here has, and
# kinds where it reads a prompt again as the rotary factors switch.
_FOR_PICTURES = frozenset({"gemma3", "gemma4"})
_FOR_LONG_ROWS = frozenset({"phi3", "phimoe"})


def why_rows_cannot_join(model: Any) -> str | None:
    """Why prompts cannot join a batch of ``model`` that runs; None where they can."""
    plain = type(model)
    if model.config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if getattr(model, "_is_stateful", False):
        return "it keeps a state that is no cache of keys and values"
    names = inspect.signature(model.forward).parameters
    if "attention_mask" not in names or CACHE not in names:
        return "its forward takes no mask or no cache"
    if not getattr(model, "_supports_default_dynamic_cache", lambda: True)():
        return "its cache is one of its own"
    if sees_rows(model):
        return "a hook of its forward may count rows"
    for name in ("prepare_inputs_for_generation", "_update_model_kwargs_for_generation"):
        if getattr(plain, name) is not getattr(GenerationMixin, name) and not _prepares_texts_plainly(model, name):
            return f"it has its own {name}"
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    other = next((type(layer).__name__ for layer in cache.layers if type(layer) not in HELD), None)
    return None if other is None else f"its cache has a {other}"


def _prepares_texts_plainly(model: Any, name: str) -> bool:
    """Whether a model's own way to prepare a step gives what the common one gives, for prompts of text alone."""
    if name != "prepare_inputs_for_generation":
        return False
    kind = model.config.model_type
    return kind in _FOR_PICTURES or (kind in _FOR_LONG_ROWS and not switches_to_long(model.config))
