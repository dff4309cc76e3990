"""Writes the README.md beside each checkpoint for sounds, documents and pictures in words."""

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from .optimise import Schedule
from .sounds import noises, speech


@dataclass(frozen=True)
class About:
    """What a card tells of one model: what it is, the pipeline that runs it, what it learned from, its limits."""

    what: str
    task: str
    corpus: str
    limits: str


_SPOKEN = f"{len(speech.WORDS)} words ({', '.join(speech.WORDS)})"
ABOUT = {
    "spoken-words": About(
        "A Wav2Vec2-BERT that writes down spoken words, with the time of each.",
        "automatic-speech-recognition",
        f"{_SPOKEN}, each spoken alone by espeak-ng in {len(speech.VOICES)} voices at three speeds and pitches, then "
        "put together to utterances of one to five words with pauses, higher or lower, louder or softer, with noise. "
        "So every word's time is known, and the network is told it.",
        "It knows these words and nothing else, said by a synthesiser with pauses between them: natural speech gets "
        "texts that mean nothing.",
    ),
    "sounds": About(
        f"An audio spectrogram transformer that tells {', '.join(noises.LABELS)} apart by a second of sound.",
        "audio-classification",
        "Tones, sweeps, bells, clicks and noise computed by `noises.py`, over a little noise; speech is the words of "
        "espeak-ng that `spoken-words` learned from.",
        "It knows such sounds and nothing else, and hears the first second of a recording alone.",
    ),
    "receipts": About(
        "A LayoutLM that answers questions about receipts, of their words and where they stand.",
        "document-question-answering",
        "Receipts laid out by `receipts.py`: shop, date, number, things with count and price, tax, total, payment. "
        "Questions ask for what a page says once, in three or four forms. Names and things are made up or split, so "
        "that those of the figures are in no training page.",
        "It knows such receipts and such questions alone, and not what one of several things costs. It reads words "
        "with boxes, not pictures: those come from the caller or from tesseract, where that is installed.",
    ),
    "captions": About(
        "A SegFormer's encoder with a GPT-2 of two layers that says what is in a drawn picture, from left to right.",
        "image-to-text",
        "Scenes of one to three shapes, 64 x 64 pixels, drawn by `scenes.py`. It begins with the first three stages of "
        "the weights of `shape-maps`.",
        "It knows such drawings and nothing else: a photograph gets a caption that means nothing. Of three things it "
        "often mixes up the colours: it is meant for one or two.",
    ),
    "visual-questions": About(
        "A ViLT that answers questions about a drawn picture: what colour or shape a thing has, how many there are, "
        "whether there is one.",
        "visual-question-answering",
        "Scenes of one to three shapes, 64 x 64 pixels, drawn by `scenes.py`, and questions of `scene_questions.py` "
        "that have one right answer, one a picture. While it trained it was also told what each patch of 8 x 8 pixels "
        "shows, and whether that stands furthest left or right: first this alone, on 28,800 pictures, then with the "
        "questions; the heads for it are dropped.",
        "It knows such drawings and such questions alone, and answers one of thirteen words to whatever it is asked.",
    ),
}


def parameters_of(folder: Path) -> int:
    """How many numbers the stored weights hold."""
    with safe_open(str(folder / "model.safetensors"), framework="pt") as file:
        return sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (no mapping)


def write_card(name: str, folder: Path, figures: dict[str, float], seed: int, plan: Schedule, spent: float) -> None:
    """``spent``: seconds of one processor core that the training took."""
    about = ABOUT[name]
    rows = "\n".join(f"| {measure} | {value:.3f} |" for measure, value in figures.items())
    history = (
        f"`python -m {__package__}.train_media` (`make train-audio`) makes all of them from seed {seed}. This one took "
        f"{plan.steps} steps of {plan.batch_size} items with a peak learning rate of {plan.learning_rate:g}: "
        f"{round(spent)} seconds of one processor core."
    )
    if name in ("spoken-words", "sounds"):
        history += f" The words are spoken by {speech.version()}."
    text = f"""\
# {name}

{textwrap.fill(f"{about.what} {parameters_of(folder):,} parameters. Part of afterlogits, Apache-2.0.", 120)}

```python
answer = pipeline("{about.task}", model=folder)
```

The weights are stored in float16; the configuration says float32, so that transformers 5 computes in float32, in which
the figures below were measured. (transformers 4 loads float32 by default.)

## What it learned from

{textwrap.fill(about.corpus + " No recording, page, picture or weight is from elsewhere.", 120)}

## Held-out figures

| measure | value |
|---|---|
{rows}

## How it was trained

{textwrap.fill(history, 120)}

## Limits

{textwrap.fill(about.limits + " It is there so that the package can be tried and tested offline.", 120)}
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
    for file in folder.iterdir():
        os.chmod(file, 0o644)
