"""Draws what the demonstration hears and reads: recordings and a receipt that no training saw, with their truth.

    python -m afterlogits.adapters.checkpoints.training.media_items

writes ``demo_sounds/`` (needs espeak-ng) and ``demo_pages/`` beside the weights, so that the demonstration needs none
of the training code.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from .command import WEIGHTS
from .documents import receipts
from .names import Names
from .sounds import noises, speech

SEED = 1
SOUNDS, PAGES = WEIGHTS / "demo_sounds", WEIGHTS / "demo_pages"


def drawn_sounds() -> tuple[dict[str, speech.Samples], dict[str, Any]]:
    """Recordings by file name, and the truth: two of words in new voices, one of every kind of sound but speech."""
    rng = np.random.default_rng(SEED)
    clips = speech.bank(speech.NEW_VOICES[:2], 1, SEED)
    files: dict[str, speech.Samples] = {}
    truth: dict[str, Any] = {}
    for number, count in enumerate((5, 8), 1):
        spoken = speech.utterance(rng, clips, count)
        name = f"words-{number}.flac"
        files[name] = spoken.samples
        truth[name] = [[word, start / speech.RATE, end / speech.RATE] for word, start, end in spoken.words]
    for label, kind in enumerate(noises.LABELS[:-1]):
        files[f"{kind}.flac"] = noises.sound(rng, clips, label)
        truth[f"{kind}.flac"] = kind
    return files, truth


def drawn_page() -> tuple[Any, dict[str, Any]]:
    """A receipt as a picture, and its words with their boxes, questions and answers."""
    names = Names(random.Random(SEED), held_out=True)
    page = receipts.receipt(names)
    asked = names.rng.sample(receipts.questions(names.rng, page), 5)
    said = [{"question": question.text, "answer": page.answer(question)} for question in asked]
    return receipts.drawn(page), {"word_boxes": page.word_boxes, "questions": said}


def write_sounds(folder: Path = SOUNDS) -> None:
    import soundfile

    files, truth = drawn_sounds()
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in files.items():
        soundfile.write(folder / name, np.clip(samples, -1, 1), speech.RATE, subtype="PCM_16")
    (folder / "truth.json").write_text(json.dumps(truth) + "\n")


def write_page(folder: Path = PAGES) -> None:
    picture, held = drawn_page()
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / "receipt.png", optimize=True)
    (folder / "receipt.json").write_text(json.dumps(held) + "\n")


if __name__ == "__main__":
    write_sounds()
    write_page()
