"""The five checkpoints for sounds, documents and pictures in words: how each is built, fed, measured and told of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator
from torch import Tensor

from .documents import model as documents
from .optimise import Batch, Schedule
from .pictures import picture_texts, visual_questions
from .sounds import models as sounds


@dataclass(frozen=True)
class Lesson:
    """What a model learns at a time: a batch, what is minimised, and how long."""

    batch: Callable[[Generator, int], Batch]
    loss: Callable[[Any, Batch], Tensor]
    plan: Schedule


@dataclass(frozen=True)
class Kind:
    """One checkpoint: its model, what is saved beside it, and its lesson; what it learns before that, if anything, and
    the part of the model that serves its training alone."""

    model: Callable[[], Any]
    parts: Callable[[], tuple[Any, ...]]
    lesson: Lesson
    before: Lesson | None = None
    dropped: str | None = None


KINDS: dict[str, Kind] = {
    "spoken-words": Kind(
        sounds.recogniser,
        sounds.recogniser_parts,
        Lesson(sounds.spoken_batch, sounds.spoken_loss, Schedule(1000, batch_size=16, learning_rate=3e-3)),
    ),
    "sounds": Kind(
        sounds.classifier,
        sounds.classifier_parts,
        Lesson(sounds.sound_batch, picture_texts.own_loss, Schedule(700, batch_size=32, learning_rate=3e-3)),
    ),
    "receipts": Kind(
        documents.reader,
        documents.reader_parts,
        Lesson(documents.question_batch, documents.reading_loss, Schedule(1200, batch_size=16, learning_rate=3e-3)),
    ),
    "captions": Kind(
        picture_texts.captioner,
        picture_texts.captioner_parts,
        Lesson(picture_texts.captioned_batch, picture_texts.own_loss, Schedule(2600, batch_size=32)),
    ),
    "visual-questions": Kind(
        visual_questions.answerer,
        visual_questions.answerer_parts,
        Lesson(visual_questions.asked_batch, visual_questions.answering_loss, Schedule(9000, batch_size=32)),
        before=Lesson(visual_questions.seen_batch, visual_questions.seeing_loss, Schedule(900, batch_size=32)),
        dropped="shown",
    ),
}
"""Folder to what trains there, in the order of training."""
