"""Tiny models whose weights depend on nothing but the parameters' names: the same in every version of transformers."""

import zlib
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

VOCAB_SIZE = 29
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
MODELS = ("llama", "gpt2", "t5", "bart")


def seeded_model(kind: str, *, scale: float = 0.3, layers: int = 4) -> Any:
    """A random model of ``kind`` in evaluation mode; ``scale`` spreads the logits enough to avoid near ties."""
    model: Any
    if kind == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB_SIZE,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=layers,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=256,
                tie_word_embeddings=False,
                **IDS,
            )
        )
    elif kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCAB_SIZE, n_embd=16, n_layer=layers, n_head=2, n_positions=256, **IDS)
        )
    elif kind == "t5":
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=VOCAB_SIZE,
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                decoder_start_token_id=0,
                **IDS,
            )
        )
    elif kind == "bart":
        model = BartForConditionalGeneration(
            BartConfig(
                vocab_size=VOCAB_SIZE,
                d_model=16,
                encoder_layers=1,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_ffn_dim=32,
                max_position_embeddings=128,
                decoder_start_token_id=2,
                forced_eos_token_id=None,
                **IDS,
            )
        )
    else:
        raise ValueError(f"kind must be one of {MODELS}; got {kind!r}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def repeating_prompts() -> torch.Tensor:
    """Three prompts [3, 7] that repeat themselves."""
    ids = torch.randint(3, VOCAB_SIZE, (3, 7), generator=torch.Generator().manual_seed(4))
    ids[:, 3:6] = ids[:, 0:3]
    return ids
