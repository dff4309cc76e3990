"""Tiny random models of every text-generating architecture that the installed transformers knows.

``tiny_model(model_type)`` shrinks the architecture's default configuration by attribute name: the same few names
(hidden size, layers, heads, experts, ...) recur in nearly all of them, and ``OVERRIDES`` holds what a single
architecture needs besides. Weights are random from a fixed seed, spread widely enough that argmaxes are not near ties.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCAB_SIZE = 99
BOS, EOS, PAD = 1, 2, 0

DECODER_ONLY: tuple[str, ...] = tuple(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
ENCODER_DECODER: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
            *modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
        ]
    )
)

_SMALL: dict[str, Any] = {
    **dict.fromkeys(["hidden_size", "d_model", "n_embd", "embed_dim", "dim", "emb_dim", "embedding_size"], 32),
    **dict.fromkeys(["word_embed_proj_dim", "lru_width", "decoder_hidden_size", "hidden_size_per_layer_input"], 32),
    **dict.fromkeys(["intermediate_size", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner"], 64),
    **dict.fromkeys(["ffn_hidden_size", "d_inner", "expert_ffn_hidden_size", "mlp_intermediate_size"], 64),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size", "intermediate_size_mlp"], 32),
    **dict.fromkeys(["shared_intermediate_size", "moe_shared_expert_intermediate_size", "expert_ffn_dim"], 32),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"], 2),
    **dict.fromkeys(["decoder_layers", "num_decoder_layers", "num_encoder_layers", "num_blocks"], 2),
    **dict.fromkeys(["encoder_num_hidden_layers", "decoder_num_hidden_layers"], 2),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"], 4),
    **dict.fromkeys(["decoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads"], 4),
    **dict.fromkeys(["encoder_num_attention_heads", "decoder_num_attention_heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "num_kv_heads", "encoder_num_key_value_heads"], 2),
    **dict.fromkeys(["decoder_num_key_value_heads"], 2),
    **dict.fromkeys(["head_dim", "d_kv", "attention_head_dim", "global_head_dim", "swa_head_dim", "v_head_dim"], 8),
    **dict.fromkeys(["kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "index_head_dim"], 8),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts"], 2),
    **dict.fromkeys(["n_group", "topk_group", "n_shared_experts", "num_shared_experts"], 1),
    **dict.fromkeys(["first_k_dense_replace", "num_dense_layers"], 1),
    **dict.fromkeys(["state_size", "mamba_d_state", "ssm_state_size"], 8),
    **dict.fromkeys(["time_step_rank", "mamba_dt_rank"], 4),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim"], 8),
    **dict.fromkeys(["linear_num_key_heads", "linear_num_value_heads"], 2),
    **dict.fromkeys(["attention_window_size", "sliding_window", "window_size"], 16),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "n_ctx", "max_source_positions"], 128),
    **dict.fromkeys(["max_target_positions", "n_context"], 128),
    **dict.fromkeys(["vocab_size", "decoder_vocab_size", "src_vocab_size", "tgt_vocab_size"], VOCAB_SIZE),
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}

# What one architecture needs beside the common table: constraints between its fields (... removes one).
_ONE_KEY_PER_HEAD = {"num_key_value_heads": 4}
_HYBRID = {"num_hidden_layers": 4}
OVERRIDES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        [
            "axk1",
            "axk2",
            "deepseek_v3",
            "deepseek_v32",
            "glm4_moe_lite",
            "glm_moe_dsa",
            "longcat_flash",
            "minicpm3",
            "youtu",
        ],
        _ONE_KEY_PER_HEAD,
    ),
    "kimi_linear": {
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "num_key_value_heads": 4,
    },
    **dict.fromkeys(["lfm3", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"], _HYBRID),
    **{key: {"head_dim": 8} for key in ["hunyuan_v1_dense", "hunyuan_v1_moe", "ministral", "ministral3"]},
    "bailing_hybrid": {"num_hidden_layers": 8, "num_key_value_heads": 4},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "num_hidden_layers": 4, "attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "deepseek_v2": {"num_key_value_heads": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4},
    },
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {"num_key_value_heads": 4},
    "dots3_note_vision_encoder": {"pyramid_num_routed": [-1, 4], "adapter_in_dim": 32, "adapter_out_dim": 32},
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32},
    "encoder-decoder": {"decoder_start_token_id": BOS},
    "falcon": {"head_dim": ...},
    "fun_asr_nano": {"adaptor_config": {"hidden_size": 32, "intermediate_size": 8}},
    "gemma3n_text": {"num_kv_shared_layers": 0, "laurel_rank": 8, "vocab_size_per_layer_input": VOCAB_SIZE},
    **{key: {"vocab_size_per_layer_input": VOCAB_SIZE} for key in ["gemma4_text", "gemma4_unified_text"]},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8, "layer_types": ["linear_attention", "full_attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"num_hidden_layers": 4, "layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "longt5": {"decoder_start_token_id": PAD},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "marian": {"decoder_start_token_id": BOS, "forced_eos_token_id": None},
    "moonshine": {"encoder_num_key_value_heads": 4, "decoder_num_key_value_heads": 4},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "prophetnet": {"num_hidden_layers": ...},
    "qwen4_exp_text": {
        "num_hidden_layers": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "hidden_size": 32,
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "attn_layers": ["local", "lsh"],
        "num_buckets": 4,
        "lsh_attn_chunk_length": 16,
        "local_attn_chunk_length": 16,
        "is_decoder": True,
    },
    "speech-encoder-decoder": {"decoder_start_token_id": BOS},
    "switch_transformers": {"decoder_start_token_id": PAD},
    "t5": {"decoder_start_token_id": PAD},
    "vibevoice": {name: {"num_filters": 2, "depths": [1] * 7} for name in ("audio_config", "semantic_model_config")},
    "whisper": {"decoder_start_token_id": BOS, "num_mel_bins": 8},
    "xlnet": {"max_position_embeddings": ...},
    "xlstm": {"v_head_dim": ..., "head_dim": ..., "qk_head_dim": ..., "hidden_size": 128, "num_heads": 2},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "attention_head_dim": 16,
    },
    "zamba2": {"num_hidden_layers": 2, "layers_block_type": ["mamba", "hybrid"], "layer_types": ["mamba", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
}


def shrunk_config(model_type: str) -> Any:
    """The default configuration of ``model_type`` with every size in the common table made small."""
    return _shrink(CONFIG_MAPPING[model_type], model_type)


def shrunk_class_config(config_class: Any, overrides: dict[str, Any] | None = None) -> Any:
    """The same for a class of configurations, which need not be one that generates text.

    overrides: what stands above the common table, by field; a dict for the fields of a configuration within.
    """
    return _shrink(config_class, config_class.model_type, overrides)


def _merge(fields: dict[str, Any], overrides: dict[str, Any]) -> None:
    for name, value in overrides.items():
        if isinstance(value, dict) and isinstance(fields.get(name), dict):
            _merge(fields[name], value)
        elif value is ...:
            fields.pop(name, None)
        else:
            fields[name] = value


def _shrink(config_class: Any, model_type: str, overrides: dict[str, Any] | None = None) -> Any:
    defaults = config_class()
    current = defaults.to_dict()
    # to_dict leaves out fields that are None or mapped to another name.
    fields = {name: value for name, value in _SMALL.items() if name in current or _is_set(defaults, name)}
    fields = {name: value for name, value in fields.items() if current.get(name, 0) is not None}
    for name, sub in getattr(config_class, "sub_configs", {}).items():
        current = getattr(defaults, name, None)
        if current is not None:
            within = {} if overrides is None else overrides.get(name, {})
            kind = type(current) if hasattr(current, "to_dict") else sub
            fields[name] = _shrink(kind, model_type, within if isinstance(within, dict) else None).to_dict()
    _merge(fields, OVERRIDES.get(config_class.model_type, {}))
    _merge(fields, overrides or {})
    fields = {name: value for name, value in fields.items() if value is not ...}
    return config_class(**fields)


def _is_set(config: Any, name: str) -> bool:
    try:
        return getattr(config, name, None) is not None
    except AttributeError:  # a field that differs between layers has no single value
        return False


def class_name(model_type: str, encoder_decoder: bool) -> str:
    """The class that generates text, of those that transformers' auto classes name."""
    table = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if encoder_decoder:
        speech, text = (
            modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
            modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        )
        table = {**speech, **text}
    name = table[model_type]
    return name[0] if isinstance(name, tuple) else name


def tiny_model(model_type: str, *, encoder_decoder: bool = False, seed: int = 0) -> Any:
    """A random model of ``model_type`` in evaluation mode, float32, a few thousand parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = shrunk_config(model_type)
        if not encoder_decoder and hasattr(config, "is_decoder"):
            config.is_decoder = True
        model_class = getattr(transformers, class_name(model_type, encoder_decoder))
        if not isinstance(config, model_class.config_class):
            config = config.get_text_config()
        torch.manual_seed(seed)
        model = model_class(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            with torch.no_grad():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.08)
    return model


def tiny_inputs(model: Any, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """What ``generate`` of ``model`` takes for these prompts: ids and mask, or as many random audio clips."""
    batch_size = input_ids.shape[0]
    name = model.main_input_name
    generator = torch.Generator().manual_seed(int(input_ids.sum()))
    if name == "input_ids":
        inputs = {"input_ids": input_ids, "attention_mask": (input_ids != PAD).long()}
        if model.config.model_type == "voxtral_realtime":  # a piece of the sound with every token
            bins = model.config.audio_config.num_mel_bins
            inputs["input_features"] = torch.randn(batch_size, bins, 400, generator=generator)
        return inputs
    if name in ("input_values", "inputs"):
        return {name: torch.randn(batch_size, 4000, generator=generator)}
    if model.config.model_type == "whisper":
        frames = 2 * model.config.max_source_positions
        return {name: torch.randn(batch_size, model.config.num_mel_bins, frames, generator=generator)}
    bins = getattr(model.config, "input_feat_per_channel", None) or 80
    return {name: torch.randn(batch_size, 40, bins, generator=generator)}
