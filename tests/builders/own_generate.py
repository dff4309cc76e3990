"""What single classes with a ``generate`` of their own need to be run small: fields of the configuration, fields of the
generation configuration, and inputs. What is not named here is served by the common table and the common inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["NEEDS", "Needs"]


@dataclass(frozen=True)
class Needs:
    """config: above the common table. own: set on the generation configuration. inputs: of one model."""

    config: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    inputs: Callable[[Any], dict[str, Any]] | None = None


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def _ids(*shape: int, most: int = 40) -> torch.Tensor:
    return torch.randint(7, most, shape, generator=torch.Generator().manual_seed(4))


def _picture(model: Any) -> torch.Tensor:
    size = model.config.vision_config.image_size
    return _noise(2, 3, size, size)


def _with_audio_start(model: Any) -> dict[str, Any]:
    ids = _ids(2, 6)
    ids[:, -1] = model.config.audio_bos_token_id
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _placed_picture(model: Any) -> dict[str, Any]:
    """Kosmos-2: the places of the picture among the tokens."""
    count = model.config.latent_query_num
    ids = _ids(2, count + 4)
    places = torch.zeros_like(ids)
    places[:, 1 : count + 1] = 1
    return {
        "pixel_values": _picture(model),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "image_embeds_position_mask": places,
    }


_FLOW = {"flow_head_config": {"condition_dim": 32, "hidden_size": 32, "num_hidden_layers": 2}, "vocab_size": 99}
_AUDIO_IDS = {
    "audio_prompt_token_id": 90,
    "audio_latent_token_id": 91,
    "audio_bos_token_id": 92,
    "audio_prompt_bos_token_id": 93,
}
_QFORMER = {"encoder_hidden_size": 32, "num_hidden_layers": 2, "hidden_size": 32}
_SEEN = {"image_token_index": 5, "image_token_id": 5, "num_query_tokens": 4}

NEEDS: dict[str, Needs] = {
    "Blip2ForConditionalGeneration": Needs(
        config={**_SEEN, "qformer_config": _QFORMER, "text_config": {"bos_token_id": 1}},
        inputs=lambda model: {"pixel_values": _picture(model)},
    ),
    "InstructBlipForConditionalGeneration": Needs(
        config={**_SEEN, "qformer_config": _QFORMER, "text_config": {"bos_token_id": 1}},
        inputs=lambda model: {"pixel_values": _picture(model), "qformer_input_ids": _ids(2, 5)},
    ),
    "Kosmos2ForConditionalGeneration": Needs(config={"latent_query_num": 4}, inputs=_placed_picture),
    "GradiumPhononTTSForConditionalGeneration": Needs(config={**_FLOW, **_AUDIO_IDS}, inputs=_with_audio_start),
    "PocketTTSForConditionalGeneration": Needs(config={**_FLOW, **_AUDIO_IDS}, inputs=_with_audio_start),
    "Pop2PianoForConditionalGeneration": Needs(
        config={"composer_vocab_size": 2},
        own={"composer_to_feature_token": {"composer1": 3, "composer2": 4}},
        inputs=lambda model: {"input_features": _noise(2, 6, model.config.d_model)},
    ),
    "RagTokenForGeneration": Needs(
        config={"n_docs": 2},
        inputs=lambda model: {
            "context_input_ids": _ids(4, 6),
            "context_attention_mask": torch.ones(4, 6, dtype=torch.long),
            "doc_scores": _noise(2, 2),
        },
    ),
}
