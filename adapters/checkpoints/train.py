"""Trains the seven models that ship, from nothing but the word lists and templates of this folder.

    python -m afterlogits.adapters.checkpoints.train [--only NAME ...] [--out FOLDER] [--measure] [--shorter N]

Everything is drawn from one fixed seed. The entity model is trained first; the other four encoders start from it.
Each model is saved in half precision, loaded again as a user would load it, and measured on held-out items.

The encoders and the two sequence models train side by side in two processes of one thread each: at these sizes two
threads on one model would mostly wait for each other.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, T5ForConditionalGeneration
from transformers.utils import logging

from . import sequence_models, vocabularies
from .cards import write_card
from .encoders import ENCODERS, feed
from .evaluate import EVALUATIONS, Figures
from .examples import EXAMPLES
from .optimise import Schedule, fit

SEED = 2021
FIRST = "ner"  # labels for every token teach an encoder fastest; the other four start from it
AGAIN = "-again"  # a second round: a model goes on learning from where it stands, on new texts
PLANS = {
    "ner": Schedule(700, batch_size=64, learning_rate=2e-3),
    "question-answering": Schedule(1500, batch_size=32, learning_rate=1.5e-3),
    "nli": Schedule(900, batch_size=64, learning_rate=1.5e-3),
    "sentiment": Schedule(700, batch_size=64, learning_rate=1e-3),
    "masked-lm": Schedule(700, batch_size=160, learning_rate=2e-3),
    "language-model": Schedule(450, batch_size=48, learning_rate=4e-3),
    "seq2seq": Schedule(2200, batch_size=64, learning_rate=4e-3),
    "ner-again": Schedule(1500, batch_size=64, learning_rate=1.5e-3),
    "question-answering-again": Schedule(700, batch_size=32, learning_rate=1.2e-3),
    "seq2seq-again": Schedule(500, batch_size=32, learning_rate=1e-3),
    "nli-again": Schedule(700, batch_size=64, learning_rate=1.2e-3),
}
SEQUENCE_MODELS = ("seq2seq", "seq2seq-again", "language-model")
MODELS: dict[str, Any] = {
    "language-model": LlamaForCausalLM,
    "seq2seq": T5ForConditionalGeneration,
    **{name: encoder.model for name, encoder in ENCODERS.items()},
}
HERE = Path(__file__).parent


def train_encoder(name: str, out: Path, plan: Schedule) -> tuple[Any, Any, float]:
    again, base = name.endswith(AGAIN), name.removesuffix(AGAIN)
    encoder, seed = ENCODERS[base], SEED + again
    tokenizer = vocabularies.wordpiece(SEED) if name == FIRST else AutoTokenizer.from_pretrained(out / FIRST)
    model = encoder.build(len(tokenizer))
    if again:
        stands = encoder.model.from_pretrained(out / base, dtype=torch.float32).state_dict()
        model.load_state_dict(stands, strict=False)
    elif name != FIRST:
        start = ENCODERS[FIRST].model.from_pretrained(out / FIRST, dtype=torch.float32).bert.state_dict()
        missing = model.bert.load_state_dict(start, strict=False).missing_keys
        if not all(key.startswith("pooler.") for key in missing):
            raise RuntimeError(f"every layer must start from {FIRST}; got {missing} missing")
    spent = fit(model, feed(encoder.item, tokenizer, seed, plan.batch_size), encoder.loss, plan, name)
    if encoder.subjects:
        del model.subjects
    return model, tokenizer, spent


def train_sequence_model(name: str, out: Path, plan: Schedule) -> tuple[Any, Any, float]:
    if name.startswith("seq2seq"):
        again = name.endswith(AGAIN)
        tokenizer = vocabularies.rewriter(SEED)
        model, loss = sequence_models.seq2seq(tokenizer), sequence_models.rewriting_loss
        if again:
            model = T5ForConditionalGeneration.from_pretrained(out / "seq2seq", dtype=torch.float32)
        batches = sequence_models.rewriting_feed(tokenizer, SEED + again, plan.batch_size)
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
    """Train and save one model, then measure it; writes its folder with the card."""
    torch.manual_seed(SEED)
    plan = PLANS[name]
    plan = replace(plan, steps=max(plan.steps // shorter, 10))
    if name in SEQUENCE_MODELS:
        model, tokenizer, spent = train_sequence_model(name, out, plan)
    else:
        model, tokenizer, spent = train_encoder(name, out, plan)
    folder = out / name.removesuffix(AGAIN)
    record = folder / "training.json"
    before = json.loads(record.read_text()) if name.endswith(AGAIN) else []
    save(model, tokenizer, folder)
    part = {"steps": plan.steps, "batch_size": plan.batch_size, "learning_rate": plan.learning_rate}
    record.write_text(json.dumps([*before, {**part, "processor_seconds": round(spent)}], indent=1) + "\n")
    return measure(folder.name, out)


def measure(name: str, out: Path) -> Figures:
    """Load a saved model as a user would, in float32, measure it on held-out items and write its card."""
    began = time.perf_counter()
    model = MODELS[name].from_pretrained(out / name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(out / name)
    figures = EVALUATIONS[name](model, tokenizer)
    parts = json.loads((out / name / "training.json").read_text())
    write_card(name, out / name, model, figures, SEED, parts, EXAMPLES[name](model, tokenizer))
    said = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
    print(f"{name:20} held-out: {said}  [measured in {time.perf_counter() - began:.0f} s]", flush=True)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PLANS), help="the models to train, one after the other")
    parser.add_argument("--out", type=Path, default=HERE, help="where the folders go")
    parser.add_argument("--shorter", type=int, default=1, help="divide the steps by this, to try the script")
    parser.add_argument("--measure", action="store_true", help="measure the saved models and write their cards again")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    began = time.perf_counter()
    beside = None if arguments.only else _start(SEQUENCE_MODELS, arguments)
    for name in arguments.only or [name for name in PLANS if name not in SEQUENCE_MODELS]:
        if not arguments.measure:
            train(name, arguments.out, arguments.shorter)
        elif not name.endswith(AGAIN):
            measure(name, arguments.out)
    status = beside.wait() if beside else 0
    print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes", flush=True)
    return status


def _start(names: Sequence[str], arguments: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """The same script for other models, in a process of its own."""
    command = [sys.executable, "-m", f"{__package__}.train", "--only", *names, "--out", str(arguments.out)]
    command += ["--shorter", str(arguments.shorter), *(["--measure"] if arguments.measure else [])]
    return subprocess.Popen(command)


if __name__ == "__main__":
    raise SystemExit(main())
