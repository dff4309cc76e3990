"""An AutoStepModel that shows the hidden states of its last forward, for contrastive search and DoLa."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .step_model import AutoStepModel

__all__ = ["HiddenAutoStepModel"]


class HiddenAutoStepModel(AutoStepModel):
    """An AutoStepModel that keeps its last outputs and shows their hidden states (see ``HiddenStepModel``)."""

    def __init__(self, model: Any, input_ids: Tensor, model_kwargs: dict[str, Any], config: Any, *, follow_rows: bool):
        model_kwargs["output_hidden_states"] = True
        super().__init__(model, input_ids, model_kwargs, config, keep_outputs=True)
        self.follow_rows = follow_rows

    def last_hidden(self) -> Tensor:
        hidden: Tensor = self._hidden_states()[-1]
        return hidden

    def early_logits(self, layers: Sequence[int]) -> Tensor:
        head = self.model.get_output_embeddings()
        hidden_states = self._hidden_states()
        return torch.stack([head(hidden_states[layer][:, -1]).to(self.history.ids.device) for layer in layers])

    def select_rows(self, rows: Tensor) -> None:
        super().select_rows(rows)
        if not self.follow_rows or self.outputs is None:
            return
        for name in ("hidden_states", "decoder_hidden_states", "attentions", "decoder_attentions", "cross_attentions"):
            layers = getattr(self.outputs, name, None)
            if layers is not None:
                setattr(self.outputs, name, tuple(layer.index_select(0, rows.to(layer.device)) for layer in layers))

    def _hidden_states(self) -> Any:
        return self.outputs.decoder_hidden_states if self.is_encoder_decoder else self.outputs.hidden_states
