"""Of a Whisper's attentions, the ones that its times of words are read from, and no others.

transformers keeps what every head of every layer attends to, of the encoder and of each step: of a large model 640
heads for the 10 that say when words were spoken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import Any

_only_needed: ContextVar[bool] = ContextVar("needed_attentions_only", default=False)


@contextmanager
def needed_attentions_only() -> Iterator[None]:
    """Within, a call for times of words returns no attentions, and holds those of the alignment heads alone."""
    token = _only_needed.set(True)
    try:
        yield
    finally:
        _only_needed.reset(token)


def needed_heads(model: Any, config: Any) -> list[tuple[int, int]] | None:
    """The (layer, head) pairs whose cross-attentions a loop has to keep; None where it keeps what the call asks for."""
    asked = _only_needed.get() and isinstance(model, NeededAttentions)
    if not asked or not getattr(config, "return_token_timestamps", None):
        return None
    heads = getattr(config, "alignment_heads", None)
    return None if heads is None else [(int(layer), int(head)) for layer, head in heads]


class NeededAttentions:
    """Mixed in before a model of Whisper's family: its encoder returns no attentions where none are needed."""

    def _prepare_text_encoder_decoder_kwargs_for_generation(self, *arguments: Any, **named: Any) -> Any:
        arguments, named = self._without_encoder_attentions(arguments, named)
        found: Any = super()
        return found._prepare_text_encoder_decoder_kwargs_for_generation(*arguments, **named)

    def _prepare_encoder_decoder_kwargs_for_generation(self, *arguments: Any, **named: Any) -> Any:
        """The name of transformers 4."""
        arguments, named = self._without_encoder_attentions(arguments, named)
        found: Any = super()
        return found._prepare_encoder_decoder_kwargs_for_generation(*arguments, **named)

    def _without_encoder_attentions(self, arguments: Any, named: Any) -> tuple[Any, Any]:
        """The arguments of a call whose last is the configuration, with one that asks for no attentions.

        Whisper computes eagerly wherever times are asked for, with attentions or without: the numbers stay.
        """
        config = named.get("generation_config", arguments[-1] if arguments else None)
        if needed_heads(self, config) is None:
            return arguments, named
        quiet = copy(config)
        quiet.output_attentions = False
        if "generation_config" in named:
            return arguments, {**named, "generation_config": quiet}
        return (*arguments[:-1], quiet), named
