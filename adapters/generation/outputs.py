"""Collects what ``return_dict_in_generate`` asks for, and builds transformers' own output classes from it."""

from typing import Any

from torch import Tensor
from transformers.generation import utils as library

from ...postprocess.audio.attention_times import AlignmentAttentions
from .model_inputs import CACHE
from .needed_attentions import needed_heads
from .step_model import AutoStepModel

__all__ = ["OutputRecorder"]


class OutputRecorder:
    """Keeps scores, logits, attentions and hidden states of every step, as far as the configuration asks for them."""

    def __init__(self, stepper: AutoStepModel, config: Any):
        self.stepper = stepper
        self.config = config
        on = bool(config.return_dict_in_generate)
        heads = needed_heads(stepper.model, config) if on and config.output_attentions else None
        self.aligned = None if heads is None else AlignmentAttentions(heads)
        self.is_encoder_decoder = stepper.is_encoder_decoder
        self.scores: Any = () if on and config.output_scores else None
        self.raw_logits: Any = () if on and config.output_logits else None
        kept = on and config.output_attentions and heads is None
        self.attentions: Any = () if kept else None
        self.cross_attentions: Any = () if kept else None
        self.hidden_states: Any = () if on and config.output_hidden_states else None
        self.encoder_outputs = stepper.model_kwargs.get("encoder_outputs") if on else None

    @staticmethod
    def needs_outputs(config: Any) -> bool:
        """Whether the model's whole outputs are needed, beyond its logits."""
        return bool(config.return_dict_in_generate and (config.output_attentions or config.output_hidden_states))

    @staticmethod
    def needs_every_row(config: Any) -> bool:
        """Whether something is recorded that has a value for finished rows too."""
        return bool(
            config.return_dict_in_generate
            and (
                config.output_scores or config.output_logits or config.output_attentions or config.output_hidden_states
            )
        )

    def logits(self, logits: Tensor) -> Tensor:
        if self.raw_logits is not None:
            self.raw_logits += (logits,)
            return logits.clone()
        return logits

    def step(self, scores: Tensor) -> None:
        if self.scores is not None:
            self.scores += (scores,)
        outputs, prefix = self.stepper.outputs, "decoder_" if self.is_encoder_decoder else ""
        if self.attentions is not None:
            self.attentions += (getattr(outputs, f"{prefix}attentions"),)
            if self.is_encoder_decoder:
                self.cross_attentions += (outputs.cross_attentions,)
        if self.aligned is not None:
            self.aligned.append(outputs.cross_attentions)
        if self.hidden_states is not None:
            self.hidden_states += (getattr(outputs, f"{prefix}hidden_states"),)

    def output(self, sequences: Tensor, **beams: Any) -> Any:
        """Transformers' output object; ``beams`` holds sequences_scores and beam_indices where there are beams."""
        beam = "Beam" if beams else ""
        common = {
            "sequences": sequences,
            "scores": self.scores,
            "logits": self.raw_logits,
            CACHE: self.stepper.cache,
            **beams,
        }
        if not self.is_encoder_decoder:
            kind = getattr(library, f"Generate{beam}DecoderOnlyOutput")
            return kind(**common, attentions=self.attentions, hidden_states=self.hidden_states)
        kind = getattr(library, f"Generate{beam}EncoderDecoderOutput")
        encoder = self.encoder_outputs if self.encoder_outputs is not None else {}
        found = kind(
            **common,
            encoder_attentions=encoder.get("attentions") if self.attentions is not None else None,
            encoder_hidden_states=encoder.get("hidden_states") if self.hidden_states is not None else None,
            decoder_attentions=self.attentions,
            cross_attentions=self.cross_attentions,
            decoder_hidden_states=self.hidden_states,
        )
        if self.aligned is not None:  # an attribute, not a field: transformers splits the fields by row and keeps them
            found.alignment_weights = self.aligned.weights()
        return found
