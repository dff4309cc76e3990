"""The five encoder models: their shape, how each task becomes tensors, and what each learns to minimise."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from . import corpus_entities, corpus_inference, corpus_reviews
from .corpus_questions import question
from .corpus_stories import everyday
from .names import Names
from .optimise import Batch, batches, pad
from .vocabularies import MAX_LENGTH

IGNORED = -100


@dataclass
class Encoded:
    """One text or pair as ids, with its target: a label, a span, or a label per token."""

    ids: list[int]
    types: list[int]
    target: Any = None
    extra: dict[str, Any] = field(default_factory=dict)


def config(vocab_size: int, layers: int = 4, labels: tuple[str, ...] = ()) -> BertConfig:
    named = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}} if labels else {}
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.1,  # one over the root of the width: at 0.02 the loss stays flat for hundreds of steps
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        **named,
    )


def waves(positions: int, width: int) -> torch.Tensor:
    """Sinusoidal position vectors (Vaswani et al. 2017, section 3.5), scaled to the size of the word vectors.

    >>> waves(2, 2)
    tensor([[0.0000, 0.1000],
            [0.0841, 0.0540]])
    """
    angles = torch.arange(positions)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return 0.1 * torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def _encode(tokenizer: Any, first: str, second: str | None = None) -> Any:
    """The fast tokenizer's own encoding, cut at the longest length."""
    encoding = tokenizer.backend_tokenizer.encode(first, second)
    encoding.truncate(MAX_LENGTH)
    return encoding


def masked_item(tokenizer: Any, names: Names) -> Encoded:
    encoding = _encode(tokenizer, everyday(names))
    return Encoded(encoding.ids, encoding.type_ids)


def question_item(tokenizer: Any, names: Names) -> Encoded:
    """Start and end token of the answer; [CLS] (token 0) when there is none."""
    asked = question(names)
    encoding = _encode(tokenizer, asked.question, asked.context)
    start = end = 0
    if asked.start >= 0:
        last = asked.start + len(asked.answer) - 1
        inside = [i for i, s in enumerate(encoding.sequence_ids) if s == 1]
        starts = [i for i in inside if encoding.offsets[i][0] <= asked.start < encoding.offsets[i][1]]
        ends = [i for i in inside if encoding.offsets[i][0] <= last < encoding.offsets[i][1]]
        start, end = (starts[0], ends[0]) if starts and ends else (0, 0)
    return Encoded(encoding.ids, encoding.type_ids, (start, end), {"question": asked, "offsets": encoding.offsets})


def entity_item(tokenizer: Any, names: Names) -> Encoded:
    """A label for every piece of every word: B for the first piece of an entity, I for its other pieces."""
    found = corpus_entities.tagged(names)
    encoding = _encode(tokenizer, found.text)
    labels = [IGNORED if special else 0 for special in encoding.special_tokens_mask]
    for tag, start, end in found.entities:
        inside = [i for i, (s, e) in enumerate(encoding.offsets) if e > s and s >= start and e <= end]
        for position, i in enumerate(inside):
            labels[i] = corpus_entities.LABELS.index(("I-" if position else "B-") + tag)
    return Encoded(encoding.ids, encoding.type_ids, labels)


def review_item(tokenizer: Any, names: Names) -> Encoded:
    found = corpus_reviews.review(names)
    encoding = _encode(tokenizer, found.text)
    return Encoded(encoding.ids, encoding.type_ids, found.label)


def pair_item(tokenizer: Any, names: Names) -> Encoded:
    found = corpus_inference.pair(names)
    encoding = _encode(tokenizer, found.premise, found.hypothesis)
    return Encoded(encoding.ids, encoding.type_ids, (found.label, *found.about))


def collate(items: Any) -> Batch:
    """Padded tensors."""
    return {
        "input_ids": pad([item.ids for item in items], 0),
        "token_type_ids": pad([item.types for item in items], 0),
        "attention_mask": pad([[1] * len(item.ids) for item in items], 0),
    }


def feed(item: Callable[[Any, Names], Encoded], tokenizer: Any, seed: int, batch_size: int) -> Iterator[Batch]:
    """Training batches without end; ``target`` holds the task's own targets."""
    rng = random.Random(seed)
    names = Names(rng)
    for items in batches(lambda: item(tokenizer, names), lambda i: len(i.ids), batch_size, rng):
        batch = collate(items)
        if isinstance(items[0].target, list):
            batch["target"] = pad([i.target for i in items], IGNORED)
        elif items[0].target is not None:
            batch["target"] = torch.tensor([i.target for i in items])
        yield batch


def corrupt(ids: torch.Tensor, mask_token_id: int, vocab_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide a quarter of the tokens as BERT does (80 % [MASK], 10 % random, 10 % kept); returns ids and where."""
    chosen = (torch.rand(ids.shape) < 0.25) & (ids > 4)
    roll = torch.rand(ids.shape)
    hidden = torch.where(chosen & (roll < 0.8), mask_token_id, ids)
    hidden = torch.where(chosen & (roll >= 0.9), torch.randint(5, vocab_size, ids.shape), hidden)
    return hidden, chosen


def _inputs(batch: Batch) -> Batch:
    return {key: value for key, value in batch.items() if key != "target"}


def masked_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    assert isinstance(model, BertForMaskedLM)
    hidden_ids, chosen = corrupt(batch["input_ids"], 4, model.config.vocab_size)
    states = model.bert(**{**_inputs(batch), "input_ids": hidden_ids}).last_hidden_state
    return cross_entropy(model.cls(states[chosen]), batch["input_ids"][chosen])


def span_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    out = model(**_inputs(batch))
    outside = batch["attention_mask"] == 0
    start, end = (scores.masked_fill(outside, -1e4) for scores in (out.start_logits, out.end_logits))
    return (cross_entropy(start, batch["target"][:, 0]) + cross_entropy(end, batch["target"][:, 1])) / 2


def label_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of a label per text or, ignoring special tokens, per token."""
    logits = model(**_inputs(batch)).logits
    return cross_entropy(logits.flatten(0, -2), batch["target"].flatten(), ignore_index=IGNORED)


def pair_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the relation, and of what each side is about, read half-way up by one shared linear layer.

    Whether two topics match shows in neither side alone, so the relation by itself gives no gradient to start from.
    Once both sides name their topic in the same directions, attention finds the match.
    """
    out = model(**_inputs(batch), output_hidden_states=True)
    loss = cross_entropy(out.logits, batch["target"][:, 0])
    states = out.hidden_states[len(out.hidden_states) // 2]
    for side in (0, 1):
        inside = (batch["attention_mask"] * (batch["token_type_ids"] == side))[..., None]
        mean = (states * inside).sum(1) / inside.sum(1)
        about = batch["target"][:, 1 + side]
        if bool((about >= 0).any()):
            loss = loss + 0.5 * cross_entropy(model.subjects(mean), about, ignore_index=IGNORED)  # type: ignore[operator]
    return loss


@dataclass(frozen=True)
class Encoder:
    """A task of the encoder: the model class, its depth and labels, its items and its loss."""

    model: Any
    item: Callable[[Any, Names], Encoded]
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    layers: int = 4
    labels: tuple[str, ...] = ()
    subjects: int = 0  # classes of the side head that exists in training only

    def build(self, vocab_size: int) -> Any:
        model = self.model(config(vocab_size, self.layers, self.labels))
        if self.subjects:
            model.subjects = nn.Linear(model.config.hidden_size, self.subjects)
        # Sine waves to start from: a neighbour is then a linear map away, where random vectors hide the order of words.
        with torch.no_grad():
            model.bert.embeddings.position_embeddings.weight.copy_(waves(MAX_LENGTH, model.config.hidden_size))
        return model


ENCODERS = {
    "masked-lm": Encoder(BertForMaskedLM, masked_item, masked_loss),
    "question-answering": Encoder(BertForQuestionAnswering, question_item, span_loss),
    "ner": Encoder(BertForTokenClassification, entity_item, label_loss, labels=corpus_entities.LABELS),
    "sentiment": Encoder(BertForSequenceClassification, review_item, label_loss, labels=corpus_reviews.LABELS),
    "nli": Encoder(
        BertForSequenceClassification, pair_item, pair_loss, 4, corpus_inference.LABELS, len(corpus_inference.SUBJECTS)
    ),
}
