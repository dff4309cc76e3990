"""Trains the vision models that ship, from drawn scenes alone.

    python -m afterlogits.adapters.checkpoints.training.pictures.train [--only NAME ...] [--out FOLDER] [--shorter N]

Everything is drawn from one fixed seed, on one thread a model, so that a run gives the same bits again. Two processes
share the models. Each model is saved in half precision, loaded again as a user would load it, and measured.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..command import run_trainer
from ..optimise import Batch, Schedule, fit
from .cards import write_card
from .evaluate import EVALUATIONS, Figures
from .models import KINDS

SEED = 2026
PLANS = {
    "shapes": Schedule(600, batch_size=32, learning_rate=4e-3),
    "shape-maps": Schedule(2000, batch_size=16, learning_rate=3e-3),
    "distances": Schedule(2000, batch_size=16, learning_rate=3e-3),
    "directions": Schedule(900, batch_size=32, learning_rate=3e-3),
    "views": Schedule(1000, batch_size=12, learning_rate=3e-3, weight_decay=1e-4),
    "shape-boxes": Schedule(4000, batch_size=16, learning_rate=2e-3, weight_decay=1e-4),
}
SECOND = ("shape-boxes",)
"""What the second process trains: the longest."""


def _feed(name: str, size: int) -> Iterator[Batch]:
    rng = np.random.default_rng(SEED)
    while True:
        yield KINDS[name].batch(rng, size)


def train(name: str, out: Path, shorter: int = 1) -> Figures:
    """Train, save and measure one model; writes its folder with the card."""
    torch.manual_seed(SEED)
    kind, plan = KINDS[name], PLANS[name]
    plan = replace(plan, steps=max(plan.steps // shorter, 10))
    model = kind.model()
    spent = fit(model, _feed(name, plan.batch_size), kind.loss, plan, name)
    folder = out / name
    model.half().save_pretrained(folder, safe_serialization=True)
    kind.processor().save_pretrained(folder)
    _plain_names(folder)
    return measure(name, out, plan, spent)


def _plain_names(folder: Path) -> None:
    """A configuration that says float32, and a processor whose class every environment has."""
    for file, drop in (("config.json", ("transformers_version",)), ("preprocessor_config.json", ())):
        path = folder / file
        said = json.loads(path.read_text())
        said = {key: value for key, value in said.items() if key not in drop}
        if "dtype" in said:
            said["dtype"] = "float32"
        for part in said.values():  # transformers 4 gives a part its attention itself, and refuses to be told
            if isinstance(part, dict):
                part.pop("attn_implementation", None)
        if "image_processor_type" in said:
            said["image_processor_type"] = said["image_processor_type"].removesuffix("Pil").removesuffix("Fast")
        path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")


def measure(name: str, out: Path, plan: Schedule, spent: float) -> Figures:
    """Load a saved model as a user would, in float32, measure it on held-out scenes and write its card."""
    model = type(KINDS[name].model()).from_pretrained(out / name, dtype=torch.float32).eval()
    figures = EVALUATIONS[name](model)
    write_card(name, out / name, model, figures, SEED, plan, spent)
    print(f"{name:20} held-out: {', '.join(f'{key} {value:.3f}' for key, value in figures.items())}", flush=True)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    def one(name: str, arguments: argparse.Namespace) -> Figures:
        return train(name, arguments.out, arguments.shorter)

    return run_trainer(f"{__package__}.train", __doc__ or "", PLANS, SECOND, one, argv)


if __name__ == "__main__":
    raise SystemExit(main())
