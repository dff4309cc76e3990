"""A chat, a text with pictures or a request that cannot be answered is named with its reason and costs no other."""

import io

import numpy as np
import pytest
import transformers

from afterlogits.adapters.pipelines import pipeline
from tests.builders.multimodal_models import decider, donut, layoutlm, llava, picture, vilt, word_boxes

V5 = transformers.__version__.startswith("5")
only_5 = pytest.mark.skipif(not V5, reason="this task is of 5.23")
PAGE = picture(40, 30)
GOOD = {"text": "<image> who", "images": PAGE}
NO_TEXT = "item must be a text, texts, or a chat whose messages have a role and a content; got "


def chat(content):
    return [{"role": "user", "content": content}]


BAD = {
    "none": (None, "item must be a text, a chat or a dict with "),
    "a number": (3, "item must be a text, a chat or a dict with "),
    "no text": ({"images": PAGE}, "item must have a field 'text'; got none"),
    "a text of None": ({**GOOD, "text": None}, NO_TEXT + "NoneType"),
    "a text of 3": ({**GOOD, "text": 3}, NO_TEXT + "int"),
    "no texts": ([], NO_TEXT + "list"),
    "a message without role": ([{"content": "a"}], NO_TEXT + "list"),
    "a missing file": ({**GOOD, "images": "no such.png"}, "image must be a file that exists"),
    "no picture at all": ({**GOOD, "images": b"nothing"}, "image must be a picture that Pillow can open; got 7 bytes"),
    "no pixels": ({**GOOD, "images": np.zeros((0, 4, 3), np.uint8)}, "image must have pixels; got shape (0, 4, 3)"),
    "NaN": ({**GOOD, "images": np.full((9, 9, 3), np.nan)}, "image must hold floats in [0, 1]; got nan to nan"),
    "content of 3": (chat(3), "content of a message must be a text or a list of parts; got 3 at 0"),
    "a part of text": (chat(["x"]), "every part of a message must be a dict with a type; got 'x' at 0"),
    "no type": (chat([{"text": "x"}]), "every part of a message must be a dict with a type; got {'text': 'x'} at 0"),
    "no message": ([*chat("x"), 3], "every message of a chat must have a role and a content; got 3 at 1"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", ["image-text-to-text", pytest.param("any-to-any", marks=only_5)])
def test_bad_prompts_cost_no_other(task):
    model, processor = llava()
    pipe = pipeline(task, model, processor=processor)
    found = pipe([GOOD, *(bad for bad, _ in BAD.values()), GOOD], on_error="record", max_new_tokens=2)
    assert found[0] == found[-1] == pipe([GOOD], max_new_tokens=2)[0]
    for name, each, (_, message) in zip(BAD, found[1:-1], BAD.values(), strict=True):
        assert each["error"].startswith(message), (name, each)


def test_an_open_file_is_one_picture_of_several_questions():
    model, tokenizer, image_processor = vilt()
    pipe = pipeline("visual-question-answering", model, tokenizer=tokenizer, image_processor=image_processor)
    asked = ["who works", "where is Paris"]
    labels = [[{**each, "score": round(each["score"], 4)} for each in found] for found in pipe(PAGE, asked)]
    found = pipe(png(), asked)
    assert [[{**each, "score": round(each["score"], 4)} for each in own] for own in found] == labels
    model, tokenizer = layoutlm()
    pipe = pipeline("document-question-answering", model, tokenizer=tokenizer)
    words = word_boxes(8)
    assert pipe(image=png(), question=asked, word_boxes=words) == pipe(image=PAGE, question=asked, word_boxes=words)


def png():
    held = io.BytesIO()
    PAGE.save(held, "PNG")
    held.seek(0)
    return held


REQUEST = {"state": "hello", "questions": {"refund": {"type": "noul", "instructions": "Is a refund requested?"}}}


def asked(**questions):
    return {"state": "hello", "questions": questions}


REQUESTS = {
    "none": (None, "request must be a dict with state and questions, or its JSON; got NoneType"),
    "no JSON": ("hello", "request must be a dict with state and questions, or its JSON; got 'hello': Expecting value"),
    "JSON of a list": ("[1]", "request must be a dict with state and questions, or its JSON; got list"),
    "no state": ({"questions": REQUEST["questions"]}, "request must have a field 'state'; got none"),
    "no questions": ({"state": "a"}, "request must have a field 'questions'; got none"),
    "none asked": (asked(), "`questions` maps names to questions, with at least one question; got {}."),
    "a list of questions": ({"state": "a", "questions": [1]}, "`questions` maps names to questions"),
    "an odd type": (asked(a={"type": "odd"}), "Question 'a': `type` must be one of"),
    "a list of types": (asked(a={"type": ["noul"]}), "type of question 'a' must be a text; got ['noul']"),
    "no options": (asked(a={"type": "choice", "criteria": {}}), "Question 'a': a choice question needs `criteria`"),
    "NaN": (asked(a={"type": "score", "criteria": [float("nan")]}), "Question 'a': Validation error for field"),
    "bytes": ({**REQUEST, "state": b"x"}, "request must hold what JSON can hold; got one where Object of type bytes"),
}


@only_5
def test_bad_requests_cost_no_other():
    model, tokenizer = decider()
    pipe = pipeline("decision", model, tokenizer=tokenizer)
    found = pipe([REQUEST, *(bad for bad, _ in REQUESTS.values()), REQUEST], on_error="record")
    assert found[0] == found[-1] == pipe([REQUEST, REQUEST])[0]
    for name, each, (_, message) in zip(REQUESTS, found[1:-1], REQUESTS.values(), strict=True):
        assert each["error"].startswith(message), (name, each)


@only_5
def test_settings_of_another_kind_are_refused():
    model, tokenizer = decider()
    pipe = pipeline("decision", model, tokenizer=tokenizer)
    with pytest.raises(
        TypeError, match=r"decision_config must be a DecisionConfig or the name of its folder; got \{\}"
    ):
        pipe(REQUEST, decision_config={})


def test_a_box_that_ends_before_it_begins_is_named():
    """LayoutLM looks up widths and heights in a table; its error was told as a text of too many tokens."""
    model, tokenizer = layoutlm()
    pipe = pipeline("document-question-answering", model=model, tokenizer=tokenizer)
    good = {"question": "who", "word_boxes": word_boxes(6)}
    for box in ([30, 20, 3, 40], [3, 40, 30, 20]):
        found = pipe([good, {**good, "word_boxes": [("a", [1, 2, 3, 4]), ("b", box)]}, good], on_error="record")
        message = f"boxes must be (left, top, right, bottom) in thousandths of the page; got {box} at 1"
        assert found[1]["error"] == message and found[0] == found[2] == pipe(good)


def test_no_answers_are_asked_for():
    """As in transformers 4.57.6 None is 5, and 0 gives none; corrected, 0 is refused."""
    model, tokenizer, image_processor = vilt()
    parts = {"model": model, "tokenizer": tokenizer, "image_processor": image_processor}
    ask = pipeline("visual-question-answering", **parts)
    assert len(ask(PAGE, "who", top_k=None)) == 5
    assert ask([PAGE, PAGE], "who", top_k=0) == [[], []]
    with pytest.raises(ValueError, match=r"^top_k must be at least 1; got 0$"):
        pipeline("visual-question-answering", **parts, compat=False)(PAGE, "who", top_k=0)


def words(found):
    return [[each["answer"] for each in answers] for answers in found]


def test_one_question_about_every_picture(tmp_path):
    """Of a stream, and of files, which come without questions: as a job answers a folder."""
    model, tokenizer, image_processor = vilt()
    parts = {"model": model, "tokenizer": tokenizer, "image_processor": image_processor}
    ask, pictures = pipeline("visual-question-answering", **parts), [PAGE, picture(40, 30, 1)]
    expected = words(ask(pictures, "who"))
    assert words(ask((each for each in pictures), "who")) == expected
    asked = pipeline("visual-question-answering", **parts, question="who")
    own = {"image": pictures[1], "question": "where is Paris"}
    assert words(asked([PAGE, {"image": pictures[1]}, own])) == [*expected, *words(ask([own]))]
    with pytest.raises(TypeError, match=r"^item 0: item must be a dict with image and question; got Image$"):
        ask([PAGE])
    model, tokenizer, image_processor = donut()
    read = pipeline("document-question-answering", model=model, tokenizer=tokenizer, image_processor=image_processor)
    alone = [read(each, "who") for each in pictures]
    assert read(pictures, "who") == list(read((each for each in pictures), "who")) == alone
    for number, each in enumerate(pictures):
        each.save(tmp_path / f"{number}.png")
    asked = pipeline(read.task, model=model, tokenizer=tokenizer, image_processor=image_processor, question="who")
    assert asked(sorted(tmp_path.iterdir())) == alone
