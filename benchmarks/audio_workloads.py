"""What the audio entries run on: frames as CTC models give them, Whisper's tokens of a long recording, attentions."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from afterlogits.postprocess.audio import CtcAlphabet, WhisperOutput, WhisperVocabulary, ctc_alphabet

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
MERGES = (("t", "h"), ("\u0120", "a"), ("th", "e"), ("\u0120", "the"), ("i", "n"), ("e", "r"), ("\u0120", "s"))
TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
TEXT_IDS = 256 + len(MERGES)


@functools.cache
def ctc_tokenizer(size: int) -> Any:
    """A CTC tokenizer of ``size`` ids: blank, delimiter, letters, then strings of several characters.

    Made once a size: transformers takes ten seconds for 5,000 ids.
    """
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    tokens = tokens[:size] + [f"q{index}" for index in range(len(tokens), size)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        return transformers.Wav2Vec2CTCTokenizer(str(path))


def alphabet_of(tokenizer: Any) -> CtcAlphabet:
    tokens = [tokenizer.convert_ids_to_tokens(index) for index in range(len(tokenizer))]
    return ctc_alphabet(tokens, blank=tokenizer.pad_token, delimiter=tokenizer.word_delimiter_token)


def speech_ids(rows: int, frames: int, size: int, *, seed: int = 0) -> torch.Tensor:
    """[rows, frames] ids of speech: half of the frames blank, letters of one to three, words of about five letters."""
    generator = torch.Generator().manual_seed(seed)

    def chance(share: float) -> torch.Tensor:
        return torch.rand(rows, frames, generator=generator) < share

    ids = torch.randint(5, size, (rows, frames), generator=generator)
    ids[chance(0.5)] = 0
    ids[chance(0.1)] = 4
    again = chance(0.4)
    for frame in range(1, frames):
        ids[:, frame] = torch.where(again[:, frame], ids[:, frame - 1], ids[:, frame])
    return ids


def noisy_logits(rows: int, frames: int, size: int, *, seed: int = 0) -> torch.Tensor:
    """[rows, frames, size] logits of speech in noise: a frame offers about three symbols. Id 0 is the blank."""
    generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    logits = torch.randn(rows, frames, size, generator=generator) * 1.5
    for row in logits:
        frame = 0
        while frame < frames:
            run, silence = draw.choice([1, 1, 2]), draw.choice([0, 1, 3])
            row[frame : frame + run, draw.randrange(size)] += draw.choice([2, 4, 6])
            row[frame + run : frame + run + silence, 0] += 4
            frame += run + silence
    return logits


def whisper_tokenizer() -> Any:
    """256 byte symbols, a few merges, the special tokens and 1,501 times that are added but not special."""
    from tokenizers import AddedToken, pre_tokenizers

    vocab = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for left, right in MERGES:
        vocab[left + right] = len(vocab)
    vocab["<|endoftext|>"] = len(vocab)
    tokenizer = transformers.WhisperTokenizer(vocab=vocab, merges=list(MERGES))
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), *(f"<|{task}|>" for task in TASKS)]
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    tokenizer.add_tokens([AddedToken(f"<|{step * 0.02:.2f}|>", special=False) for step in range(1501)])
    return tokenizer


def whisper_outputs(chunks: int, tokens: int, vocabulary: WhisperVocabulary, *, times: bool) -> list[WhisperOutput]:
    """A recording in 30-second chunks that overlap by 5 seconds on both sides, one text throughout, 3 % of it misheard.

    times: every 20 tokens a segment ends and the next begins.
    """
    draw, step = random.Random(0), tokens * 2 // 3
    script = [draw.randrange(TEXT_IDS) for _ in range(chunks * step + tokens)]
    outputs = []
    for chunk in range(chunks):
        ids: list[int] = []
        for place, token in enumerate(script[chunk * step : chunk * step + tokens]):
            if times and place % 20 == 0:
                ids += [vocabulary.timestamp_begin + place * 1500 // tokens] * (1 if place == 0 else 2)
            ids.append(token if draw.random() > 0.03 else draw.randrange(TEXT_IDS))
        ids += [vocabulary.timestamp_begin + 1500] if times else []
        ends = np.linspace(0, 30, len(ids)).round(2).astype(np.float32)
        stride = (30.0, 0.0 if chunk == 0 else 5.0, 0.0 if chunk == chunks - 1 else 5.0)
        outputs.append(WhisperOutput(np.array(ids), stride, ends))
    return outputs


def attention_steps(batch_size: int, layers: int, heads: int, tokens: int, frames: int) -> list[list[torch.Tensor]]:
    """For each token the cross-attentions [batch_size, heads, 1, frames] of every layer: they move along the frames."""
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(frames)
    steps = []
    for token in range(tokens):
        near = -((place - (token + 0.5) * frames / tokens) / 20).square()
        noise = torch.randn(layers, batch_size, heads, 1, frames, generator=generator)
        steps.append(list((near + noise).softmax(-1)))
    return steps
