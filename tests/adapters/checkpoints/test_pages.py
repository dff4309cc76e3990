"""The checkpoints for documents and pictures in words: cards, training data, the demonstration."""

import json
import random
import re
from pathlib import Path

import numpy as np
import PIL
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
from afterlogits.adapters.checkpoints.training.pictures import picture_texts, scene_questions, scenes, visual_questions
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
    for title in ("Questions about a document", "Captions", "out a yellow triangle", "Questions about a picture"):
        assert title in said


def test_questions_of_the_demonstration_have_the_answers_that_are_shown() -> None:
    """By what is known of the drawings, in the words of the truth beside them."""
    truth = json.loads((demo_pages.SCENES / "truth.json").read_text())
    for name, asked in demo_pages.ASKED.items():
        for text, answer in asked.items():
            assert answer == answered(text, truth[name])


def answered(text: str, names: list[str]) -> str:
    """The slow reader of a question about things, given as "red circle", from left to right."""
    words = text.lower().rstrip("?").replace("color", "colour").split()
    things = [name.split() for name in names]
    if words[-3:-1] == ["on", "the"]:
        return things[0 if words[-1] == "left" else -1][words[1] == "shape"]
    wanted = {word.removesuffix("s") for word in words} & {"circle", "square", "triangle", *scenes.COLOURS}
    fitting = [thing for thing in things if wanted <= set(thing)]
    if words[:2] == ["how", "many"]:
        return str(len(fitting))
    if words[0] == "is":
        return "yes" if fitting else "no"
    assert len(fitting) == 1
    return fitting[0][words[1] != "colour"]


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 11, reason="Pillow 10 draws letters a little otherwise")
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


@pytest.mark.parametrize("kind", scene_questions.KINDS)
def test_questions_about_pictures_have_one_right_answer(kind: str) -> None:
    """By the slow reader; every form of a question is a whole number of words that the model's vocabulary has."""
    rng, said = np.random.default_rng(6), set()
    for _ in range(150):
        scene, asked = scene_questions.asked(rng, kind)
        things = sorted(scene.things, key=lambda thing: thing.x)
        assert asked.kind == kind
        assert asked.answer == answered(asked.text, [scenes.NAMES[thing.label] for thing in things]), asked
        pieces = visual_questions.tokenizer().tokenize(asked.text)
        assert not any(piece.startswith("##") or piece == "[UNK]" for piece in pieces)
        assert len(pieces) + 2 <= visual_questions.LONGEST
        said.add(asked.answer)
    assert said <= set(scene_questions.ANSWERS) and len(said) > 1


def test_patches_show_what_covers_them() -> None:
    """A red circle of radius 8 around (16, 20): its centre lies in row 2, column 2; the corner patch is ground."""
    thing = scenes.Thing(shape=0, colour=0, x=16.0, y=20.0, radius=8.0)
    scene = scenes.draw(np.random.default_rng(0), [thing])
    names, centres, left, right = visual_questions.patch_truth(scene)
    assert names.reshape(8, 8)[2, 2] == scenes.NAMES.index("red circle")
    assert names[0] == names[-1] == len(scenes.NAMES)
    assert np.flatnonzero(centres).tolist() == [2 * 8 + 2]
    assert np.array_equal(left, names == scenes.NAMES.index("red circle")) and np.array_equal(left, right)
    beside = scenes.Thing(shape=1, colour=2, x=50.0, y=20.0, radius=8.0)
    names, _, left, right = visual_questions.patch_truth(scenes.draw(np.random.default_rng(0), [beside, thing]))
    assert {scenes.NAMES[name] for name in names[left == 1]} == {"red circle"}
    assert {scenes.NAMES[name] for name in names[right == 1]} == {"blue square"}


def test_the_training_reads_pictures_as_the_pipeline_does() -> None:
    """Patches in their own order give the logits of the processor's pixels, which transformers shuffles."""
    model, (processor, _) = visual_questions.answerer(), visual_questions.answerer_parts()
    rng = np.random.default_rng(5)
    batch = visual_questions.asked_batch(rng, 4)
    scene, _ = scene_questions.asked(np.random.default_rng(3), "colour")
    own = processor(images=Image.fromarray(scene.image), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(own, visual_questions.pixels([scene.image]) * 2 - 1)
    texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        patches = visual_questions._patches(model, batch)
        mask = torch.ones(patches.shape[:2], dtype=torch.long)
        one = model(**texts, image_embeds=patches, pixel_mask=mask).logits
        other = model(**texts, pixel_values=batch["pixel_values"]).logits
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["receipts", "captions", "visual-questions"])
def test_training_twice_gives_the_same_bits(name: str) -> None:
    """Three steps from the same seed."""
    kind, weights = KINDS[name], []
    for _ in range(2):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        model = kind.model()
        for lesson in filter(None, (kind.before, kind.lesson)):
            fit(model, iter([lesson.batch(rng, 4) for _ in range(3)]), lesson.loss, Schedule(3, batch_size=4), name)
        weights.append(model.state_dict())
    assert all(torch.equal(one, weights[1][key]) for key, one in weights[0].items())
