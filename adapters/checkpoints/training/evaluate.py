"""Held-out figures: every measure draws fresh items whose names training never used."""

import math
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from .corpus_entities import LABELS as TAGS
from .corpus_inference import ENTAILMENT, fact_pair, mood_pair
from .corpus_rewriting import any_rewriting
from .corpus_stories import reading
from .corpus_topics import TOPICS, topical
from .encoders import Encoded, collate, corrupt, entity_item, masked_item, question_item, review_item
from .names import Names
from .optimise import pad

Figures = dict[str, float]
SEED = 20_000


def _held_out(count: int, draw: Callable[[Names], Any]) -> list[Any]:
    names = Names(random.Random(SEED), held_out=True)
    return [draw(names) for _ in range(count)]


@torch.inference_mode()
def _outputs(model: Any, items: list[Encoded]) -> list[Any]:
    """The model's output row of each item, in order; batches of like length."""
    order = sorted(range(len(items)), key=lambda i: len(items[i].ids))
    rows: list[Any] = [None] * len(items)
    for first in range(0, len(order), 64):
        part = order[first : first + 64]
        out = model(**collate([items[i] for i in part]))
        for row, i in enumerate(part):
            size = len(items[i].ids)
            rows[i] = {key: value[row][:size] if value[row].ndim else value[row] for key, value in out.items()}
    return rows


def span(start: torch.Tensor, end: torch.Tensor, first: int) -> tuple[int, int]:
    """The best span from token ``first`` on, at most 15 tokens long."""
    size = len(start)
    sums = start[:, None] + end[None]
    allowed = torch.ones(size, size, dtype=torch.bool).triu() & ~torch.ones(size, size, dtype=torch.bool).triu(15)
    allowed[:first] = False
    best = int(sums.masked_fill(~allowed, -math.inf).argmax())
    return best // size, best % size


def question_answering(model: Any, tokenizer: Any, count: int = 800) -> Figures:
    """Exact matches among questions that the paragraph answers, and how often the others are seen through."""
    items = _held_out(count, lambda names: question_item(tokenizer, names))
    hits: dict[bool, list[bool]] = defaultdict(list)
    for item, out in zip(items, _outputs(model, items), strict=True):
        asked, offsets = item.extra["question"], item.extra["offsets"]
        first = item.types.index(1)
        start, end = span(out["start_logits"], out["end_logits"], first)
        best = float(out["start_logits"][start] + out["end_logits"][end])
        nothing = float(out["start_logits"][0] + out["end_logits"][0])
        if asked.start < 0:
            hits[False].append(nothing > best)
        else:
            hits[True].append(asked.context[offsets[start][0] : offsets[end][1]] == asked.answer)
    return {"exact match": _mean(hits[True]), "unanswerable seen": _mean(hits[False])}


def entities(labels: list[int]) -> set[tuple[str, int, int]]:
    """The entities of a row of label ids, as (type, first token, one past the last)."""
    found, start, tag = set(), -1, ""
    for position, label in enumerate([*labels, 0]):
        name = TAGS[label] if label >= 0 else "O"
        if start >= 0 and not (name.startswith("I-") and name[2:] == tag):
            found.add((tag, start, position))
            start = -1
        if name.startswith("B-") or (name.startswith("I-") and start < 0):
            start, tag = position, name[2:]
    return found


def ner(model: Any, tokenizer: Any, count: int = 800) -> Figures:
    items = _held_out(count, lambda names: entity_item(tokenizer, names))
    right = guessed = true = 0
    for item, out in zip(items, _outputs(model, items), strict=True):
        best = out["logits"].argmax(-1).tolist()
        labels = [label if target >= 0 else 0 for label, target in zip(best, item.target, strict=True)]
        guess, gold = entities(labels), entities(item.target)
        right, guessed, true = right + len(guess & gold), guessed + len(guess), true + len(gold)
    return {"entity F1": 2 * right / (guessed + true), "precision": right / max(guessed, 1), "recall": right / true}


def sentiment(model: Any, tokenizer: Any, count: int = 800) -> Figures:
    items = _held_out(count, lambda names: review_item(tokenizer, names))
    return {
        "accuracy": _mean(o["logits"].argmax() == i.target for i, o in zip(items, _outputs(model, items), strict=True))
    }


def nli(model: Any, tokenizer: Any, count: int = 500) -> Figures:
    """Accuracy on pairs of statements, and zero-shot: the right one of all the topics, of negative and positive."""

    def score(pairs: list[tuple[str, str]]) -> torch.Tensor:
        encodings = [tokenizer.backend_tokenizer.encode(*pair) for pair in pairs]
        out = _outputs(model, [Encoded(e.ids, e.type_ids) for e in encodings])
        return torch.stack([row["logits"] for row in out])

    facts = _held_out(count, fact_pair)
    guessed = score([(p.premise, p.hypothesis) for p in facts]).argmax(-1).tolist()
    moods = _held_out(count, mood_pair)
    mood = score([(p.premise, p.hypothesis) for p in moods])
    texts = _held_out(count // 4, topical)
    keys = list(TOPICS)
    claims = score([(text, f"This example is {key}.") for text, _ in texts for key in keys])
    best = claims[:, ENTAILMENT].view(len(texts), len(keys)).argmax(-1).tolist()
    return {
        "accuracy on statements": _mean(g == p.label for g, p in zip(guessed, facts, strict=True)),
        "accuracy on moods": _mean((row.argmax() == p.label) for row, p in zip(mood, moods, strict=True)),
        f"zero-shot, best of {len(keys)} topics": _mean(
            keys[b] == topic for b, (_, topic) in zip(best, texts, strict=True)
        ),
    }


@torch.inference_mode()
def masked_lm(model: Any, tokenizer: Any, count: int = 400) -> Figures:
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(SEED)
    first = five = total = 0
    items = _held_out(count, lambda names: masked_item(tokenizer, names))
    for begin in range(0, count, 50):
        batch = collate(items[begin : begin + 50])
        ids = batch["input_ids"]
        hidden, chosen = corrupt(ids, tokenizer.mask_token_id, len(tokenizer))
        top = (
            model(**{**batch, "input_ids": torch.where(chosen, tokenizer.mask_token_id, hidden)})
            .logits[chosen]
            .topk(5)
            .indices
        )
        first += int((top[:, 0] == ids[chosen]).sum())
        five += int((top == ids[chosen][:, None]).any(-1).sum())
        total += int(chosen.sum())
    torch.random.set_rng_state(generator_state)
    return {"top 1": first / total, "top 5": five / total}


@torch.inference_mode()
def language_model(model: Any, tokenizer: Any, count: int = 400) -> Figures:
    encode = tokenizer.backend_tokenizer.encode
    rows = _held_out(count, lambda names: [tokenizer.bos_token_id, *encode(reading(names)).ids, tokenizer.eos_token_id])
    loss = total = 0.0
    for begin in range(0, count, 50):
        part = rows[begin : begin + 50]
        logits = model(input_ids=pad(part, tokenizer.pad_token_id)).logits[:, :-1]
        labels = pad(part, -100)[:, 1:]
        loss += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
        total += float((labels >= 0).sum())
    return {"perplexity per token": math.exp(loss / total)}


@torch.inference_mode()
def seq2seq(model: Any, tokenizer: Any, count: int = 400) -> Figures:
    """Exact matches of the greedy output, by kind."""
    items = sorted(_held_out(count, any_rewriting), key=lambda item: len(item.source))
    hits: dict[str, list[bool]] = defaultdict(list)
    for begin in range(0, count, 50):
        part = items[begin : begin + 50]
        inputs = tokenizer([item.source for item in part], return_tensors="pt", padding=True)
        out = model.generate(**inputs, max_new_tokens=64, do_sample=False, num_beams=1)
        for item, text in zip(part, tokenizer.batch_decode(out, skip_special_tokens=True), strict=True):
            hits[item.kind].append(text == item.target)
    return {f"exact match, {kind}": _mean(values) for kind, values in sorted(hits.items())}


def _mean(values: Any) -> float:
    collected = [float(value) for value in values]
    return sum(collected) / len(collected)


EVALUATIONS: dict[str, Callable[..., Figures]] = {
    "language-model": language_model,
    "seq2seq": seq2seq,
    "question-answering": question_answering,
    "ner": ner,
    "sentiment": sentiment,
    "nli": nli,
    "masked-lm": masked_lm,
}
