"""Trains the seven models that ship, from nothing but the word lists and templates of this folder.

    python -m afterlogits.adapters.checkpoints.training.train [--only NAME ...] [--out FOLDER] [--measure] [--shorter N]

Everything is drawn from one fixed seed. The entity model is trained first; the other four encoders go on from it.
Each model is saved in half precision, loaded again as a user would load it, and measured on held-out items.

The encoders and the two sequence models train side by side in two processes of one thread each: at these sizes two
threads on one model would mostly wait for each other.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PegasusForConditionalGeneration

from . import sequence_models, vocabularies
from .cards import write_card
from .command import run_trainer
from .encoders import ENCODERS, feed, liken
from .evaluate import EVALUATIONS, Figures
from .examples import EXAMPLES
from .optimise import Schedule, fit

SEED = 2021
PLANS = {
    "ner": Schedule(1500, batch_size=64, learning_rate=2e-3),
    "question-answering": Schedule(2800, batch_size=32, learning_rate=1.5e-3),
    "nli": Schedule(3000, batch_size=64, learning_rate=1e-3),
    "sentiment": Schedule(800, batch_size=64, learning_rate=1e-3),
    "masked-lm": Schedule(1300, batch_size=96, learning_rate=2e-3),
    "seq2seq": Schedule(7000, batch_size=32, learning_rate=2e-3),
    "language-model": Schedule(600, batch_size=48, learning_rate=4e-3),
}
# Whose layers an encoder starts from. Labels for every token teach an encoder fastest, so the entity model comes first;
# to compare two statements is to answer a question about one of them, so inference goes on from question answering.
STARTS = {"question-answering": "ner", "nli": "question-answering", "sentiment": "ner", "masked-lm": "ner"}
SEQUENCE_MODELS = ("seq2seq", "language-model")
MODELS: dict[str, Any] = {
    "language-model": LlamaForCausalLM,
    "seq2seq": PegasusForConditionalGeneration,
    **{name: encoder.model for name, encoder in ENCODERS.items()},
}


def train_encoder(name: str, out: Path, plan: Schedule) -> tuple[Any, Any, float]:
    encoder, start = ENCODERS[name], STARTS.get(name)
    tokenizer = AutoTokenizer.from_pretrained(out / start) if start else vocabularies.wordpiece(SEED)
    model = encoder.build(len(tokenizer))
    if start:
        layers = ENCODERS[start].model.from_pretrained(out / start, dtype=torch.float32).bert.state_dict()
        missing = model.bert.load_state_dict(layers, strict=False).missing_keys
        if not all(key.startswith("pooler.") for key in missing):
            raise RuntimeError(f"every layer must start from {start}; got {missing} missing")
    if name == "question-answering":  # names are compared piece by piece; inference goes on from there
        liken(model)
    spent = fit(model, feed(encoder.item, tokenizer, SEED, plan.batch_size), encoder.loss, plan, name)
    encoder.strip(model)
    return model, tokenizer, spent


def train_sequence_model(name: str, out: Path, plan: Schedule) -> tuple[Any, Any, float]:
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
    """Train and save one model, then measure it; writes its folder with the card."""
    torch.manual_seed(SEED)
    plan = PLANS[name]
    plan = replace(plan, steps=max(plan.steps // shorter, 10))
    if name in SEQUENCE_MODELS:
        model, tokenizer, spent = train_sequence_model(name, out, plan)
    else:
        model, tokenizer, spent = train_encoder(name, out, plan)
    save(model, tokenizer, out / name)
    part = {"steps": plan.steps, "batch_size": plan.batch_size, "learning_rate": plan.learning_rate}
    record = {**part, "start": STARTS.get(name), "processor_seconds": round(spent)}
    (out / name / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    return measure(name, out)


def measure(name: str, out: Path) -> Figures:
    """Load a saved model as a user would, in float32, measure it on held-out items and write its card."""
    began = time.perf_counter()
    model = MODELS[name].from_pretrained(out / name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(out / name)
    figures = EVALUATIONS[name](model, tokenizer)
    record = json.loads((out / name / "training.json").read_text())
    write_card(name, out / name, model, figures, SEED, record, EXAMPLES[name](model, tokenizer))
    said = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
    print(f"{name:20} held-out: {said}  [measured in {time.perf_counter() - began:.0f} s]", flush=True)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    def one(name: str, arguments: argparse.Namespace) -> Figures:
        if arguments.measure:
            return measure(name, arguments.out)
        return train(name, arguments.out, arguments.shorter)

    return run_trainer(f"{__package__}.train", __doc__ or "", PLANS, SEQUENCE_MODELS, one, argv, may_measure=True)


if __name__ == "__main__":
    raise SystemExit(main())
