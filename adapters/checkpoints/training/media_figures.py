"""Held-out figures of the checkpoints for sounds, documents and pictures in words, by the pipelines that users call."""

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...pipelines import pipeline
from .documents import receipts as pages
from .names import Names
from .pictures import picture_texts, scene_questions, scenes
from .sounds import noises, speech

Figures = dict[str, float]
SEED = 20_000


def word_errors(said: Sequence[str], meant: Sequence[str]) -> int:
    """The least number of words put in, left out or changed between two texts.

    >>> word_errors("one two".split(), "one three two".split())
    1
    """
    row = list(range(len(meant) + 1))
    for number, word in enumerate(said, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(meant, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


@cache
def _new_clips(voices: tuple[str, ...]) -> speech.Bank:
    """One take of every word that no training heard, of speeds and pitches of its own."""
    return speech.bank(voices, 1, SEED)


def _utterances(voices: tuple[str, ...], count: int) -> list[speech.Utterance]:
    drawn = speech.utterances(np.random.default_rng(SEED), _new_clips(voices))
    return [next(drawn) for _ in range(count)]


def spoken_words(folder: Path, count: int = 400) -> Figures:
    recognise: Any = pipeline("automatic-speech-recognition", model=str(folder))
    figures: Figures = {}
    away: list[float] = []
    for kind, voices in (("voices of training", speech.VOICES), ("new voices", speech.NEW_VOICES)):
        drawn = _utterances(voices, count)
        found = recognise([each.samples for each in drawn], return_timestamps="word")
        wrong = [word_errors(one["text"].split(), each.text.split()) for one, each in zip(found, drawn, strict=True)]
        figures[f"word error rate, {kind}"] = sum(wrong) / sum(len(each.words) for each in drawn)
        figures[f"texts right, {kind}"] = wrong.count(0) / count
        away += _away([one for one, errors in zip(zip(found, drawn, strict=True), wrong, strict=True) if not errors])
    figures["median seconds between true and found bounds of words"] = float(np.median(away))
    figures["bounds of words within 0.05 s"] = float((np.array(away) < 0.05).mean())
    return figures


def _away(pairs: Sequence[tuple[Any, speech.Utterance]]) -> list[float]:
    """How far off the bounds of rightly read words are, in seconds."""
    return [
        abs(found - true / speech.RATE)
        for record, spoken in pairs
        for chunk, (_, start, end) in zip(record["chunks"], spoken.words, strict=True)
        for found, true in zip(chunk["timestamp"], (start, end), strict=True)
    ]


def sounds(folder: Path, count: int = 800) -> Figures:
    name: Any = pipeline("audio-classification", model=str(folder))
    rng = np.random.default_rng(SEED)
    labels = [int(label) for label in rng.integers(len(noises.LABELS), size=count)]
    drawn = [noises.sound(rng, _new_clips(speech.NEW_VOICES), label) for label in labels]
    found = [noises.LABELS.index(each[0]["label"]) for each in name(drawn, top_k=1)]
    right = np.array(found) == np.array(labels)
    least = min(float(right[np.array(labels) == label].mean()) for label in set(labels))
    return {f"accuracy of {len(noises.LABELS)} labels": float(right.mean()), "recall of the hardest label": least}


def receipts(folder: Path, count: int = 100) -> Figures:
    """Every question that a page answers, on pages whose names and things no training saw."""
    ask: Any = pipeline("document-question-answering", model=str(folder))
    names = Names(random.Random(SEED), held_out=True)
    drawn = [pages.receipt(names) for _ in range(count)]
    asked = [(page, question) for page in drawn for question in pages.questions(names.rng, page)]
    items = [{"question": question.text, "word_boxes": page.word_boxes} for page, question in asked]
    said = [answers[0]["answer"] for answers in ask(items)]
    right = [one == page.answer(question) for one, (page, question) in zip(said, asked, strict=True)]
    figures = {"answers right": sum(right) / len(right)}
    for kind in ("total", "shop", "cashier", "number"):
        own = [hit for hit, (_, question) in zip(right, asked, strict=True) if question.kind == kind]
        figures[f"answers right, {kind}"] = sum(own) / len(own)
    return figures


def captions(folder: Path, count: int = 400) -> Figures:
    describe: Any = pipeline("image-to-text", model=str(folder))
    rng = np.random.default_rng(SEED)
    drawn = [scenes.draw(rng, scenes.apart(rng, 3)) for _ in range(count)]
    said = [found[0]["generated_text"] for found in describe([Image.fromarray(each.image) for each in drawn])]
    meant = [picture_texts.caption(each.things) for each in drawn]
    right = [one == other for one, other in zip(said, meant, strict=True)]
    figures = {"captions right": sum(right) / count}
    for number, name in ((1, "one thing"), (2, "two things"), (3, "three things")):
        own = [hit for hit, each in zip(right, drawn, strict=True) if len(each.things) == number]
        figures[f"captions right, {name}"] = sum(own) / len(own)
    return figures


def visual_questions(folder: Path, count: int = 1000) -> Figures:
    """A question each about pictures of one to three things, as many of every kind."""
    ask: Any = pipeline("visual-question-answering", model=str(folder))
    rng = np.random.default_rng(SEED)
    kinds = [scene_questions.KINDS[number % len(scene_questions.KINDS)] for number in range(count)]
    drawn = [scene_questions.asked(rng, kind) for kind in kinds]
    items = [{"image": Image.fromarray(scene.image), "question": question.text} for scene, question in drawn]
    said = [answers[0]["answer"] for answers in ask(items, top_k=1)]
    right = [one == question.answer for one, (_, question) in zip(said, drawn, strict=True)]
    figures = {"answers right": sum(right) / count}
    for kind in scene_questions.KINDS:
        own = [hit for hit, asked in zip(right, kinds, strict=True) if asked == kind]
        figures[f"answers right, {kind}"] = sum(own) / len(own)
    return figures


FIGURES: dict[str, Callable[..., Figures]] = {
    "spoken-words": spoken_words,
    "sounds": sounds,
    "receipts": receipts,
    "captions": captions,
    "visual-questions": visual_questions,
}
