"""Drawn sentences for token classification, and transformers' own pipeline methods run on them without a model."""

import warnings
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
from transformers import TokenClassificationPipeline
from transformers.pipelines.token_classification import AggregationStrategy

LABEL_SETS = (
    ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    ("O", "B-PER", "I-PER", "E-PER", "S-PER"),
    ("O", "date-time", "B-date-time", "I-date-time", "time"),
    ("O", "I-A", "B-A", "B-O", "I-O", "B-", "I-", "-", "A"),
    ("PER", "LOC"),
    ("O",),
)
STRATEGIES = ("none", "simple", "first", "average", "max")
UNKNOWN = 0


class Tokens:
    """A tokenizer's few methods that transformers' postprocessing calls. Ids index ``strings``."""

    def __init__(self, strings, word_piece):
        self.strings = strings
        self.unk_token_id = UNKNOWN
        if word_piece:
            self._tokenizer = SimpleNamespace(model=SimpleNamespace(continuing_subword_prefix="##"))

    def convert_ids_to_tokens(self, token_id):
        return self.strings[token_id]

    def convert_tokens_to_string(self, tokens):
        return " ".join(tokens).replace(" ##", "").strip()


@dataclass
class Sentences:
    texts: list
    logits: torch.Tensor
    special: torch.Tensor  # [B, T], padding included
    real: torch.Tensor  # [B, T]
    token_ids: torch.Tensor
    offsets: torch.Tensor
    tokenizer: Tokens
    labels: tuple
    ignore_labels: list
    word_piece: bool


def draw_sentences(seed, items=None, same_text=False):
    """A padded batch of sentences cut into tokens at random; with ``same_text`` overlapping chunks of one text."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 5)) if items is None else items
    labels = LABEL_SETS[int(rng.integers(len(LABEL_SETS)))]
    word_piece = bool(rng.random() < 0.5)
    strings, rows, texts = ["[UNK]"], [], []
    text = None
    for _ in range(count):
        if text is None or not same_text:
            text = "".join(rng.choice(list("abcdé ,Ω🙂 "), int(rng.integers(0, 40))))
        texts.append(text)
        first = int(rng.integers(0, len(text) + 1)) if same_text else 0
        cuts = np.unique(rng.integers(first, len(text) + 1, int(rng.integers(0, 16))))
        row = []
        for a, b in pairwise(cuts):
            if text[a] == " " and rng.random() < 0.8:
                a = min(a + 1, b)
            continues = bool(rng.random() < 0.4)
            strings.append(("##" if continues else "") + text[a:b])
            row.append((len(strings) - 1 if rng.random() > 0.1 else UNKNOWN, int(a), int(b), bool(rng.random() < 0.1)))
        rows.append([(UNKNOWN, 0, 0, True), *row, (UNKNOWN, 0, 0, True)])
    length = max(len(row) for row in rows) + int(rng.integers(0, 3))
    real = torch.tensor([[i < len(row) for i in range(length)] for row in rows])
    padded = [row + [(UNKNOWN, 0, 0, True)] * (length - len(row)) for row in rows]
    scale = float(rng.choice([0.0, 1.0, 3.0, 30.0]))
    logits = torch.from_numpy(rng.normal(0, scale, (count, length, len(labels))).astype(np.float32))
    if rng.random() < 0.3:
        logits = logits.round()
    if rng.random() < 0.2:
        logits = logits.to(torch.bfloat16 if rng.random() < 0.5 else torch.float16)
    return Sentences(
        texts,
        logits,
        torch.tensor([[t[3] for t in row] for row in padded]),
        real,
        torch.tensor([[t[0] for t in row] for row in padded]),
        torch.tensor([[t[1:3] for t in row] for row in padded]),
        Tokens(strings, word_piece),
        labels,
        [["O"], [], ["O", "PER"], ["B-PER", "time"]][int(rng.integers(4))],
        word_piece,
    )


def library_entities(case, strategy, rows=None):
    """Transformers' entities of each item, or of all items as chunks of one text when ``rows`` is "chunks"."""
    pipeline = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    pipeline.tokenizer = case.tokenizer
    pipeline.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(case.labels))))
    outputs = []
    for i, text in enumerate(case.texts):
        n = int(case.real[i].sum())
        outputs.append(
            {
                "logits": case.logits[i : i + 1, :n],
                "sentence": text,
                "input_ids": case.token_ids[i : i + 1, :n],
                "offset_mapping": case.offsets[i : i + 1, :n],
                "special_tokens_mask": case.special[i : i + 1, :n].long(),
            }
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = AggregationStrategy(strategy)
        if rows == "chunks":
            return pipeline.postprocess(outputs, chosen, case.ignore_labels)
        return [pipeline.postprocess([output], chosen, case.ignore_labels) for output in outputs]
