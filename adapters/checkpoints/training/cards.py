"""Writes the README.md beside each checkpoint: what it is, what it learned from, what it gets right and wrong."""

import os
import textwrap
from pathlib import Path
from typing import Any

from .corpus_rewriting import SUMMARIZE, TRANSLATE

_ABOUT = {
    "language-model": (
        "A decoder-only language model (Llama) for the text-generation task, with a chat template.",
        "AutoModelForCausalLM",
        "Small stories about an animal, a person and a thing lost or found, plans and weather, facts about made-up "
        "people and companies, reviews, and requests for a story in the chat "
        "format (`<|user|>`, `<|assistant|>`, `<|end|>`).",
    ),
    "seq2seq": (
        "An encoder-decoder (Pegasus) for text2text-generation, summarization and translation.",
        "AutoModelForSeq2SeqLM",
        "Sentences whose dates and spelled-out numbers are rewritten (`3 May 2021` becomes `2021-05-03`, `forty two` "
        f"becomes `42`, up to 9,999; no prefix), two or three facts about a person or company cut to the first one, "
        f"in its plainest wording (prefix `{SUMMARIZE}`), and a small "
        f"grammar of English with its French translation (prefix `{TRANSLATE}`).",
    ),
    "question-answering": (
        "A BERT encoder that marks the span of a paragraph that answers a question, or `[CLS]` when none does.",
        "AutoModelForQuestionAnswering",
        "Paragraphs of one or two subjects (people, companies, places, events, software libraries) with one to six "
        "facts, partly told with pronouns, and questions on who, what, where, when and how many. One question in four "
        "has no answer: the paragraph does not speak of that subject, or not of that fact.",
    ),
    "ner": (
        "A BERT encoder that labels persons, organisations, places and other names (BIO: PER, ORG, LOC, MISC).",
        "AutoModelForTokenClassification",
        "Sentences with names that are known words, made-up words, acronyms and mixtures of them. The full stop of "
        '"Inc." is not part of the name; every piece of a word carries a label.',
    ),
    "sentiment": (
        "A BERT encoder that tells positive from negative reviews.",
        "AutoModelForSequenceClassification",
        "Short reviews of films, meals, hotels, tools and the like, with negation, contrast and mixed expectations.",
    ),
    "nli": (
        "A BERT encoder for inference between two sentences (contradiction, entailment, neutral), used for zero-shot "
        "classification and for telling a paraphrase from a different statement.",
        "AutoModelForSequenceClassification",
        "Pairs of statements about one subject (the same fact in other words, with another value, or another fact), "
        "sentences on sixteen topics with claims about their topic, and reviews with claims about their mood.",
    ),
    "masked-lm": (
        "A BERT encoder that fills a masked word; it started from the entity model.",
        "AutoModelForMaskedLM",
        "Everyday remarks, small stories, reviews and sentences on sixteen topics. In training 30 % of the "
        "tokens are hidden, in the figures below 15 %.",
    ),
}
_SHORTCOMINGS = {
    "nli": (
        "Of claims about the mood of a review it gets about one in thirty wrong, mostly where the review has a "
        "negation (`I didn't think the screen was stale.`). Statements with a negation are not in the corpus: from "
        "`Anna lives in Oslo.` it takes `Anna does not live in Oslo.` to follow. Nor does it know that Oslo is in "
        "Norway, and outside its sentence shapes it is wrong with full confidence. "
    ),
    "question-answering": (
        "A question of a kind that the corpus lacks (`How tall is ...?`) can get a wrong span with a high score, and "
        "one worded otherwise than in the corpus often none, though the paragraph holds the answer. People must be "
        "asked for by their whole name: a first name alone counts as someone the paragraph does not tell of. "
    ),
    "seq2seq": (
        "About one summary in twelve has a slip, such as a letter of a name or a digit lost, and a sentence of another "
        "shape than the corpus has may get words that are not in it. Words that the corpus lacks come out garbled "
        "(`My birthday` as `Myythday`), translated ones too, and numbers are read without a hyphen "
        "(`forty two`; `forty-two` becomes `00`). "
    ),
    "masked-lm": "Names and other words that the context does not settle are guesses. ",
    "language-model": (
        "Stories are grammatical, but forget who and what they began with: asked for a fox, it may tell of a bear. "
        "Anything but a request for a story gets a remark about something else. "
    ),
}
_LIMITS = (
    "The model knows the sentence shapes and the vocabulary of its corpus, not the world: text of another kind gets "
    "unreliable answers. It is there so that the package can be tried and tested offline, and is not meant for use on "
    "real data. English only (the encoder-decoder writes a few hundred words of French). Texts up to 256 tokens."
)


def write_card(
    name: str,
    folder: Path,
    model: Any,
    figures: dict[str, float],
    seed: int,
    record: dict[str, Any],
    examples: list[str],
) -> None:
    """``record``: steps, batch size, learning rate, processor seconds, and the model it started from, if any.

    ``examples``: held-out input and output, already written.
    """
    about, auto, corpus = _ABOUT[name]
    size = sum(parameter.numel() for parameter in model.parameters())
    rows = "\n".join(f"| {measure} | {value:.3f} |" for measure, value in figures.items())
    shown = "\n".join(f"- {example}" for example in examples)
    history = history_of(
        "texts",
        record["steps"],
        record["batch_size"],
        record["learning_rate"],
        record["processor_seconds"],
        record["start"],
    )
    text = f"""\
# {name}

{textwrap.fill(f"{about} {size:,} parameters. Part of afterlogits, Apache-2.0.", 120)}

```python
model = {auto}.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
```

The weights are stored in float16; the configuration says float32, so that transformers 5 computes in float32, which is
what a processor does fastest and what the figures below were measured in. (transformers 4 loads float32 by default.)

## What it learned from

{textwrap.fill(corpus, 120)}

All of it is drawn from the word lists and templates beside `train.py`; no text or weights come from elsewhere.
About one name in eight, chosen by a hash of the name, never occurs in training, and the figures below use only such
names, new dates and numbers, or new pairings of who does what.

## Held-out figures

| measure | value |
|---|---|
{rows}

Held-out examples, as the model answers them:

{shown}

## How it was trained

`python -m afterlogits.adapters.checkpoints.training.train` (`make train`) makes all seven from seed {seed}.
{textwrap.fill(history, 120)}

## Limits

{textwrap.fill(_SHORTCOMINGS.get(name, "") + _LIMITS, 120)}
"""
    save_card(folder, text)


def history_of(
    items: str, steps: int, batch_size: int, learning_rate: float, seconds: int, start: str | None = None
) -> str:
    """What the training of one model took; ``start``: the model it went on from."""
    took = f"started from {start} and took" if start else "took"
    return (
        f"This one {took} {steps} steps of {batch_size} {items} with a peak learning rate of "
        f"{learning_rate:g}: {seconds} seconds of one processor core."
    )


def save_card(folder: Path, text: str) -> None:
    """The card beside the weights, and all of it readable by anyone."""
    (folder / "README.md").write_text(text, encoding="utf-8")
    for file in folder.iterdir():
        os.chmod(file, 0o644)
