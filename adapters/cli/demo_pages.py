"""The demonstration's part on documents and on pictures in words: a receipt, captions, questions about drawings."""

import json
from pathlib import Path
from typing import Any

from .. import checkpoints
from ..tasks.multimodal.results import answered_page
from .demo_pictures import SCENES
from .demo_text import percent, show, title

PAGES = Path(checkpoints.__file__).with_name("demo_pages")
ASKED = {
    "one.png": {"What shape is yellow?": "triangle", "Is there a blue thing?": "no"},
    "three.png": {
        "What colour is the triangle?": "red",
        "Is there a square?": "no",
        "How many things are there?": "3",
        "What shape is on the left?": "circle",
    },
}
"""Questions about drawings, with their right answers."""


def pages(pipeline: Any, folder: Path) -> None:
    """Every multimodal task with a checkpoint; the page with its answers goes to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    documents(pipeline, folder)
    captions(pipeline)
    visual_questions(pipeline)
    show("see", f"the receipt with the places of its answers, receipt.png, is in {folder.resolve()}")


def documents(pipeline: Any, folder: Path) -> None:
    title("Questions about a document")
    ask = pipeline("document-question-answering")
    held = json.loads((PAGES / "receipt.json").read_text())
    asked = [item["question"] for item in held["questions"]]
    found = ask(image=str(PAGES / "receipt.png"), question=asked, word_boxes=held["word_boxes"], boxes=True)
    show("in ", f"receipt.png: {' '.join(word for word, _ in held['word_boxes'])}")
    for item, answers in zip(held["questions"], found, strict=True):
        best = answers[0]
        show("ask", item["question"])
        corners = ", ".join(map(str, best["box"]))
        show("out", f"{best['answer']}  ({percent(best['score'])}, at {corners} thousandths of the page)")
        if best["answer"] != item["answer"]:
            show("not", f"the right answer is: {item['answer']}")
    answered_page(found).save(folder / "receipt.png")


def captions(pipeline: Any) -> None:
    title("Captions")
    describe = pipeline("image-to-text")
    truth = json.loads((SCENES / "truth.json").read_text())
    show("in ", f"one.png, a {truth['one.png'][0]}")
    show("out", describe(str(SCENES / "one.png"))[0]["generated_text"])


def visual_questions(pipeline: Any) -> None:
    title("Questions about a picture")
    ask = pipeline("visual-question-answering")
    truth = json.loads((SCENES / "truth.json").read_text())
    for name, asked in ASKED.items():
        show("in ", f"{name}: {', '.join(truth[name])}")
        found = ask(image=str(SCENES / name), question=list(asked), top_k=1)
        for (question, right), answers in zip(asked.items(), found, strict=True):
            best = answers[0]
            show("ask", question)
            show("out", f"{best['answer']}  ({percent(best['score'])})")
            if best["answer"] != right:
                show("not", f"the right answer is: {right}")
