"""Questions about pages, by models drawn at random, as transformers' pipeline answers them; pages it cannot read."""

import re

import pytest
import transformers

from afterlogits.adapters.media.drawing import fit
from afterlogits.adapters.pipelines import pipeline
from tests.adapters.tasks.parity import check
from tests.builders.multimodal_models import donut, layoutlm, layoutlmv3, picture, word_boxes

TASK = "document-question-answering"
V5 = transformers.__version__.startswith("5")
ASKED = [("where is Paris", 5), ("who works for Acme and so on", 150), ("a", 40)]
PAGES = [{"question": question, "word_boxes": word_boxes(count, count)} for question, count in ASKED]


def parts_of(built):
    model, tokenizer, *processors = built
    return model, {"tokenizer": tokenizer, **({"image_processor": processors[0]} if processors else {})}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 4},
        {"top_k": 4, "handle_impossible_answer": True, "max_answer_len": 3},
        {"max_seq_len": 32, "doc_stride": 8, "top_k": 3},
        {"top_k": 500},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_spans(options, seed):
    """Windows of one page compete, and one answer may come back from several."""
    found = check(TASK, *parts_of(layoutlm(seed)), PAGES, **options)
    assert all(len(answers) >= 1 for answers in found)


def test_one_question_gives_one_list():
    model, parts = parts_of(layoutlm())
    found = check(TASK, model, parts, PAGES[1], top_k=2)
    by_name = pipeline(TASK, model, **parts)(question=PAGES[1]["question"], word_boxes=PAGES[1]["word_boxes"], top_k=2)
    assert by_name == found and list(found[0]) == ["score", "answer", "start", "end"]


@pytest.mark.skipif(not V5, reason="the pipeline of 4.57.6 fails on LayoutLMv3 with an image processor")
def test_pictures_that_transformers_does_not_look_at():
    """5.23 gives LayoutLMv3 the picture under a name that it does not read; compat=False shows it."""
    model, tokenizer, processor = layoutlmv3()
    pages = [{**page, "image": picture(seed=seed)} for seed, page in enumerate(PAGES)]
    parts = {"tokenizer": tokenizer, "image_processor": processor}
    found = check(TASK, model, parts, pages, top_k=3)
    blind = check(TASK, model, {"tokenizer": tokenizer}, PAGES, top_k=3)
    assert [[answer["answer"] for answer in own] for own in found] == [[a["answer"] for a in own] for own in blind]
    seen = pipeline(TASK, model, compat=False, **parts)
    one, other = (seen({**PAGES[0], "image": picture(seed=seed)}) for seed in (1, 2))
    assert one[0]["score"] != other[0]["score"]


def test_generated_answers():
    """A bias towards the closing tag makes Donut finish an answer."""
    model, tokenizer, processor = donut()
    parts = {"tokenizer": tokenizer, "image_processor": processor}
    asked = ("where is Paris", "who works for Acme and so on", "where is Paris")
    pages = [{"image": picture(seed=seed), "question": question} for seed, question in enumerate(asked)]
    end = tokenizer.convert_tokens_to_ids("</s_answer>")
    build = {"max_new_tokens": 12, "sequence_bias": [[[end], 3.0]]}
    found = check(TASK, model, parts, pages, build=build)
    assert any(answers[0]["answer"] is not None for answers in found)


def test_options_that_transformers_drops_are_told():
    """max_new_tokens of a call never reaches Donut there; compat=False passes it on."""
    model, tokenizer, processor = donut()
    parts = {"tokenizer": tokenizer, "image_processor": processor}
    page = {"image": picture(), "question": "who"}
    with pytest.warns(UserWarning, match="transformers drops max_new_tokens of a call"):
        pipeline(TASK, model, **parts)(page, max_new_tokens=4)
    pipeline(TASK, model, compat=False, **parts)(page, max_new_tokens=4)


def test_boxes_of_answers_and_answers_said_once():
    """Word boxes of an answer are those between its start and end; corrected, no two answers are of the same words."""
    model, tokenizer = layoutlm()
    found = pipeline(TASK, model, tokenizer=tokenizer, compat=False)(PAGES[1], top_k=10, boxes=True)
    assert len({(answer["start"], answer["end"]) for answer in found}) == len(found) > 1
    for answer in found:
        covered = [box for _, box in PAGES[1]["word_boxes"][answer["start"] : answer["end"] + 1]]
        assert answer["boxes"] == covered
        left, top, right, bottom = zip(*covered, strict=True)
        assert answer["box"] == [min(left), min(top), max(right), max(bottom)]


def test_answers_are_drawn_on_their_page():
    """The page is enlarged to be looked at; edges are drawn around the boxes, names beside the page, so that nothing in
    a box is written over."""
    model, tokenizer = layoutlm()
    pipe = pipeline(TASK, model, tokenizer=tokenizer)
    given = pipe({**PAGES[0], "image": picture(200, 100)})
    assert given.box_of(given[0]) == PAGES[0]["word_boxes"][given[0]["start"]][1] or given[0]["end"] > given[0]["start"]
    drawn, (plain, scale) = given.picture(), fit(picture(200, 100))
    assert drawn.height == plain.height == 240 and drawn.width > plain.width == 480
    assert drawn.crop((0, 0, *plain.size)).tobytes() != plain.tobytes()
    left, top, right, bottom = given.box_of(given[0])
    inside = tuple(int(edge * scale) for edge in (left * 0.2 + 1, top * 0.1 + 1, right * 0.2 - 1, bottom * 0.1 - 1))
    assert drawn.crop(inside).tobytes() == plain.crop(inside).tobytes()
    given[:] = [{"score": 1.0, "answer": "", "start": 0, "end": 0}]  # "no answer" has no place
    assert given.picture().height == 240
    bare = pipe(PAGES[0])
    assert bare.page is None and bare.picture().height == 1000 < bare.picture().width
    assert "data:image/png;base64," in bare._repr_html_() and bare[0]["answer"] in bare._repr_html_()


NO_PAGES = [
    ({"question": "who"}, "item must have an image or word_boxes; got neither"),
    ({"question": "who", "word_boxes": []}, "a page must have words; got none"),
    ({"question": "", "word_boxes": word_boxes(2)}, "question must not be empty; got ''"),
    ({"question": "who", "word_boxes": [("a", (1, 2, 3))]}, "boxes must be (left, top, right, bottom) in thousandths"),
    ({"question": "who", "word_boxes": [("a", (1, 2, 3, 1001))]}, "boxes must be (left, top, right, bottom) in"),
    ({"question": "who", "word_boxes": [("a", None)]}, "boxes must be (left, top, right, bottom) in thousandths"),
    ({"question": "who", "word_boxes": [("a", [0, "1", 2, 3])]}, "boxes must be (left, top, right, bottom) in"),
    ({"question": "who", "word_boxes": ["a"]}, "word_boxes must be pairs of a word and a box; got 'a' at 0"),
    ({"question": "who", "image": "nowhere.png"}, "image must be a file that exists"),
    ({"word_boxes": word_boxes(2)}, "item must have a field 'question'"),
    ("who", "item must be a dict with question and image or word_boxes; got str"),
]


@pytest.mark.parametrize(("page", "message"), NO_PAGES, ids=[message for _, message in NO_PAGES])
def test_a_page_that_cannot_be_read_costs_no_other(page, message):
    model, tokenizer = layoutlm()
    pipe = pipeline(TASK, model, tokenizer=tokenizer)
    alone = pipe(PAGES[0])
    found = pipe([PAGES[0], page, PAGES[0]], on_error="record")
    assert re.match(re.escape(message), found[1]["error"]) and found[1]["index"] == 1
    assert [found[0], found[2]] == [alone, alone] or found[0][0]["answer"] == alone[0]["answer"]
