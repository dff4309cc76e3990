"""The four checkpoints for sounds, documents and pictures in words: how each is built, fed, measured and told of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator
from torch import Tensor

from .documents import model as documents
from .optimise import Batch, Schedule
from .pictures import picture_texts
from .sounds import models as sounds


@dataclass(frozen=True)
class Kind:
    """One checkpoint: its model, what is saved beside it, a batch, what is minimised, and how long."""

    model: Callable[[], Any]
    parts: Callable[[], tuple[Any, ...]]
    batch: Callable[[Generator, int], Batch]
    loss: Callable[[Any, Batch], Tensor]
    plan: Schedule


KINDS: dict[str, Kind] = {
    "spoken-words": Kind(
        sounds.recogniser,
        sounds.recogniser_parts,
        sounds.spoken_batch,
        sounds.spoken_loss,
        Schedule(1000, batch_size=16, learning_rate=3e-3),
    ),
    "sounds": Kind(
        sounds.classifier,
        sounds.classifier_parts,
        sounds.sound_batch,
        picture_texts.own_loss,
        Schedule(700, batch_size=32, learning_rate=3e-3),
    ),
    "receipts": Kind(
        documents.reader,
        documents.reader_parts,
        documents.question_batch,
        documents.reading_loss,
        Schedule(1200, batch_size=16, learning_rate=3e-3),
    ),
    "captions": Kind(
        picture_texts.captioner,
        picture_texts.captioner_parts,
        picture_texts.captioned_batch,
        picture_texts.own_loss,
        Schedule(2600, batch_size=32, learning_rate=2e-3),
    ),
}
"""Folder to what trains there, in the order of training."""
