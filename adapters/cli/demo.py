"""``make demo``: every task that has a shipped checkpoint. What went in, and what came out, as text and pictures.

What goes in is fixed by rule: the classic example of each task, then items drawn with one seed from the held-out side
of the generators that the checkpoints learned from. Where a drawn item has one right answer and the model gives
another, the right one is printed below it.
"""

import argparse
import json
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .. import checkpoints
from .demo_pages import pages
from .demo_pictures import pictures
from .demo_sounds import sounds
from .demo_text import percent, show, title

_PARAGRAPH = (
    "Hugging Face was founded by Ada Lovelace in 1987. The company is based in New York City. It makes telescopes. "
    "It employs 4,120 people."
)
_QUESTIONS = ("Who founded Hugging Face?", "Where is Hugging Face based?", "How many people work for Hugging Face?")
_COMPANY = (
    "Hugging Face Inc. is a company based in New York City. Its headquarters are in DUMBO, therefore very close to the "
    "Manhattan Bridge."
)
_TOPIC = ("one day I will see the world", ["travel", "cooking", "dancing"])
_MASKED = (
    "Smaller models need less energy. Using them instead of the large ones would help [MASK] our carbon footprint."
)
_PROMPT = "Today the weather is really nice and I am planning on"


@cache
def _drawn() -> Any:
    """Items with names and pairings that training never saw, and their right answers (training/demo_items.py)."""
    return json.loads(Path(checkpoints.__file__).with_name("demo_items.json").read_text())


def _answer(said: str, right: str, note: str = "") -> None:
    """What the model said of a drawn item and, if it is wrong, what is right."""
    show("out", said + note)
    if said != right:
        show("not", f"the right answer is: {right}")


def question_answering(pipeline: Any) -> None:
    title("Question answering")
    answer = pipeline("question-answering")
    show("in ", _PARAGRAPH)
    for question in _QUESTIONS:
        found = answer(question=question, context=_PARAGRAPH)
        show("ask", question)
        show("out", f"{found['answer']}  ({percent(found['score'])}, characters {found['start']}-{found['end']})")
    for drawn in _drawn()["questions"]:
        found = answer(question=drawn["question"], context=drawn["context"])
        show("in ", drawn["context"])
        show("ask", drawn["question"])
        _answer(found["answer"], drawn["answer"], f"  ({percent(found['score'])})")


def named_entities(pipeline: Any) -> None:
    title("Named entities")
    find = pipeline("ner", aggregation_strategy="simple")
    drawn = _drawn()["entities"]
    for text in (_COMPANY, drawn["text"]):
        show("in ", text)
        found = find(text)
        for entity in found:
            show("out", f"{entity['entity_group']:4} {entity['word']}  ({percent(entity['score'])})")
    if [[entity["entity_group"], entity["start"], entity["end"]] for entity in found] != drawn["entities"]:
        right = ", ".join(f"{tag} {drawn['text'][start:end]}" for tag, start, end in drawn["entities"])
        show("not", f"the right answer is: {right}")


def text_classification(pipeline: Any) -> None:
    title("Text classification")
    reviews = _drawn()["reviews"]
    for review, found in zip(reviews, pipeline("text-classification")([r["text"] for r in reviews]), strict=True):
        show("in ", review["text"])
        _answer(found["label"], review["label"], f"  ({percent(found['score'])})")


def zero_shot(pipeline: Any) -> None:
    title("Zero-shot classification")
    classify = pipeline("zero-shot-classification")
    drawn = _drawn()["topic"]
    for text, labels in (_TOPIC, (drawn["text"], drawn["labels"])):
        found = classify(text, candidate_labels=labels)
        show("in ", f"{text}  [{', '.join(labels)}]")
        show("out", ", ".join(f"{n} {percent(s)}" for n, s in zip(found["labels"], found["scores"], strict=True)))
    if found["labels"][0] != drawn["topic"]:
        show("not", f"the right answer is: {drawn['topic']}")


def fill_mask(pipeline: Any) -> None:
    title("Fill the mask")
    show("in ", _MASKED)
    found = pipeline("fill-mask")(_MASKED)
    show("out", ", ".join(f"{item['token_str']} {percent(item['score'])}" for item in found))


def rewriting(pipeline: Any) -> None:
    title("Sequence to sequence: dates and numbers, a summary, translation")
    rewrite = pipeline("text2text-generation")
    for drawn in _drawn()["rewritings"]:
        show("in ", drawn["source"])
        _answer(rewrite(drawn["source"], max_new_tokens=64)[0]["generated_text"], drawn["target"])


def text_generation() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .. import generate

    folder = checkpoints.path("text-generation")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    inputs = tokenizer("<s>" + _PROMPT, return_tensors="pt")
    title("Text generation")
    show("in ", _PROMPT)
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
        show("out", f"{name}: {tokenizer.decode(token_ids[0], skip_special_tokens=True)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the whole demonstration; returns the exit status."""
    parser = argparse.ArgumentParser(prog="afterlogits demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("afterlogits-demo"), help="where drawings are written")
    folder = parser.parse_args(argv).pictures
    from transformers.utils import logging

    from .. import pipeline

    logging.disable_progress_bar()
    began = time.perf_counter()
    print("afterlogits: real answers from the small trained models that ship with the package, offline.")
    for part in (question_answering, named_entities, text_classification, zero_shot, fill_mask, rewriting):
        part(pipeline)
    text_generation()
    pictures(pipeline, folder)
    sounds(pipeline, folder)
    pages(pipeline, folder)
    print(f"\nDone in {time.perf_counter() - began:.1f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
