"""The LayoutLM that ships: a vocabulary of syllables and the receipts' own words, batches of questions, the loss."""

import math
import random
import string
from typing import Any

import numpy as np
import torch
import transformers
from numpy.random import Generator
from tokenizers import normalizers
from torch import Tensor

from ...wordpiece import SPECIALS, wordpiece_tokenizer
from ..names import Names
from ..optimise import pad
from .receipts import Question, Receipt, question_words, questions, receipt

Batch = dict[str, Any]
MAX_LENGTH = 320
_CLUSTERS = "br cr dr fr gr kl pl pr sh sk sl st str th tr ch kn qu"
_ONSETS = (*"bcdfghjklmnpqrstvwxyz", *_CLUSTERS.split(" "))
_PRINTED = "date time receipt no served by cashier subtotal tax vat included total due paid payment with cash card"
_PRINTED += " voucher thank you street road square market store cafe bakery books stationers"


def tokenizer() -> Any:
    """WordPiece over the words that every receipt and question has; names go syllable by syllable, numbers by digits.

    A name in letters would have to be found by the order of eight of them; of its few syllables any one tells it from
    the other names of a page.
    """
    letters = [*string.ascii_lowercase, *string.digits, *(onset + vowel for onset in _ONSETS for vowel in "aeiou")]
    words = sorted({*(word.lower() for word in question_words()), *_PRINTED.split()} - set(letters))
    pieces = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *".,:/-?!&'()", *words]
    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    return wordpiece_tokenizer(pieces, normalizer=normalizer, max_length=MAX_LENGTH)


_TOKENIZER = tokenizer()


def reader() -> Any:
    config = transformers.LayoutLMConfig(
        vocab_size=len(_TOKENIZER),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=MAX_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
        pad_token_id=_TOKENIZER.pad_token_id,
    )
    model = transformers.LayoutLMForQuestionAnswering(config)
    # "On the same line" and "just before" are to be learned of places. Between random vectors that takes a table of all
    # pairs; between waves of many lengths it is one matrix.
    tables = model.layoutlm.embeddings
    with torch.no_grad():
        for table in (tables.position_embeddings, tables.x_position_embeddings, tables.y_position_embeddings):
            table.weight.copy_(waves(*table.weight.shape))
        # Keys that begin as queries: a token looks at its like, such as the name of the question on the page.
        for layer in model.layoutlm.encoder.layer:
            layer.attention.self.key.weight.copy_(layer.attention.self.query.weight)
    return model


def waves(count: int, size: int, height: float = 0.2) -> Tensor:
    """Sines and cosines of the places 0 to ``count`` - 1, of lengths from 6 to 6,000 places [count, size]."""
    lengths = 6.0 * 1000.0 ** (torch.arange(size // 2) / (size // 2))
    angles = torch.arange(count)[:, None] / lengths * 2 * math.pi
    return height * torch.cat([angles.sin(), angles.cos()], dim=1)


def reader_parts() -> tuple[Any, ...]:
    return (tokenizer(),)


def encoded(page: Receipt, question: Question) -> dict[str, list[Any]]:
    """Tokens, boxes and places of the answer as the pipeline makes them: the question in the corner of the page."""
    words, boxes = zip(*page.word_boxes, strict=True)
    found = _TOKENIZER(
        question.text.split(), list(words), is_split_into_words=True, truncation="only_second", max_length=MAX_LENGTH
    )
    sequences, places = found.sequence_ids(), found.word_ids()
    inside = [place if part == 1 else None for part, place in zip(sequences, places, strict=True)]
    outside = [[1000] * 4 if token == _TOKENIZER.sep_token_id else [0] * 4 for token in found["input_ids"]]
    own = [boxes[place] if place is not None else box for place, box in zip(inside, outside, strict=True)]
    return {
        "input_ids": found["input_ids"],
        "token_type_ids": found["token_type_ids"],
        "bbox": [list(box) for box in own],
        "span": [inside.index(question.first), len(inside) - 1 - inside[::-1].index(question.last)],
    }


def question_batch(rng: Generator, size: int) -> Batch:
    """Two questions each of fresh receipts."""
    names = Names(random.Random(int(rng.integers(2**62))), unlisted=0.5)
    rows: list[dict[str, list[Any]]] = []
    while len(rows) < size:
        page = receipt(names)
        asked = questions(names.rng, page)
        rows += [encoded(page, question) for question in names.rng.sample(asked, 2)]
    return as_batch(rows[:size])


def as_batch(rows: list[dict[str, list[Any]]]) -> Batch:
    lengths = np.array([len(row["input_ids"]) for row in rows])
    spans = torch.tensor([row["span"] for row in rows])
    boxes = torch.zeros(len(rows), int(lengths.max()), 4, dtype=torch.long)
    for own, row in zip(boxes, rows, strict=True):
        own[: len(row["bbox"])] = torch.tensor(row["bbox"])
    return {
        "input_ids": pad([row["input_ids"] for row in rows], _TOKENIZER.pad_token_id),
        "token_type_ids": pad([row["token_type_ids"] for row in rows], 0),
        "attention_mask": torch.from_numpy(np.arange(lengths.max()) < lengths[:, None]).long(),
        "bbox": boxes,
        "start_positions": spans[:, 0],
        "end_positions": spans[:, 1],
    }


def reading_loss(model: Any, batch: Batch) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss
