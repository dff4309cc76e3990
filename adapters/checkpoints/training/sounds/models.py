"""The two models for sound that ship, tiny, with their feature extractors; their batches and losses.

The recogniser is told more than its text: which letter stands where. A word's letters share its time evenly, which is
near enough for the network to learn where words begin and end, and it learns several times faster than by its
text alone.
"""

import json
import tempfile
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from . import noises, speech
from .spectra import sound_features, speech_features

Batch = dict[str, Any]
LETTERS = ("<pad>", "<unk>", "|", *sorted(set("".join(speech.WORDS))))
BLANK, DELIMITER = 0, 2
FRAME_SAMPLES = 320
SEED, TAKES = 7, 3
_MEL_BINS = 80
_SOUND = {"num_mel_bins": 64, "max_length": 96, "mean": -9.0, "std": 3.0}


@cache
def trained_clips() -> speech.Bank:
    """The clips that training hears: three takes of every word in every voice."""
    return speech.bank(speech.VOICES, TAKES, SEED)


def recogniser() -> Any:
    config = transformers.Wav2Vec2BertConfig(
        vocab_size=len(LETTERS),
        hidden_size=80,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=192,
        feature_projection_input_dim=2 * _MEL_BINS,
        conv_depthwise_kernel_size=15,
        left_max_position_embeddings=16,
        right_max_position_embeddings=16,
        apply_spec_augment=False,
        layerdrop=0.0,
        final_dropout=0.0,
        initializer_range=0.08,
        pad_token_id=BLANK,
        bos_token_id=None,
        eos_token_id=None,
    )
    return transformers.Wav2Vec2BertForCTC(config)


def recogniser_parts() -> tuple[Any, ...]:
    """The feature extractor and the tokenizer of letters."""
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=_MEL_BINS, num_mel_bins=_MEL_BINS, stride=2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vocab.json")
        file.write_text(json.dumps({letter: number for number, letter in enumerate(LETTERS)}))
        tokenizer = transformers.Wav2Vec2CTCTokenizer(str(file), bos_token=None, eos_token=None)
    return extractor, tokenizer


def spoken_batch(rng: Generator, size: int) -> Batch:
    """Utterances of one number of words, so that they are of like length."""
    count = int(rng.integers(1, 6))
    drawn = [speech.utterance(rng, trained_clips(), count) for _ in range(size)]
    features = [speech_features(each.samples) for each in drawn]
    lengths = torch.tensor([len(each) for each in features])
    texts = [torch.tensor([LETTERS.index(letter) for letter in each.text.replace(" ", "|")]) for each in drawn]
    places = [frame_letters(each, len(own)) for each, own in zip(drawn, features, strict=True)]
    return {
        "input_features": pad_sequence(features, batch_first=True),
        "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
        "texts": texts,
        "places": pad_sequence(places, batch_first=True, padding_value=-100),
    }


def frame_letters(spoken: speech.Utterance, frames: int) -> Tensor:
    """Which letter each frame belongs to [frames]: none outside, the delimiter between words."""
    found = torch.full((frames,), BLANK)
    bounds = [(round(start / FRAME_SAMPLES), min(round(end / FRAME_SAMPLES), frames)) for _, start, end in spoken.words]
    for (_, end), (start, _) in pairwise(bounds):
        found[end:start] = DELIMITER
    for (word, _, _), (start, end) in zip(spoken.words, bounds, strict=True):
        cuts = [start + round((end - start) * n / len(word)) for n in range(len(word) + 1)]
        for letter, before, first, last in zip(word, " " + word, cuts, cuts[1:], strict=False):
            found[first:last] = LETTERS.index(letter)
            if letter == before:  # two equal letters are two only with a blank between
                found[first] = BLANK
    return found


def spoken_loss(model: Any, batch: Batch) -> Tensor:
    logits = model(input_features=batch["input_features"], attention_mask=batch["attention_mask"]).logits
    texts = batch["texts"]
    whole = functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.cat(texts),
        batch["attention_mask"].sum(-1),
        torch.tensor([len(text) for text in texts]),
        blank=BLANK,
        zero_infinity=True,
    )
    return whole + functional.cross_entropy(logits.flatten(0, 1), batch["places"].flatten())


def classifier() -> Any:
    config = transformers.ASTConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        patch_size=16,
        frequency_stride=16,
        time_stride=16,
        max_length=_SOUND["max_length"],
        num_mel_bins=_SOUND["num_mel_bins"],
        initializer_range=0.08,
        id2label=dict(enumerate(noises.LABELS)),
        label2id={label: number for number, label in enumerate(noises.LABELS)},
    )
    return transformers.ASTForAudioClassification(config)


def classifier_parts() -> tuple[Any, ...]:
    return (transformers.ASTFeatureExtractor(**_SOUND),)


def sound_batch(rng: Generator, size: int) -> Batch:
    labels = rng.integers(0, len(noises.LABELS), size=size)
    bins, length, mean, std = (_SOUND[name] for name in ("num_mel_bins", "max_length", "mean", "std"))
    drawn = [noises.sound(rng, trained_clips(), int(label)) for label in labels]
    features = [sound_features(each, int(bins), int(length), mean, std) for each in drawn]
    return {"input_values": torch.stack(features), "labels": torch.from_numpy(labels)}
