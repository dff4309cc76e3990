"""A tiny random Whisper without a tokenizer: windows of a hundred frames, forty words, two languages."""

import zlib
from typing import Any

import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperForConditionalGeneration

WORDS, POSITIONS, MELS = 40, 50, 8
EOS = WORDS
START, ENGLISH, GERMAN, TRANSLATE, TRANSCRIBE, PREVIOUS, SILENCE, NO_TIMES = range(WORDS + 1, WORDS + 9)
FIRST_TIME = NO_TIMES + 1
VOCAB_SIZE = FIRST_TIME + POSITIONS + 1


def tiny_whisper(*, spread: float = 0.8) -> Any:
    """A model whose windows hold ``2 * POSITIONS`` frames; ``spread`` is the scale of its weights."""
    config = WhisperConfig(
        vocab_size=VOCAB_SIZE,
        num_mel_bins=MELS,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=POSITIONS,
        max_target_positions=40,  # 4.57.6 adds the prompt to max_length
        pad_token_id=EOS,
        bos_token_id=EOS,
        eos_token_id=EOS,
        decoder_start_token_id=START,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model: Any = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    own = model.generation_config
    own.no_timestamps_token_id, own.prev_sot_token_id = NO_TIMES, PREVIOUS
    own.is_multilingual, own.lang_to_id = True, {"<|en|>": ENGLISH, "<|de|>": GERMAN}
    own.task_to_id = {"transcribe": TRANSCRIBE, "translate": TRANSLATE}
    own.alignment_heads, own.max_initial_timestamp_index = [[1, 0], [1, 1]], 20
    own.suppress_tokens = own.begin_suppress_tokens = None
    own.decoder_start_token_id, own.eos_token_id, own.pad_token_id = START, EOS, EOS
    own.max_length = 20
    return model.eval()


def sounds(*windows: float, seed: int = 0) -> dict[str, Tensor]:
    """Features [B, MELS, T] of sounds that last so many windows, with their mask [B, T]."""
    frames = [int(2 * POSITIONS * length) for length in windows]
    longest = max(*frames, 2 * POSITIONS)
    features = torch.zeros(len(frames), MELS, longest)
    mask = torch.zeros(len(frames), longest, dtype=torch.long)
    for row, count in enumerate(frames):
        generator = torch.Generator().manual_seed(seed * 1000 + row)
        features[row, :, :count] = torch.randn(MELS, count, generator=generator)
        mask[row, :count] = 1
    return {"input_features": features, "attention_mask": mask}
