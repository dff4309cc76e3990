"""``make demo``: every text task on real text, with the checkpoints that ship. What went in, and what came out."""

import argparse
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

_PARAGRAPH = (
    "Tidewater Robotics was founded by Ada Lovelace in 1987. The company is based in New York City. "
    "It makes telescopes. It employs 412 people. Ada Lovelace was born in Brooklyn in 1951. She plays the violin."
)
_QUESTIONS = (
    "Who founded Tidewater Robotics?",
    "Where is Tidewater Robotics based?",
    "How many people work for Tidewater Robotics?",
    "Where was Ada Lovelace born?",
)
_COMPANY = (
    "Hugging Face Inc. is a company based in New York City. Its headquarters are in DUMBO, therefore very close to the "
    "Manhattan Bridge."
)
_REVIEWS = (
    "I really enjoyed the breakfast, it was superb.",
    "The screen was not good at all.",
    "I thought I would hate the party, but I loved it.",
)
_TOPICS = (
    ("one day I will see the world", ["travel", "cooking", "dancing"]),
    ("The goalkeeper beat the champions in the last minute.", ["business", "sports", "health"]),
)
_MASKED = (
    "Smaller models need less energy. Using them instead of the large ones would help [MASK] our carbon footprint."
)
# Three that the small model gets right: about half of its translations are exact (see its card).
_REWRITINGS = (
    "We counted forty two birds.",
    "translate English to French: The black cat is on the chair.",
    "translate English to French: The young doctor is happy.",
)
_PROMPT = "Once upon a time there was a clever fox who"


def _title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def _show(mark: str, text: str) -> None:
    """One line in (``>``) or out, wrapped under itself."""
    indent = "  " + mark + " "
    print(textwrap.fill(" ".join(text.split()), 110, initial_indent=indent, subsequent_indent=" " * len(indent)))


def _percent(score: float) -> str:
    return f"{100 * float(score):.1f} %"


def question_answering(pipeline: Any) -> None:
    _title("Question answering")
    answer = pipeline("question-answering")
    _show("in ", _PARAGRAPH)
    for question in _QUESTIONS:
        found = answer(question=question, context=_PARAGRAPH)
        _show("ask", question)
        _show("out", f"{found['answer']}  ({_percent(found['score'])}, characters {found['start']}-{found['end']})")


def named_entities(pipeline: Any) -> None:
    _title("Named entities")
    _show("in ", _COMPANY)
    for entity in pipeline("ner", aggregation_strategy="simple")(_COMPANY):
        _show("out", f"{entity['entity_group']:4} {entity['word']}  ({_percent(entity['score'])})")


def text_classification(pipeline: Any) -> None:
    _title("Text classification")
    for review, found in zip(_REVIEWS, pipeline("text-classification")(list(_REVIEWS)), strict=True):
        _show("in ", review)
        _show("out", f"{found['label']}  ({_percent(found['score'])})")


def zero_shot(pipeline: Any) -> None:
    _title("Zero-shot classification")
    classify = pipeline("zero-shot-classification")
    for text, labels in _TOPICS:
        found = classify(text, candidate_labels=labels)
        _show("in ", f"{text}  [{', '.join(labels)}]")
        _show("out", ", ".join(f"{n} {_percent(s)}" for n, s in zip(found["labels"], found["scores"], strict=True)))


def fill_mask(pipeline: Any) -> None:
    _title("Fill the mask")
    _show("in ", _MASKED)
    found = pipeline("fill-mask")(_MASKED)
    _show("out", ", ".join(f"{item['token_str']} {_percent(item['score'])}" for item in found))


def rewriting(pipeline: Any) -> None:
    _title("Sequence to sequence: rewriting and translation")
    rewrite = pipeline("text2text-generation")
    for text in _REWRITINGS:
        _show("in ", text)
        _show("out", rewrite(text, max_new_tokens=64)[0]["generated_text"])


def text_generation() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from . import generate
    from .checkpoints import path

    folder = path("text-generation")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    inputs = tokenizer("<s>" + _PROMPT, return_tensors="pt")
    _title("Text generation")
    _show("in ", _PROMPT)
    ways: dict[str, dict[str, Any]] = {
        "greedy": {},
        "sampling, top_k=50, top_p=0.9, temperature=0.8": {
            "do_sample": True,
            "top_k": 50,
            "top_p": 0.9,
            "temperature": 0.8,
        },
        "beam search, 4 beams": {"num_beams": 4},
    }
    for name, options in ways.items():
        torch.manual_seed(0)
        token_ids = generate(model, **inputs, max_new_tokens=60, **options)
        _show("out", f"{name}: {tokenizer.decode(token_ids[0], skip_special_tokens=True)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the whole demonstration; returns the exit status."""
    argparse.ArgumentParser(
        prog="afterlogits demo", description="Every text task, with what went in and out."
    ).parse_args(argv)
    from transformers.utils import logging

    from . import pipeline

    logging.disable_progress_bar()
    began = time.perf_counter()
    print("afterlogits: real answers from the small trained models that ship with the package, offline.")
    for part in (question_answering, named_entities, text_classification, zero_shot, fill_mask, rewriting):
        part(pipeline)
    text_generation()
    print(f"\nDone in {time.perf_counter() - began:.1f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
