"""Tiny random speech and sound models, with their tokenizers and feature extractors, built on the spot."""

import json
import tempfile
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import AddedToken, pre_tokenizers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    PreTrainedTokenizerBase,
    SeamlessM4TFeatureExtractor,
    Speech2TextConfig,
    Speech2TextForConditionalGeneration,
    SpeechT5Config,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    VitsConfig,
    VitsModel,
    VitsTokenizer,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from tests.builders.text_models import bytelevel, wordpiece

Sound = NDArray[np.float32]
V5 = transformers.__version__.startswith("5")
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
# Merges that Whisper's tiny vocabulary has beside the 256 bytes; \u0120 is the byte-level space.
MERGES = (
    ("t", "h"),
    ("\u0120", "a"),
    ("th", "e"),
    ("\u0120", "the"),
    ("i", "n"),
    ("e", "r"),
    ("o", "n"),
    ("r", "e"),
    ("\u0120", "s"),
    ("a", "n"),
    ("an", "d"),
    ("\u0120", "and"),
)


def noise(seconds: float, seed: int = 0, rate: int = 16_000) -> Sound:
    """Noise whose loudness comes and goes, so that a random model's output changes over time."""
    drawn = np.random.default_rng(seed)
    n = int(seconds * rate)
    loudness = np.interp(np.arange(n), np.linspace(0, max(n, 1), 12), drawn.random(12))
    return (0.5 * loudness * drawn.standard_normal(n)).astype(np.float32)


def tone(seconds: float, hertz: float = 440.0, rate: int = 16_000) -> Sound:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="afterlogits-builders-"))


@cache
def ctc_tokenizer(size: int = 32, **options: Any) -> Wav2Vec2CTCTokenizer:
    """A character vocabulary: <pad> is the blank, | stands between words; longer than 32 with invented tokens."""
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    vocabulary += [f"q{index}" for index in range(len(vocabulary), size)]
    path = _folder() / f"ctc-{size}-{len(options)}.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    return Wav2Vec2CTCTokenizer(str(path), **options)


def wav2vec2_config(size: int = 32, **options: Any) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
        initializer_range=0.5,
        **options,
    )


@cache
def wav2vec2(size: int = 32, *, seed: int = 0, **options: Any) -> tuple[Any, Wav2Vec2FeatureExtractor]:
    """CTC on the raw samples; ``feat_extract_norm="layer"`` with ``do_stable_layer_norm`` for the family with masks."""
    torch.manual_seed(seed)
    model = Wav2Vec2ForCTC(wav2vec2_config(size, **options)).eval()
    # The blank and the delimiter stand where the random head would favour q and <unk>, so that there are words.
    with torch.no_grad():
        model.lm_head.weight[[0, 4]] = model.lm_head.weight[[21, 3]] * 1.01
    return model, Wav2Vec2FeatureExtractor(return_attention_mask=True)


@cache
def wav2vec2_bert() -> tuple[Any, SeamlessM4TFeatureExtractor]:
    """CTC on mel frames stacked by two."""
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        feature_projection_input_dim=80,
        conv_depthwise_kernel_size=7,
        pad_token_id=0,
        initializer_range=0.5,
    )
    extractor = SeamlessM4TFeatureExtractor(feature_size=40, num_mel_bins=40, stride=2)
    return Wav2Vec2BertForCTC(config).eval(), extractor


@cache
def sound_classifier(labels: int = 7, **options: Any) -> tuple[Any, Wav2Vec2FeatureExtractor]:
    torch.manual_seed(0)
    config = wav2vec2_config(num_labels=labels, classifier_proj_size=16, **options)
    return Wav2Vec2ForSequenceClassification(config).eval(), Wav2Vec2FeatureExtractor(return_attention_mask=True)


@cache
def spectrogram_classifier(labels: int = 527) -> tuple[Any, ASTFeatureExtractor]:
    """AST: sounds of any length as one picture of one size."""
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=64,
        num_mel_bins=32,
        num_labels=labels,
        initializer_range=0.5,
    )
    return ASTForAudioClassification(config).eval(), ASTFeatureExtractor(max_length=64, num_mel_bins=32)


@cache
def clap() -> tuple[Any, PreTrainedTokenizerBase, ClapFeatureExtractor]:
    """Text and sound in one space."""
    torch.manual_seed(0)
    tokenizer = deepcopy(wordpiece(model_max_length=40))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 60,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": 16,
            "projection_hidden_act": "relu",
        },
        audio_config={
            "hidden_size": 32,
            "patch_embeds_hidden_size": 16,
            "window_size": 8,
            "spec_size": 256,
            "num_mel_bins": 64,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "projection_dim": 16,
            "num_hidden_layers": 2,
        },
        projection_dim=16,
    )
    extractor = ClapFeatureExtractor(truncation="rand_trunc")
    return ClapModel(config).eval(), tokenizer, extractor


@cache
def whisper_tokenizer(timestamps: int = 1501) -> PreTrainedTokenizerBase:
    """256 bytes, a dozen merges, the special tokens and the timestamps, which must be added but not special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(alphabet)}
    for pair in MERGES:
        vocabulary["".join(pair)] = len(vocabulary)
    vocabulary["<|endoftext|>"] = len(vocabulary)
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    if V5:
        tokenizer = transformers.WhisperTokenizer(vocab=vocabulary, merges=list(MERGES))
        tokenizer.add_special_tokens({"extra_special_tokens": special})
    else:
        words, merges = _folder() / "whisper.json", _folder() / "whisper.txt"
        words.write_text(json.dumps(vocabulary))
        merges.write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in MERGES) + "\n")
        tokenizer = transformers.WhisperTokenizerFast(str(words), str(merges))
        tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([AddedToken(f"<|{step * 0.02:.2f}|>", special=False) for step in range(timestamps)])
    return tokenizer


@cache
def whisper(
    *, seed: int = 0, layers: int = 2, longest: int = 448, frames: int = 1500, spread: float = 0.3
) -> tuple[Any, PreTrainedTokenizerBase, WhisperFeatureExtractor]:
    """d_model 16, one encoder layer. ``frames``: encoder frames of a window, 50 a second."""
    torch.manual_seed(seed)
    tokenizer = whisper_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    end = ids("<|endoftext|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        encoder_layers=1,
        encoder_attention_heads=2,
        decoder_layers=layers,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        encoder_ffn_dim=32,
        d_model=16,
        max_source_positions=frames,
        max_target_positions=longest,
        init_std=spread,
        pad_token_id=end,
        eos_token_id=end,
        bos_token_id=end,
        decoder_start_token_id=ids("<|startoftranscript|>"),
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval()
    settings = model.generation_config
    settings.no_timestamps_token_id = ids("<|notimestamps|>")
    settings.is_multilingual = True
    settings.lang_to_id = {f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES}
    settings.task_to_id = {"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")}
    settings.prev_sot_token_id = ids("<|startofprev|>")
    settings.alignment_heads = [[layers - 1, head] for head in range(2)]
    settings.max_initial_timestamp_index = 50
    settings.suppress_tokens = settings.begin_suppress_tokens = None
    settings.decoder_start_token_id = ids("<|startoftranscript|>")
    settings.eos_token_id = settings.pad_token_id = settings.bos_token_id = end
    settings.max_length = longest
    return model, tokenizer, WhisperFeatureExtractor(feature_size=80, chunk_length=frames // 50)


@cache
def speech2text() -> tuple[Any, PreTrainedTokenizerBase, Any]:
    """A seq2seq model of mel frames without Whisper's conventions."""
    torch.manual_seed(0)
    tokenizer = bytelevel()
    config = Speech2TextConfig(
        vocab_size=len(tokenizer),
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        d_model=16,
        conv_channels=16,
        input_feat_per_channel=40,
        max_source_positions=3000,
        max_target_positions=128,
        init_std=0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )
    extractor = transformers.Speech2TextFeatureExtractor(feature_size=40, num_mel_bins=40)
    return Speech2TextForConditionalGeneration(config).eval(), tokenizer, extractor


@cache
def vits() -> tuple[Any, VitsTokenizer]:
    torch.manual_seed(0)
    letters = _folder() / "vits.json"
    letters.write_text(json.dumps({letter: index for index, letter in enumerate(["_", " ", *LETTERS, "<unk>"])}))
    tokenizer = VitsTokenizer(str(letters), phonemize=False, is_uroman=False, pad_token="_")
    config = VitsConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=32,
        flow_size=16,
        spectrogram_bins=9,
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3, 5]],
        posterior_encoder_num_wavenet_layers=1,
        wavenet_kernel_size=3,
        depth_separable_num_layers=1,
        duration_predictor_num_flows=2,
        duration_predictor_flow_bins=4,
        duration_predictor_filter_channels=16,
    )
    return VitsModel(config).eval(), tokenizer


@cache
def speecht5() -> tuple[Any, PreTrainedTokenizerBase, SpeechT5HifiGan]:
    """A model of spectrograms and the vocoder that turns them into sound."""
    torch.manual_seed(0)
    tokenizer = bytelevel()
    config = SpeechT5Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        num_mel_bins=8,
        speech_decoder_prenet_units=16,
        speaker_embedding_dim=8,
        speech_decoder_postnet_units=16,
        speech_decoder_postnet_layers=2,
        max_speech_positions=200,
        max_text_positions=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=8,
            upsample_initial_channel=8,
            upsample_rates=[2, 2],
            upsample_kernel_sizes=[4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3, 5]],
            sampling_rate=8_000,
        )
    )
    return SpeechT5ForTextToSpeech(config).eval(), tokenizer, vocoder.eval()
