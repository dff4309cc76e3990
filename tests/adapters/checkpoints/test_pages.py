"""The checkpoints for documents and pictures in words: cards, training data, the demonstration."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from afterlogits import pipeline
from afterlogits.adapters.checkpoints import MULTIMODAL, path
from afterlogits.adapters.checkpoints.training import media_items
from afterlogits.adapters.checkpoints.training.documents import model as documents
from afterlogits.adapters.checkpoints.training.documents import receipts
from afterlogits.adapters.checkpoints.training.media_figures import FIGURES
from afterlogits.adapters.checkpoints.training.media_models import KINDS
from afterlogits.adapters.checkpoints.training.names import Names
from afterlogits.adapters.checkpoints.training.optimise import Schedule, fit
from afterlogits.adapters.checkpoints.training.pictures import picture_texts, scenes
from afterlogits.adapters.cli import demo_pages
from tests.adapters.checkpoints.media_cards import card, close_to
from tests.adapters.tasks.parity import same

V5 = transformers.__version__.startswith("5")


@pytest.mark.parametrize("folder", MULTIMODAL)
def test_a_held_out_sample_agrees_with_the_card(folder: str) -> None:
    close_to(card(folder), FIGURES[folder](path(folder), 25 if folder == "receipts" else 150))


# the demonstration


@pytest.mark.skipif(not V5, reason="5.23 is the rule for documents")
def test_answers_are_those_of_transformers() -> None:
    held = json.loads((media_items.PAGES / "receipt.json").read_text())
    items = [{"question": item["question"], "word_boxes": held["word_boxes"]} for item in held["questions"]]
    task = "document-question-answering"
    theirs = [transformers.pipeline(task, model=str(path(task)))(dict(item), top_k=2) for item in items]
    same(theirs, pipeline(task)(items, top_k=2), task)


def test_the_demonstration_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo_pages.pages(pipeline, tmp_path)
    said = capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"receipt.png"}
    with Image.open(tmp_path / "receipt.png") as page:
        assert page.height == receipts.HEIGHT and page.width > receipts.WIDTH  # the legend stands beside it
        pixels = np.asarray(page)[:, : receipts.WIDTH].reshape(-1, 3)
        coloured = pixels[pixels.max(1) > pixels.min(1)]
        assert len(np.unique(coloured, axis=0)) == 5  # a box for each of five questions, on a grey page
    for title in ("Questions about a document", "Captions", "out a yellow triangle"):
        assert title in said


def test_the_page_is_what_the_seed_draws() -> None:
    """None was picked by hand."""
    picture, held = media_items.drawn_page()
    assert json.loads((media_items.PAGES / "receipt.json").read_text()) == json.loads(json.dumps(held))
    with Image.open(media_items.PAGES / "receipt.png") as stored:
        assert np.array_equal(np.asarray(stored), np.asarray(picture))


# training data


def test_receipts_answer_their_questions() -> None:
    """Prices and counts stand on the line of their thing; the total is the sum; words lie on the page in order."""
    reader = documents.tokenizer()
    for held_out in (False, True):
        names = Names(random.Random(7), held_out=held_out)
        for _ in range(60):
            page = receipts.receipt(names)
            for (kind, item), (first, last) in page.marks.items():
                said = " ".join(page.words[first : last + 1])
                if kind == "item":
                    assert said.lower() == item.lower()
                    rows = [page.boxes[page.marks[other, item][0]][1] for other in ("price", "count")]
                    assert rows == [page.boxes[first][1]] * 2
            cents = [int(page.words[a].replace(".", "")) for (kind, _), (a, _) in page.marks.items() if kind == "price"]
            assert int(page.words[page.marks["total", ""][0]].replace(".", "")) == sum(cents)
            assert all(0 <= side <= 1000 for _, box in page.word_boxes for side in box)
            for question in receipts.questions(names.rng, page):
                row = documents.encoded(page, question)
                begin, end = row["span"]
                assert 0 < begin <= end < len(row["input_ids"]) <= documents.MAX_LENGTH
                text = reader.decode(row["input_ids"][begin : end + 1])
                assert re.sub(r"\W", "", text) == re.sub(r"\W", "", page.answer(question).lower())


def test_listed_things_are_split_between_training_and_the_rest() -> None:
    for held_out in (False, True):
        names = Names(random.Random(8), held_out=held_out)
        drawn = {receipts.item_name(names) for _ in range(400)} & set(receipts.ITEMS)
        assert drawn and all(receipts.held_out(item) == held_out for item in drawn)


def test_captions_name_things_from_left_to_right() -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        things = scenes.apart(rng, 3)
        said = picture_texts.caption(things).split(" and ")
        assert said == [f"a {scenes.NAMES[thing.label]}" for thing in sorted(things, key=lambda thing: thing.x)]


@pytest.mark.parametrize("name", ["receipts", "captions"])
def test_training_twice_gives_the_same_bits(name: str) -> None:
    """Three steps from the same seed."""
    kind, weights = KINDS[name], []
    for _ in range(2):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        model = kind.model()
        fit(model, iter([kind.batch(rng, 4) for _ in range(3)]), kind.loss, Schedule(3, batch_size=4), name)
        weights.append(model.state_dict())
    assert all(torch.equal(one, weights[1][key]) for key, one in weights[0].items())
