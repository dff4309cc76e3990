"""Trains the seven models that ship, from nothing but the word lists and templates of this folder.

    python -m afterlogits.adapters.checkpoints.train [--only NAME ...] [--out FOLDER] [--shorter N]

Everything is drawn from one fixed seed. The entity model is trained first; the other four encoders start from it.
Each model is saved in half precision, loaded again as a user would load it, and measured on held-out items.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils import logging

from . import sequence_models, vocabularies
from .cards import write_card
from .encoders import ENCODERS, feed
from .evaluate import EVALUATIONS, Figures
from .examples import EXAMPLES
from .optimise import Schedule, fit

SEED = 2021
FIRST = "ner"  # labels for every token teach an encoder fastest; the other four start from it
PLANS = {
    "ner": Schedule(700, batch_size=64, learning_rate=2e-3),
    "question-answering": Schedule(1500, batch_size=32, learning_rate=1.5e-3),
    "nli": Schedule(1000, batch_size=64, learning_rate=1.5e-3),
    "sentiment": Schedule(300, batch_size=64, learning_rate=1e-3),
    "masked-lm": Schedule(800, batch_size=32, learning_rate=2e-3),
    "language-model": Schedule(450, batch_size=48, learning_rate=4e-3),
    "seq2seq": Schedule(2200, batch_size=64, learning_rate=4e-3),
}
HERE = Path(__file__).parent


def train_encoder(name: str, out: Path, plan: Schedule) -> tuple[Any, Any, float]:
    encoder = ENCODERS[name]
    tokenizer = vocabularies.wordpiece(SEED) if name == FIRST else AutoTokenizer.from_pretrained(out / FIRST)
    model = encoder.build(len(tokenizer))
    if name != FIRST:
        start = ENCODERS[FIRST].model.from_pretrained(out / FIRST, dtype=torch.float32).bert.state_dict()
        missing = model.bert.load_state_dict(start, strict=False).missing_keys
        if not all(key.startswith("pooler.") for key in missing):
            raise RuntimeError(f"every layer must start from {FIRST}; got {missing} missing")
    spent = fit(model, feed(encoder.item, tokenizer, SEED, plan.batch_size), encoder.loss, plan, name)
    return model, tokenizer, spent


def train_sequence_model(name: str, plan: Schedule) -> tuple[Any, Any, float]:
    if name == "seq2seq":
        tokenizer = vocabularies.rewriter(SEED)
        model, loss = sequence_models.seq2seq(tokenizer), sequence_models.rewriting_loss
        batches = sequence_models.rewriting_feed(tokenizer, SEED, plan.batch_size)
    else:
        tokenizer = vocabularies.reader(SEED)
        model, loss = sequence_models.language_model(tokenizer), sequence_models.next_token_loss
        batches = sequence_models.reading_feed(tokenizer, SEED, plan.batch_size)
    return model, tokenizer, fit(model, batches, loss, plan, name)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Half precision on disk, ``float32`` in the configuration: plain ``from_pretrained`` then computes in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabularies.save(tokenizer, folder)
    model.half().save_pretrained(folder, safe_serialization=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["dtype"] = "float32"
    config.pop("transformers_version", None)
    if config["model_type"] == "llama":
        config["rope_theta"] = 10000.0  # where transformers 4 looks
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def train(name: str, out: Path, shorter: int = 1) -> Figures:
    """Train, save, reload and measure one model; writes its folder with the card."""
    torch.manual_seed(SEED)
    random.seed(SEED)
    plan = PLANS[name]
    plan = replace(plan, steps=max(plan.steps // shorter, 10))
    began = time.perf_counter()
    trained = train_encoder(name, out, plan) if name in ENCODERS else train_sequence_model(name, plan)
    model, tokenizer, spent = trained
    save(model, tokenizer, out / name)
    loaded = type(model).from_pretrained(out / name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(out / name)
    figures = EVALUATIONS[name](loaded, tokenizer)
    write_card(name, out / name, loaded, figures, plan, SEED, spent, EXAMPLES[name](loaded, tokenizer))
    said = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
    print(f"{name:20} held-out: {said}  [{time.perf_counter() - began:.0f} s, processor {spent:.0f} s]", flush=True)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PLANS), default=list(PLANS), help="the models to train")
    parser.add_argument("--out", type=Path, default=HERE, help="where the folders go")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument("--shorter", type=int, default=1, help="divide the steps by this, to try the script")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in (name for name in PLANS if name in arguments.only):
        train(name, arguments.out, arguments.shorter)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
