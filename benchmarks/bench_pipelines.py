"""Whole calls of text tasks against a tokeniser call and length-sorted batches, and against transformers' own."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
import transformers

from afterlogits import pipeline
from afterlogits.benchmarks import bare, workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.oracle import Oracle
from afterlogits.benchmarks.pairing import at_least, at_most

TABLE = "text tasks"
pytestmark = pytest.mark.full
NOTE = "scores compared to 1e-3: the two sides run batches of different shapes through float32 matrix kernels"


def same(ours, theirs):
    """Labels, words and places exactly; scores as two batch shapes round them."""
    require_same(ours, theirs, rtol=1e-3)


def decided(architecture, config, head):
    """A model of random weights whose answers are clear enough not to hang on the last bit of a matrix product."""
    model = workloads.from_config(architecture, config)
    with torch.no_grad():
        getattr(model, head).weight.mul_(20)
    return model


def bench_ner(pair):
    labels = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    config = workloads.bert_config(num_labels=len(labels))
    config.id2label, config.label2id = dict(enumerate(labels)), {name: i for i, name in enumerate(labels)}
    model, tokenizer = decided("BertForTokenClassification", config, "classifier"), workloads.wordpiece_tokenizer()
    texts = workloads.lines(600)
    options = {"model": model, "tokenizer": tokenizer, "aggregation_strategy": "simple", "device": str(pair.device)}
    ours, library = pipeline("ner", **options), transformers.pipeline("ner", **options)
    pair(
        "ner, 600 lines, 6 x 384",
        table=TABLE,
        ours=lambda: ours(texts),
        rivals={"transformers": lambda: library(texts), "transformers, 32": lambda: library(texts, batch_size=32)},
        limits={"bare": lambda: bare.tokenise_and_run(model, tokenizer, texts, truncation=True)},
        asked=[at_most(1.15, "bare"), at_least(2.4, "transformers"), at_least(3, "transformers, 32")],
        same=same,
        rounds=3,
        memory=(),
        note=NOTE,
        readme='pipeline("ner") on 600 lines, BERT 6 x 384',
    )


@pytest.mark.parametrize(("layers", "hidden"), [(2, 64), (6, 384)])
def bench_question_answering(pair, layers, hidden):
    config = workloads.bert_config(layers=layers, hidden=hidden, num_labels=2)
    model, tokenizer = decided("BertForQuestionAnswering", config, "qa_outputs"), workloads.wordpiece_tokenizer()
    asked = workloads.questions(60)
    questions, contexts = [question for question, _ in asked], [context for _, context in asked]
    ours = pipeline("question-answering", model=model, tokenizer=tokenizer, device=str(pair.device))
    windows = {"truncation": "only_second", "max_length": 384, "stride": 128, "return_overflowing_tokens": True}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_sides:
        rivals = {}
        if (
            layers == 2 and pair.device.type == "cpu"
        ):  # transformers' answers; with the large model it would take most of the entry's time
            payload = _payload(model, tokenizer, asked, folder)
            rivals["transformers 4.57.6"] = open_sides.enter_context(Oracle("question-answering", payload))
        pair(
            f"question answering, 60 questions, {layers} x {hidden}",
            table=TABLE,
            ours=lambda: ours(question=questions, context=contexts),
            rivals=rivals,
            limits={"bare": lambda: bare.tokenise_and_run(model, tokenizer, questions, contexts, **windows)},
            asked=[at_most(1.1, "bare")],
            same=same,
            rounds=3,
            memory=(),
            note=NOTE,
        )


def _payload(model, tokenizer, asked, folder):
    """What the other process needs to build the same model and tokenizer."""
    file = Path(folder) / "tokenizer.json"
    tokenizer.backend_tokenizer.save(str(file))
    known = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    special = (
        "unk_token",
        "pad_token",
        "cls_token",
        "sep_token",
        "mask_token",
        "model_max_length",
        "model_input_names",
    )
    return {
        "config": {name: getattr(model.config, name) for name in known},
        "weights": {name: value.numpy() for name, value in model.state_dict().items()},
        "tokenizer": str(file),
        "special": {name: getattr(tokenizer, name) for name in special},
        "pairs": asked,
        "options": {},
        "threads": torch.get_num_threads(),
    }


def bench_fill_mask(pair):
    config = workloads.bert_config()
    model, tokenizer = workloads.from_config("BertForMaskedLM", config), workloads.wordpiece_tokenizer()
    texts = workloads.masked_lines(64)
    options = {"model": model, "tokenizer": tokenizer, "device": str(pair.device)}
    ours, library = pipeline("fill-mask", **options), transformers.pipeline("fill-mask", **options)

    def masked_only(input_ids, **inputs):
        hidden = model.bert(input_ids=input_ids, **inputs).last_hidden_state
        return model.cls(hidden[input_ids == tokenizer.mask_token_id])

    pair(
        "fill-mask, 64 texts, 6 x 384",
        table=TABLE,
        ours=lambda: ours(texts),
        rivals={"transformers": lambda: library(texts), "transformers, 32": lambda: library(texts, batch_size=32)},
        limits={"bare": lambda: bare.tokenise_and_run(masked_only, tokenizer, texts, device=pair.device)},
        asked=[at_most(1.15, "bare")],
        same=same,
        memory=(),
        note=NOTE,
    )


def same_by_label(ours, theirs):
    """Random weights give near ties, which batches of different shapes order differently: compare label by label."""
    same(*([dict(zip(r["labels"], r["scores"], strict=True)) for r in side] for side in (ours, theirs)))


def bench_zero_shot(pair):
    config = workloads.bert_config(num_labels=3)
    config.id2label = {0: "contradiction", 1: "neutral", 2: "entailment"}
    config.label2id = {name: index for index, name in config.id2label.items()}
    model, tokenizer = decided("BertForSequenceClassification", config, "classifier"), workloads.wordpiece_tokenizer()
    texts = [text for text in workloads.lines(40) if len(text) < 200][:32]
    labels = ["river", "bridge", "market", "summer", "engine", "letter", "station", "council", "garden", "report"]
    options = {"model": model, "tokenizer": tokenizer, "device": str(pair.device)}
    ours = pipeline("zero-shot-classification", **options)
    library = transformers.pipeline("zero-shot-classification", **options)
    firsts = [text for text in texts for _ in labels]
    seconds = [f"This example is {label}." for _ in texts for label in labels]
    pair(
        "zero-shot, 32 texts x 10 labels, 6 x 384",
        table=TABLE,
        ours=lambda: ours(texts, candidate_labels=labels),
        rivals={"transformers": lambda: library(texts, candidate_labels=labels)},
        limits={"bare": lambda: bare.tokenise_and_run(model, tokenizer, firsts, seconds, truncation="only_first")},
        asked=[at_most(1.1, "bare")],
        same=same_by_label,
        rounds=3,
        memory=(),
        note=NOTE,
    )


SINGLE = {
    "text-classification": "BertForSequenceClassification",
    "ner": "BertForTokenClassification",
    "fill-mask": "BertForMaskedLM",
    "feature-extraction": "BertModel",
}


@pytest.mark.parametrize("task", list(SINGLE))
def bench_single_short_item(pair, task):
    """A call a text: what is left is what the pipeline itself takes, for the model is as small as a model gets."""
    config = workloads.bert_config(layers=1, hidden=64, num_labels=9 if task == "ner" else 3)
    model, tokenizer = workloads.from_config(SINGLE[task], config), workloads.wordpiece_tokenizer()
    texts = [text for text in workloads.lines(200) if 30 < len(text) < 60][:16]
    if task == "fill-mask":
        texts = [" ".join([*words[:3], "[MASK]", *words[4:]]) for words in (text.split() for text in texts)]
    options = {"model": model, "tokenizer": tokenizer, "device": str(pair.device)}
    ours, library = pipeline(task, **options), transformers.pipeline(task, **options)
    pair(
        f"{task}, one short text a call, 1 x 64",
        table=TABLE,
        ours=lambda: [ours(text) for text in texts],
        rivals={"transformers": lambda: [library(text) for text in texts]},
        asked=[at_least(1, "transformers")],
        same=same,
        rounds=15,
        memory=(),
    )
