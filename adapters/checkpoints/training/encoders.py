"""The five encoder models: their shape, how each task becomes tensors, and what each learns to minimise."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from .corpus_facts import SENSES
from .corpus_questions import question
from .corpus_stories import everyday
from .names import Names
from .optimise import Batch, batches, pad
from .vocabularies import MAX_LENGTH

IGNORED = -100
# Side heads: how many classes, and after which layer they read.
CLASSES = {"occurs": 2, "senses": len(SENSES) + 1, "about": 2, "stands": 2}
LAYERS = {"occurs": 1, "senses": 2, "about": 3, "stands": 3}


@dataclass
class Encoded:
    """One text or pair as ids, with its target: a label, a span, or a label per token."""

    ids: list[int]
    types: list[int]
    target: Any = None
    hints: dict[str, list[int]] = field(default_factory=dict)  # labels per token, for the side heads of training
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


def liken(model: Any) -> None:
    """Give half of the first layer's heads their query weights as key weights: each piece then attends to its like.

    From there a layer learns within a hundred steps which pieces two texts share; from random weights, not in three
    hundred.
    """
    attention = model.bert.encoder.layer[0].attention.self
    half = model.config.hidden_size // 2
    with torch.no_grad():
        attention.key.weight[:half] = attention.query.weight[:half]
        attention.key.bias[:half] = attention.query.bias[:half]


def _encode(tokenizer: Any, first: str, second: str | None = None) -> Any:
    """The fast tokenizer's own encoding, cut at the longest length."""
    encoding = tokenizer.backend_tokenizer.encode(first, second)
    encoding.truncate(MAX_LENGTH)
    return encoding


def masked_item(tokenizer: Any, names: Names) -> Encoded:
    encoding = _encode(tokenizer, everyday(names))
    return Encoded(encoding.ids, encoding.type_ids)


def _labels(encoding: Any, side: int, spans: Iterable[tuple[int, int, int]], labels: list[int]) -> None:
    """Write the label of each (label, start, end) on the pieces that lie in the span."""
    spans = list(spans)
    for i, (belongs, (start, end)) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True)):
        if belongs == side:
            for label, first, last in spans:
                if start >= first and end <= last:
                    labels[i] = label
                    break


def _occurs(encoding: Any) -> list[int]:
    """Of each piece of the second text: whether the first has it too. Names are compared piece by piece."""
    ids, sides = encoding.ids, encoding.sequence_ids
    first = {piece for piece, side in zip(ids, sides, strict=True) if side == 0}
    return [int(piece in first) if side == 1 else IGNORED for piece, side in zip(ids, sides, strict=True)]


def question_item(tokenizer: Any, names: Names) -> Encoded:
    """Start and end token of the answer; [CLS] (token 0) when there is none.

    Hints: which pieces the question has too; what each value of the paragraph says and what the question asks for, in
    the same numbers; and which sentences are about the subject of the question.
    """
    asked = question(names)
    encoding = _encode(tokenizer, asked.question, asked.context)
    sides, offsets = encoding.sequence_ids, encoding.offsets
    start = end = 0
    if asked.start >= 0:
        last = asked.start + len(asked.answer) - 1
        inside = [i for i, s in enumerate(sides) if s == 1]
        starts = [i for i in inside if offsets[i][0] <= asked.start < offsets[i][1]]
        ends = [i for i in inside if offsets[i][0] <= last < offsets[i][1]]
        start, end = (starts[0], ends[0]) if starts and ends else (0, 0)
    senses = [{0: asked.asked, 1: 0}.get(side, IGNORED) for side in sides]
    about = [0 if side == 1 else IGNORED for side in sides]
    _labels(encoding, 1, asked.senses, senses)
    _labels(encoding, 1, [(1, *span) for span in asked.about], about)
    hints = {"occurs": _occurs(encoding), "senses": senses, "about": about}
    return Encoded(encoding.ids, encoding.type_ids, (start, end), hints, {"question": asked, "offsets": offsets})


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
    """Hints for statements: what each value says, and whether a value of the hypothesis stands in the premise.

    For every pair: which pieces of the hypothesis the premise has too.
    """
    found = corpus_inference.pair(names)
    encoding = _encode(tokenizer, found.premise, found.hypothesis)
    senses = [IGNORED] * len(encoding.ids)
    stands = [IGNORED] * len(encoding.ids)
    if found.stands:
        senses = [IGNORED if side is None else 0 for side in encoding.sequence_ids]
        for side in (0, 1):
            _labels(encoding, side, found.senses[side], senses)
        values = zip(found.stands, found.senses[1], strict=True)
        _labels(encoding, 1, [(int(stand), start, end) for stand, (_, start, end) in values], stands)
    hints = {"occurs": _occurs(encoding), "senses": senses, "stands": stands}
    return Encoded(encoding.ids, encoding.type_ids, (found.label, *found.about), hints)


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
    names = Names(rng, unlisted=0.5)
    for items in batches(lambda: item(tokenizer, names), lambda i: len(i.ids), batch_size, rng):
        batch = collate(items)
        if isinstance(items[0].target, list):
            batch["target"] = pad([i.target for i in items], IGNORED)
        elif items[0].target is not None:
            batch["target"] = torch.tensor([i.target for i in items])
        for name in items[0].hints:
            batch["hint " + name] = pad([i.hints[name] for i in items], IGNORED)
        yield batch


def corrupt(
    ids: torch.Tensor, mask_token_id: int, vocab_size: int, share: float = 0.15
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide a share of the tokens as BERT does (80 % [MASK], 10 % random, 10 % kept); returns ids and where."""
    chosen = (torch.rand(ids.shape) < share) & (ids > 4)
    roll = torch.rand(ids.shape)
    hidden = torch.where(chosen & (roll < 0.8), mask_token_id, ids)
    hidden = torch.where(chosen & (roll >= 0.9), torch.randint(5, vocab_size, ids.shape), hidden)
    return hidden, chosen


def _inputs(batch: Batch) -> Batch:
    return {key: value for key, value in batch.items() if key != "target" and not key.startswith("hint ")}


def masked_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    assert isinstance(model, BertForMaskedLM)
    hidden_ids, chosen = corrupt(batch["input_ids"], 4, model.config.vocab_size, share=0.3)
    states = model.bert(**{**_inputs(batch), "input_ids": hidden_ids}).last_hidden_state
    return cross_entropy(model.cls(states[chosen]), batch["input_ids"][chosen])


def _hint_loss(model: nn.Module, batch: Batch, states: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of the side heads: each reads one layer with one linear map, on every token it has a label for."""
    loss = states[0].new_zeros(())
    for name, head in model.hints.items():  # type: ignore[operator, union-attr]
        labels = batch["hint " + name]
        if bool((labels >= 0).any()):
            logits = head(states[LAYERS[name]])
            loss = loss + cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    return loss


def span_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of start and end, and of the hints: two labels for a paragraph alone teach very slowly."""
    out = model(**_inputs(batch), output_hidden_states=True)
    outside = batch["attention_mask"] == 0
    start, end = (scores.masked_fill(outside, -1e4) for scores in (out.start_logits, out.end_logits))
    answer = (cross_entropy(start, batch["target"][:, 0]) + cross_entropy(end, batch["target"][:, 1])) / 2
    return answer + _hint_loss(model, batch, out.hidden_states)


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
    loss = cross_entropy(out.logits, batch["target"][:, 0]) + _hint_loss(model, batch, out.hidden_states)
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
    hints: tuple[str, ...] = ()  # side heads that label tokens, in training only

    def build(self, vocab_size: int) -> Any:
        model = self.model(config(vocab_size, self.layers, self.labels))
        if self.subjects:
            model.subjects = nn.Linear(model.config.hidden_size, self.subjects)
        model.hints = nn.ModuleDict({h: nn.Linear(model.config.hidden_size, CLASSES[h]) for h in self.hints})
        # Sine waves to start from: a neighbour is then a linear map away, where random vectors hide the order of words.
        with torch.no_grad():
            model.bert.embeddings.position_embeddings.weight.copy_(waves(MAX_LENGTH, model.config.hidden_size))
        return model

    def strip(self, model: Any) -> None:
        """Take off what only training needs."""
        if self.subjects:
            del model.subjects
        del model.hints


ENCODERS = {
    "masked-lm": Encoder(BertForMaskedLM, masked_item, masked_loss),
    "question-answering": Encoder(
        BertForQuestionAnswering, question_item, span_loss, hints=("occurs", "senses", "about")
    ),
    "ner": Encoder(BertForTokenClassification, entity_item, label_loss, labels=corpus_entities.LABELS),
    "sentiment": Encoder(BertForSequenceClassification, review_item, label_loss, labels=corpus_reviews.LABELS),
    "nli": Encoder(
        BertForSequenceClassification,
        pair_item,
        pair_loss,
        4,
        corpus_inference.LABELS,
        len(corpus_inference.SUBJECTS),
        ("occurs", "senses", "stands"),
    ),
}
