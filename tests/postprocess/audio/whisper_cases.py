"""A Whisper tokenizer from byte symbols, drawn outputs of Whisper, and transformers' own reading of them."""

from __future__ import annotations

import functools
import json
import logging
import random
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import AddedToken, pre_tokenizers
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from afterlogits.postprocess.audio import WhisperOutput, WhisperVocabulary

SPACE = "\u0120"
MERGES = [
    ("t", "h"), (SPACE, "a"), ("th", "e"), (SPACE, "the"), ("i", "n"), ("e", "r"),
    ("o", "n"), ("r", "e"), (SPACE, "s"), ("a", "n"), ("an", "d"), (SPACE, "and"),
]  # fmt: skip
TASKS = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]


@functools.cache
def whisper_tokenizer(language=None):
    """256 byte symbols, 12 merges, 107 special tokens and 1,501 times that are added but not special."""
    vocab = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for left, right in MERGES:
        vocab[left + right] = len(vocab)
    vocab["<|endoftext|>"] = len(vocab)
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), *(f"<|{task}|>" for task in TASKS)]
    if transformers.__version__.startswith("5"):
        tokenizer = transformers.WhisperTokenizer(vocab=vocab, merges=MERGES, language=language)
        tokenizer.add_special_tokens({"extra_special_tokens": special})
    else:
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
            files[0].write_text(json.dumps(vocab))
            files[1].write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in MERGES) + "\n")
            tokenizer = transformers.WhisperTokenizerFast(*map(str, files), language=language)
        tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([AddedToken(f"<|{step * 0.02:.2f}|>", special=False) for step in range(1501)])
    return tokenizer


def byte_symbols():
    """The character that stands for each byte in byte-level vocabularies."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def vocabulary_of(tokenizer):
    """What an adapter fills in."""
    symbols = byte_symbols()

    def piece(token):
        return bytes(symbols[char] for char in token) if all(char in symbols for char in token) else token.encode()

    ids = tokenizer.convert_tokens_to_ids
    languages = {index: LANGUAGES.get(tokenizer.decode([index])[2:-2]) for index in tokenizer.all_special_ids}
    return WhisperVocabulary(
        pieces=tuple(piece(tokenizer.convert_ids_to_tokens(index)) for index in range(len(tokenizer))),
        special_ids=frozenset(tokenizer.all_special_ids),
        languages={index: name for index, name in languages.items() if name is not None},
        timestamp_begin=ids("<|notimestamps|>") + 1,
        prompt_id=ids("<|startofprev|>"),
        start_id=ids("<|startoftranscript|>"),
        eos_id=tokenizer.eos_token_id,
        language=tokenizer.language,
    )


def draw_outputs(seed, vocabulary, text_ids=268):
    """Outputs of 1 to 4 chunks: text from one script with errors, times in pairs, languages, prompts, strides."""
    draw = random.Random(seed)
    begin = vocabulary.timestamp_begin
    size = draw.choice([4, 20, text_ids])
    first = draw.randrange(text_ids - size + 1)
    script = [first + draw.randrange(size) for _ in range(40)]
    languages = sorted(vocabulary.languages)[:6]
    chunks, strided = draw.randint(1, 4), draw.random() < 0.6
    outputs = []
    for index in range(chunks):
        ids, time, place = [], 0, draw.randint(0, 20)
        if draw.random() < 0.15:
            ids += [vocabulary.prompt_id, first, first]
        if draw.random() < 0.15:
            ids += [vocabulary.start_id]
        if draw.random() < 0.4:
            ids += [draw.choice(languages)]
        often, forward = draw.choice([0, 0.1, 0.3]), draw.random() < 0.6
        for step in range(draw.randint(0, 30)):
            kind = draw.random()
            if kind < often:
                time = min(1500, time + draw.randint(0, 300)) if forward else draw.randint(0, 1500)
                ids += [begin + time] * draw.choice([1, 2])
            elif kind < often + 0.02:
                ids.append(draw.choice([*languages, vocabulary.eos_id, vocabulary.start_id]))
            else:
                ids.append(script[(place + step) % 40] if draw.random() < 0.8 else first + draw.randrange(size))
        times = np.cumsum([draw.choice([0, 0.02, 0.06, 0.2]) for _ in ids]).astype(np.float32)
        stride = None
        if strided:
            left = 0.0 if index == 0 and draw.random() < 0.8 else draw.choice([0, 1, 5 / 6, 2])
            right = 0.0 if index == chunks - 1 else draw.choice([0, 1, 2, 5 / 6])
            stride = (draw.choice([10, 6, 29.98, 30]), left, right)
        outputs.append(WhisperOutput(np.array(ids, dtype=np.int64), stride, times))
    return outputs


@contextmanager
def quiet():
    """transformers warns of every recording without a last time."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def transformers_reading(tokenizer, outputs, return_timestamps, return_language):
    """``(text, {"chunks": ...})`` as the tokenizer gives it."""
    theirs = []
    for output in outputs:
        item = {"tokens": torch.as_tensor(output.token_ids)[None]}
        if output.token_times is not None:
            item["token_timestamps"] = torch.as_tensor(output.token_times)[None]
        if output.stride is not None:
            item["stride"] = output.stride
        theirs.append(item)
    options = {"return_timestamps": return_timestamps, "return_language": return_language, "time_precision": 0.02}
    with quiet():
        return tokenizer._decode_asr(theirs, **options)


def our_reading(transcript, return_timestamps, return_language):
    if return_timestamps == "word":
        return transcript.text, {"chunks": transcript.words(language=return_language)}
    if return_timestamps or return_language:
        return transcript.text, {"chunks": transcript.chunks(times=bool(return_timestamps), language=return_language)}
    return transcript.text, {}
