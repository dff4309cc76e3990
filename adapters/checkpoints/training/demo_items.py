"""Draws what ``make demo`` shows beside the classic examples: held-out items with their right answers, from one seed.

    python -m afterlogits.adapters.checkpoints.training.demo_items

writes ``demo_items.json`` beside the weights, so that the demonstration needs none of the training code.
"""

import json
import random
from typing import Any

from . import corpus_entities, corpus_questions, corpus_reviews, corpus_rewriting, corpus_topics
from .command import WEIGHTS
from .names import Names

SEED = 1
FILE = WEIGHTS / "demo_items.json"


def _held_out() -> Names:
    """The names and pairings that training never saw, from the seed."""
    return Names(random.Random(SEED), held_out=True)


def _questions() -> list[dict[str, str]]:
    names = _held_out()
    drawn = [corpus_questions.question(names, unanswerable=0.0) for _ in range(2)]
    return [{"question": q.question, "context": q.context, "answer": q.answer} for q in drawn]


def _entities() -> dict[str, Any]:
    drawn = corpus_entities.tagged(_held_out())
    return {"text": drawn.text, "entities": [list(entity) for entity in drawn.entities]}


def _reviews() -> list[dict[str, str]]:
    names = _held_out()
    drawn = [corpus_reviews.review(names) for _ in range(3)]
    return [{"text": review.text, "label": corpus_reviews.LABELS[review.label]} for review in drawn]


def _topic() -> dict[str, Any]:
    names = _held_out()
    text, topic = corpus_topics.topical(names)
    others = names.rng.sample([key for key in corpus_topics.TOPICS if key != topic], 2)
    return {"text": text, "labels": sorted([topic, *others]), "topic": topic}


def _rewritings() -> list[dict[str, str]]:
    names = _held_out()
    drawn = [
        draw(names)
        for draw in (corpus_rewriting.rewriting, corpus_rewriting.summary, corpus_rewriting.translation)
        for _ in range(2)
    ]
    return [{"source": item.source, "target": item.target} for item in drawn]


def drawn_items() -> dict[str, Any]:
    """Every drawn item of the demonstration, by task."""
    return {
        "questions": _questions(),
        "entities": _entities(),
        "reviews": _reviews(),
        "topic": _topic(),
        "rewritings": _rewritings(),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(drawn_items(), indent=1) + "\n")
