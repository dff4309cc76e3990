"""What transformers prepares for a call of ``generate``, taken where its loop would start; no loop runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .request import Pending

__all__ = ["Captured", "Capturing"]

# What a loop is handed by name; everything else is for the model's forward.
_NAMED = ("logits_processor", "stopping_criteria", "generation_config", "synced_gpus", "streamer", "inputs_tensor")
_NOT_FOR_THE_MODEL = ("tokenizer", "assistant_model", "assistant_tokenizer")


class Capturing(Pending):
    """A request whose loop is not run: the engine returns what it was given."""


@dataclass(frozen=True)
class Captured:
    """method: the loop that transformers would run. input_ids: [N, P]. prepared: the loop's arguments by name."""

    method: str
    input_ids: Tensor
    prepared: Mapping[str, Any]

    @property
    def model_kwargs(self) -> dict[str, Any]:
        """The arguments of the model's forward."""
        return {name: one for name, one in self.prepared.items() if name not in (*_NAMED, *_NOT_FOR_THE_MODEL)}
