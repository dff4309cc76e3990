"""Drawn frames of CTC models, and transformers' own decoding of them."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import torch
from transformers import Wav2Vec2CTCTokenizer

from afterlogits.postprocess.audio import ctc_alphabet

LETTERS = "abcdefghijklmnopqrstuvwxyz'"


def ctc_tokenizer(size=32, **options):
    """A tokenizer of ``size`` ids written by hand: specials, delimiter, letters, then strings of several characters."""
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    tokens += [f"q{i}" for i in range(len(tokens), size)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        return Wav2Vec2CTCTokenizer(str(path), **options)


def alphabet_of(tokenizer):
    return ctc_alphabet(
        [tokenizer.convert_ids_to_tokens(index) for index in range(len(tokenizer))],
        blank=tokenizer.pad_token,
        delimiter=tokenizer.word_delimiter_token,
        space=tokenizer.replace_word_delimiter_char,
        unknown=tokenizer.unk_token,
    )


def draw_ids(seed, *, size=32, longest=60, rows=4):
    """[B, T] ids with blanks, delimiters, repeats and ids outside the vocabulary."""
    draw = random.Random(seed)
    frames, batch_size = draw.randint(1, longest), draw.randint(1, rows)
    weights = {"blank": draw.random(), "space": draw.random() / 3, "again": draw.random() * 2, "any": draw.random()}
    weights["outside"] = draw.choice([0, 0, 0.2])
    out = []
    for _ in range(batch_size):
        row = []
        for _ in range(frames):
            kind = draw.choices(list(weights), list(weights.values()))[0]
            again = row[-1] if row else 0
            row.append(
                {
                    "blank": 0,
                    "space": 4,
                    "again": again,
                    "any": draw.randrange(size),
                    "outside": size + draw.randrange(3),
                }[kind]
            )
        out.append(row)
    return torch.tensor(out)


def speech_ids(rows, frames, *, size=32, seed=0):
    """[B, T] ids as a CTC model gives them: about half blanks, letters of one or two frames, words of five letters."""
    generator = torch.Generator().manual_seed(seed)

    def chance(p):
        return torch.rand(rows, frames, generator=generator) < p

    ids = torch.randint(5, size, (rows, frames), generator=generator)
    ids[chance(0.5)] = 0
    ids[chance(0.1)] = 4
    again = chance(0.4)
    for t in range(1, frames):
        ids[:, t] = torch.where(again[:, t], ids[:, t - 1], ids[:, t])
    return ids
