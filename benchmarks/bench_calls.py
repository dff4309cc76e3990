"""Whole calls of the other text tasks against transformers' pipeline of that name, 4.57.6 for those it removed."""

from __future__ import annotations

import pytest
import torch
import transformers

from afterlogits import pipeline
from afterlogits.adapters import checkpoints
from afterlogits.benchmarks import bare, workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.oracle import Oracle

TABLE = "text tasks"
pytestmark = pytest.mark.full
NOTE = "scores compared to 1e-3: the two sides run batches of different shapes through float32 matrix kernels"


def same(ours, theirs):
    """Labels and words exactly; numbers as two batch shapes round them."""
    require_same(ours, theirs, rtol=1e-3)


def close(ours, theirs):
    """Vectors of hidden states, element by element: near zero the difference of two batch shapes is absolute."""
    for row, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        difference = (torch.tensor(one) - torch.tensor(other)).abs().max()
        assert difference < 1e-4, f"vectors of text {row} differ by {difference}"


TASKS = {"text-classification": ("BertForSequenceClassification", same), "feature-extraction": ("BertModel", close)}


@pytest.mark.parametrize("task", [*TASKS])
def bench_encoder_task(pair, task):
    architecture, compare = TASKS[task]
    model = workloads.from_config(architecture, workloads.bert_config(num_labels=2))
    tokenizer, texts = workloads.wordpiece_tokenizer(), workloads.lines(100)
    options = {"model": model, "tokenizer": tokenizer, "device": str(pair.device)}
    ours, library = pipeline(task, **options), transformers.pipeline(task, **options)
    cut = {"truncation": True}
    rivals = {"transformers": lambda: library(texts, **cut)}
    if task == "text-classification":  # in batches transformers' feature extraction returns the padding too
        rivals["transformers, 32"] = lambda: library(texts, batch_size=32, **cut)
    pair(
        f"{task}, 100 lines, 6 x 384",
        table=TABLE,
        ours=lambda: ours(texts, **cut),
        rivals=rivals,
        limits={"bare": lambda: bare.tokenise_and_run(model, tokenizer, texts, **cut)},
        same=compare,
        rounds=3,
        memory=(),
        note=NOTE,
    )


def bench_text_generation(pair):
    """Greedy text of the language model that ships, 32 prompts of unequal length."""
    options = {"model": str(checkpoints.path("text-generation")), "device": str(pair.device)}
    ours, library = pipeline("text-generation", **options), transformers.pipeline("text-generation", **options)
    starts = ["The baker", "Last week the captain of the ship", "Today the weather is", "Once there was a small"]
    texts = [f"{start} {word}" for word in ("and", "in", "who", "with", "then", "on", "at", "from") for start in starts]
    call = {"max_new_tokens": 24, "do_sample": False, "return_full_text": False}
    pair(
        "text-generation, 32 prompts, 24 tokens, the model that ships",
        table=TABLE,
        ours=lambda: ours(texts, **call),
        rivals={"transformers": lambda: library(texts, **call)},
        rounds=3,
        memory=(),
    )


WRITING = {
    "translation_en_to_fr": ["The black cat is on the chair.", "A school is small.", "The letter sells a bad doctor."],
    "text2text-generation": [
        "3 May 2021",
        "The tower has four thousand seven hundred and sixty one steps.",
        "The train left on 17 August 1998 with forty two passengers.",
    ],
    "summarization": [
        "Anna Berg is a baker. She lives in Oslo. She likes tea.",
        "Ada Lovelace lives in New York City with two cats. She is a pilot.",
    ],
}


@pytest.mark.cpu_only
@pytest.mark.parametrize("task", [*WRITING])
def bench_written_task(pair, task):
    """The encoder-decoder that ships, 24 texts; transformers' pipeline ran them one by one and ended with 4.57.6."""
    folder, texts = str(checkpoints.path(task)), WRITING[task] * (24 // len(WRITING[task]))
    options = {"max_new_tokens": 32, "num_beams": 1, "do_sample": False}
    ours = pipeline(task, model=folder, device="cpu")
    payload = {"task": task, "folder": folder, "texts": texts, "options": options}
    with Oracle("text-to-text", payload | {"threads": torch.get_num_threads()}) as library:
        pair(
            f"{task}, 24 texts, the model that ships",
            table=TABLE,
            ours=lambda: ours(texts, **options),
            rivals={"transformers 4.57.6": library},
            rounds=3,
            memory=(),
        )
