"""What Whisper's encoder made of the windows of a call, for whoever asks for the same windows once more.

Its ``generate`` runs the encoder to detect the languages of a batch, then on the same windows for their tokens, once
more for the chance of no speech, and again for an attempt in which every clip has failed. The numbers are the same each
time, so that they are computed once; another batch of windows, or the same under another kind of attention, is not the
same.
"""

from typing import Any

import torch
from torch import Tensor

from .request import Pending, current_pending

# Arguments that the encoder is not told, or makes nothing of, or that are asked about apart.
_NOTHING_TO_ENCODER = frozenset(
    [
        *("input_features", "attention_mask", "use_cache", "cache_position", "past_key_values", "return_dict"),
        *("output_attentions", "output_hidden_states"),
    ]
)


class Heard:
    """The last windows [B, M, F] of a call, which encoder read them and how, and what it made of them [B, S, H]."""

    def __init__(self) -> None:
        self.windows: Tensor | None = None
        self.reader: tuple[Any, ...] = ()
        self.states: Tensor | None = None

    def keep(self, windows: Tensor, reader: tuple[Any, ...], states: Tensor) -> None:
        self.windows, self.reader, self.states = windows, reader, states

    def of(self, windows: Tensor, reader: tuple[Any, ...]) -> Tensor | None:
        """The states of these windows, or None. On a device only the tensor itself is known again: nothing waits."""
        if self.windows is None or reader != self.reader:
            return None
        same = windows is self.windows or (windows.device.type == "cpu" and torch.equal(windows, self.windows))
        return self.states if same else None


class EncoderReuse:
    """Mixed in before a model of Whisper's family: in a call, its encoder reads a batch of windows once."""

    config: Any
    training: bool

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The model itself, with the states of its windows in place of a further run of its encoder."""
        windows = named.get("input_features")
        if not (arguments or _tells_more(named)) and windows is not None and named.get("encoder_outputs") is None:
            states = self._states(windows)
            if states is not None:
                named["encoder_outputs"] = _output(states)
        model: Any = super()
        return model.__call__(*arguments, **named)

    def _prepare_text_encoder_decoder_kwargs_for_generation(
        self, inputs_tensor: Tensor, model_kwargs: dict[str, Any], model_input_name: Any, generation_config: Any
    ) -> dict[str, Any]:
        return self._with_states(
            "_prepare_text_encoder_decoder_kwargs_for_generation",
            (inputs_tensor, model_kwargs, model_input_name, generation_config),
        )

    def _prepare_encoder_decoder_kwargs_for_generation(
        self, inputs_tensor: Tensor, model_kwargs: dict[str, Any], model_input_name: Any, generation_config: Any
    ) -> dict[str, Any]:
        """The name of transformers 4."""
        return self._with_states(
            "_prepare_encoder_decoder_kwargs_for_generation",
            (inputs_tensor, model_kwargs, model_input_name, generation_config),
        )

    def _with_states(self, method: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
        windows, model_kwargs, _, config = arguments
        more = asks_for_layers(config, self.config) or _tells_more(model_kwargs)
        states = None if more else self._states(windows)
        if states is None:
            prepared: dict[str, Any] = getattr(super(), method)(*arguments)
            return prepared
        prepared = {**model_kwargs, "encoder_outputs": _output(states)}
        return prepared

    def _states(self, windows: Tensor) -> Tensor | None:
        """What the encoder makes of the windows, from the last time if it can be; None where that is not for us."""
        heard, encoder = heard_in_call(), self.get_encoder()  # type: ignore[attr-defined]
        if heard is None or torch.is_grad_enabled() or not _as_ever(self, encoder):
            return None
        reader = (id(encoder), getattr(encoder.config, "_attn_implementation", None))
        states = heard.of(windows, reader)
        if states is None:
            # As the windows of a round lie in memory, of which those of the detection may be a view.
            states = encoder(windows.contiguous()).last_hidden_state
            heard.keep(windows, reader, states)
        return states

    def _get_input_segment(self, input_features: Any, **where: Any) -> Any:
        """The windows of a round; those at the beginning of whole clips are the ones whose language was detected."""
        heard = heard_in_call()
        known = None if heard is None else heard.windows
        length = where["num_segment_frames"]
        if (
            known is not None
            and input_features is not None
            and len(known) == where["cur_bsz"] == len(where["seek"])
            and input_features.data_ptr() == known.data_ptr()
            and known.is_contiguous()
            and not bool(where["seek"].any())
            and bool((where["seek_num_frames"] == length).all())
        ):
            return known
        model: Any = super()
        return model._get_input_segment(input_features=input_features, **where)


def heard_in_call() -> Heard | None:
    """What the encoder has read in the call in progress; None outside of one of Whisper's."""
    pending: Pending | None = current_pending()
    return getattr(pending, "heard", None)


def _tells_more(named: dict[str, Any]) -> bool:
    """Whether the encoder would be told more than its windows, such as a ``head_mask``."""
    others = (name for name, value in named.items() if value is not None and name not in _NOTHING_TO_ENCODER)
    return not all(name.startswith(("decoder_", "cross_attn")) for name in others)


def asks_for_layers(generation_config: Any, config: Any) -> bool:
    """Whether the encoder's attentions or the states of its layers are to be returned."""
    for name in ("output_attentions", "output_hidden_states"):
        asked = getattr(generation_config, name, None)
        if asked or (asked is None and getattr(config, name, False)):
            return True
    return False


def _as_ever(model: Any, encoder: Any) -> bool:
    """Whether a run of the encoder gives what the last one gave, and nobody counts the runs."""
    watched = encoder._forward_hooks or encoder._forward_pre_hooks or hasattr(model, "hf_device_map")
    return not (model.training or encoder.training or watched or asks_for_layers(None, model.config))


def _output(states: Tensor) -> Any:
    """A new record each time: generate writes into it."""
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=states)
