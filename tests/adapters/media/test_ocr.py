"""Words of pages as tesseract's table has them, and by the program itself where it is installed."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from afterlogits import pipeline
from afterlogits.adapters import checkpoints
from afterlogits.adapters.media.ocr import read_words, scaled_box, words_of_table

PAGES = Path(checkpoints.__file__).with_name("demo_pages")
HELD = json.loads((PAGES / "receipt.json").read_text())
TABLE = """level\tleft\ttop\twidth\theight\tconf\ttext
1\t0\t0\t200\t100\t-1\t
5\t10\t20\t33\t10\t96.1\tTotal
5\t50\t20\t1\t10\t95.0\t\x20
5\t60\t20\t47\t10\t91.5\t"12.50"
"""


def test_blank_words_are_dropped_and_boxes_cut_to_thousandths():
    """Right of "Total": 43 / 200 = 0.215; of the sum: 107 / 200 = 0.535. Quotes are text."""
    assert words_of_table(TABLE, 200, 100) == [("Total", [50, 200, 215, 300]), ('"12.50"', [300, 200, 535, 300])]


def test_thousandths_are_cut():
    """1 / 3 is 333.3, 2 / 3 is 666.6."""
    assert scaled_box((1, 2, 2, 3), 3, 3) == [333, 666, 666, 1000]


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"^word_boxes must be given with an image: the program tesseract"):
        read_words(Image.new("RGB", (20, 10)))


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_words_by_the_program():
    page = Image.new("RGB", (400, 80), "white")
    ImageDraw.Draw(page).text((20, 20), "TOTAL 42", fill="black", font_size=32)
    assert [word for word, _ in read_words(page)] == ["TOTAL", "42"]


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_questions_about_a_page_alone():
    """The shipped receipt as a picture: tesseract finds its words, the shipped model the answers among them."""
    ask = pipeline("document-question-answering")
    answers = ask(image=str(PAGES / "receipt.png"), question="How much is the total?")
    truth = next(item["answer"] for item in HELD["questions"] if "total" in item["question"])
    assert answers[0]["answer"] == truth
    box = answers.box_of(answers[0])
    true = next(box for word, box in HELD["word_boxes"][::-1] if word == truth)
    assert max(abs(a - b) for a, b in zip(box, true, strict=True)) < 40
