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


def _bark_steps() -> dict[str, Any]:
    """Bark's three configurations for vocabularies of 99 tokens: text from 40 on, codes of eight from 41 on."""
    from transformers.models.bark.generation_configuration_bark import (
        BarkCoarseGenerationConfig,
        BarkFineGenerationConfig,
        BarkSemanticGenerationConfig,
    )

    text = {"text_encoding_offset": 40, "text_pad_token": 95, "semantic_infer_token": 96, "eos_token_id": 40}
    semantic = {**text, "semantic_vocab_size": 40, "max_input_semantic_length": 8, "max_new_tokens": 6}
    coarse = {"coarse_semantic_pad_token": 97, "coarse_infer_token": 98, "max_coarse_input_length": 16}
    fine = {"max_fine_history_length": 8, "max_fine_input_length": 16}
    return {
        "semantic_generation_config": BarkSemanticGenerationConfig(**semantic),
        "coarse_generation_config": BarkCoarseGenerationConfig(**coarse, max_coarse_history=12, sliding_window_len=6),
        "fine_generation_config": BarkFineGenerationConfig(**fine),
    }


def _bark_text(model: Any) -> dict[str, Any]:
    return {"input_ids": _ids(2, 8), "semantic_generation_config": _bark_steps()["semantic_generation_config"]}


def _bark_semantics(model: Any) -> dict[str, Any]:
    steps = _bark_steps()
    del steps["fine_generation_config"]
    return {"semantic_output": _ids(2, 6), "codebook_size": 8, "max_new_tokens": None, **steps}


def _whole_bark(model: Any) -> dict[str, Any]:
    steps = _bark_steps()
    names = ("semantic_config", "coarse_acoustics_config", "fine_acoustics_config")
    for name, step in zip(names, steps.values(), strict=True):
        setattr(model.generation_config, name, step.to_dict())
    model.generation_config.codebook_size = 8
    return {"input_ids": _ids(2, 8), "max_new_tokens": None}


def _speakers(model: Any) -> dict[str, Any]:
    """Qwen 2.5 Omni: a speaker, whom its checkpoints bring in a file beside the weights."""
    sizes = model.config.token2wav_config.dit_config
    model.speaker_map = {
        "Chelsie": {"bos_token": 7, "cond": _noise(1, sizes.enc_emb_dim), "ref_mel": _noise(1, 30, sizes.mel_dim)}
    }
    return {"input_ids": _ids(2, 7), "generation_mode": "text", "thinker_max_new_tokens": 6, "max_new_tokens": None}


def _spoken(model: Any) -> dict[str, Any]:
    own = model.generation_config
    own.id_to_text = {str(number): chr(97 + number % 26) * (1 + number % 3) for number in range(99)}
    own.char_to_id = {chr(97 + number): 2 + number for number in range(26)}
    text = {"input_ids": _ids(2, 7)}
    return text if "TextToSpeech" in type(model).__name__ else {"input_features": _noise(2, 40, 160)}


def _heard(model: Any) -> dict[str, Any]:
    """A place among the tokens for every frame of the sound, which stands for eight of its columns."""
    ids = _ids(2, 12)
    ids[:, 2:10] = model.config.audio_token_id
    bins = model.config.audio_config.asr_config.num_mel_bins
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "input_features": _noise(2, 64, bins),
        "input_features_mask": torch.ones(2, 64, dtype=torch.long),
    }


_MIMI = {"upsample_groups": 32, "codebook_dim": 32, "vector_quantization_hidden_dimension": 32, "codebook_size": 16}
_SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
_CODES = {"num_codebooks": 2}
_BARK = {"input_vocab_size": 99, "output_vocab_size": 99, "window_size": 64}
_CLVP = {"num_attention_heads": 1, "projection_dim": 32}
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
    "BarkCoarseModel": Needs(config=_BARK, inputs=_bark_semantics),
    "BarkSemanticModel": Needs(config=_BARK, inputs=_bark_text),
    "BarkModel": Needs(
        config={
            "semantic_config": _BARK,
            "coarse_acoustics_config": _BARK,
            "fine_acoustics_config": {"input_vocab_size": 9, "output_vocab_size": 9, "window_size": 64},
            "codec_config": {"num_filters": 4, "hidden_size": 16, "codebook_size": 8, "codebook_dim": 16},
        },
        inputs=_whole_bark,
    ),
    "ClvpModelForConditionalGeneration": Needs(
        config={"text_config": _CLVP, "speech_config": _CLVP, "projection_dim": 32},
        inputs=lambda model: {
            "input_ids": _ids(2, 7),
            "input_features": _noise(2, model.config.decoder_config.feature_size, 20),
            "return_dict_in_generate": True,
        },
    ),
    "CsmForConditionalGeneration": Needs(
        config={
            "codec_config": {**_MIMI, "num_quantizers": 2},
            **_CODES,
            "depth_decoder_config": {**_CODES, "backbone_hidden_size": 32},
        },
        inputs=lambda model: {"input_ids": _ids(2, 7)},
    ),
    "DiaForConditionalGeneration": Needs(
        config={
            "decoder_config": {
                "cross_hidden_size": 32,
                "cross_head_dim": 8,
                "cross_num_attention_heads": 4,
                "cross_num_key_value_heads": 4,
            }
        },
        inputs=lambda model: {"input_ids": _ids(2, 7)},
    ),
    "GraniteSpeech5ForCTC": Needs(
        config={"encoder_config": {"num_attention_heads": 4, "num_key_value_heads": 4}},
        inputs=lambda model: {"input_features": _noise(2, 64, 320)},
    ),
    "InstructBlipVideoForConditionalGeneration": Needs(
        config={
            **dict.fromkeys(["video_token_index", "video_token_id"], 5),
            "num_query_tokens": 4,
            "qformer_config": {"encoder_hidden_size": 32, "num_hidden_layers": 2, "hidden_size": 32},
            "text_config": {"bos_token_id": 1},
        },
        inputs=lambda model: {
            "pixel_values": _picture(model)[:, None].repeat(1, 4, 1, 1, 1),
            "qformer_input_ids": _ids(2, 5),
        },
    ),
    "KyutaiSpeechToTextForConditionalGeneration": Needs(
        config={
            **_CODES,
            "codebook_vocab_size": 17,
            "audio_bos_token_id": 16,
            "audio_pad_token_id": 130,
            "codec_config": {**_MIMI, "num_quantizers": 2},
        },
        inputs=lambda model: {"input_values": _noise(2, 1, 8 * model.config.frame_size)},
    ),
    "MoshiForConditionalGeneration": Needs(
        config={**_CODES, "audio_encoder_config": {**_MIMI, "num_quantizers": 2}, "depth_decoder_config": _CODES},
        inputs=lambda model: {
            "input_ids": _ids(2, 7),
            "user_audio_codes": _ids(2, 2, 7, most=15),
            "moshi_audio_codes": _ids(2, 2, 7, most=15),
        },
    ),
    "Nemotron3_5TranscribeForConditionalGeneration": Needs(
        config={
            "audio_config": {"hidden_size": ..., "diarization_config": {"head_config": {"audio_hidden_size": 32}}},
            "word_timestamp_config": {"blank_token_id": 98},
        },
        inputs=_heard,
    ),
    "MusicgenForCausalLM": Needs(
        inputs=lambda model: {"inputs": _ids(2 * model.config.num_codebooks, 7), "num_return_sequences": 1}
    ),
    "Qwen2_5OmniForConditionalGeneration": Needs(
        config={
            "thinker_config": {"vision_start_token_id": 60, "vision_end_token_id": 61, "text_config": _SECTIONS},
            "talker_config": _SECTIONS,
        },
        inputs=_speakers,
    ),
    "Qwen3OmniMoeForConditionalGeneration": Needs(
        config={
            "talker_config": {"text_config": {"shared_expert_intermediate_size": 32}, "spatial_merge_size": 2},
            "thinker_config": {"vision_start_token_id": 60},
        },
        inputs=lambda model: {
            "input_ids": _ids(2, 7),
            "return_audio": False,
            "thinker_max_new_tokens": 6,
            "max_new_tokens": None,
        },
    ),
    **{
        name: Needs(config={"t2u_variance_predictor_embed_dim": 32}, inputs=_spoken)
        for name in ("SeamlessM4Tv2ForSpeechToSpeech", "SeamlessM4Tv2ForTextToSpeech", "SeamlessM4Tv2Model")
    },
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
