"""Trains the models for sounds, documents and pictures in words that ship, from drawn data alone.

    python -m afterlogits.adapters.checkpoints.training.train_media [--only NAME ...] [--out FOLDER] [--shorter N]

Needs the program espeak-ng, which speaks the words. Everything is drawn from one fixed seed, on one thread a model, so
that a run gives the same bits again. Two processes share the models. Each model is saved in half precision, loaded
again as a user would load it, and measured.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .command import run_trainer
from .media_cards import write_card
from .media_figures import FIGURES, Figures
from .media_models import KINDS, Lesson
from .optimise import Batch, Schedule, fit

SEED = 2026
SECOND = ("visual-questions",)
"""What the second process trains: about as long as all the others together."""


def _feed(lesson: Lesson) -> Iterator[Batch]:
    rng = np.random.default_rng(SEED)
    while True:
        yield lesson.batch(rng, lesson.plan.batch_size)


def _learn(model: Any, lesson: Lesson, shorter: int, name: str) -> tuple[Schedule, float]:
    """Train in place; the schedule kept to and the processor seconds spent."""
    plan = replace(lesson.plan, steps=max(lesson.plan.steps // shorter, 10))
    return plan, fit(model, _feed(lesson), lesson.loss, plan, name)


def train(name: str, out: Path, shorter: int = 1) -> Figures:
    """Train, save and measure one model; writes its folder with the card."""
    torch.manual_seed(SEED)
    kind = KINDS[name]
    model = kind.model()
    earlier = _learn(model, kind.before, shorter, f"{name}, first")[1] if kind.before else 0.0
    plan, spent = _learn(model, kind.lesson, shorter, name)
    if kind.dropped:
        delattr(model, kind.dropped)
    save(name, model, out / name)
    return measure(name, out, plan, earlier + spent)


def save(name: str, model: Any, folder: Path) -> None:
    """The weights in half precision and all that a pipeline needs beside them."""
    model.half().save_pretrained(folder, safe_serialization=True)
    for part in KINDS[name].parts():
        part.save_pretrained(folder)
    for file in ("config.json", "preprocessor_config.json", "generation_config.json", "tokenizer_config.json"):
        if (folder / file).exists():
            _plain(folder / file)


def _plain(path: Path) -> None:
    """A configuration that says float32, and processors and tokenizers whose classes every version has."""
    said = json.loads(path.read_text())
    if said.get("tokenizer_class") == "TokenizersBackend":
        said["tokenizer_class"] = "PreTrainedTokenizerFast"
    said.pop("transformers_version", None)
    for each in (said, *(value for value in said.values() if isinstance(value, dict))):
        if "dtype" in each:
            each["dtype"] = "float32"
    if "image_processor_type" in said:
        said["image_processor_type"] = said["image_processor_type"].removesuffix("Pil").removesuffix("Fast")
    path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")


def measure(name: str, out: Path, plan: Schedule, spent: float) -> Figures:
    """Measure a saved model by the pipeline that loads it, on held-out items, and write its card."""
    figures = FIGURES[name](out / name)
    write_card(name, out / name, figures, SEED, plan, spent)
    print(f"{name:20} held-out: {', '.join(f'{key} {value:.3f}' for key, value in figures.items())}", flush=True)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    def one(name: str, arguments: argparse.Namespace) -> Figures:
        return train(name, arguments.out, arguments.shorter)

    return run_trainer(f"{__package__}.train_media", __doc__ or "", KINDS, SECOND, one, argv)


if __name__ == "__main__":
    raise SystemExit(main())
