"""Questions about pictures, captions, chats with pictures and decisions, by models drawn at random, as transformers'
pipelines answer them."""

import pytest
import transformers

from afterlogits.adapters.pipelines import pipeline
from tests.adapters.tasks.parity import check, same
from tests.builders.multimodal_models import (
    blip_captions,
    blip_processor,
    blip_questions,
    decider,
    llava,
    picture,
    vilt,
)

V5 = transformers.__version__.startswith("5")


def only_4(test):
    """A task that 5.23 no longer has."""
    return pytest.mark.v4(pytest.mark.skipif(V5, reason="this task is of 4.57.6 (make test-v4)")(test))


only_5 = pytest.mark.skipif(not V5, reason="this task is of 5.23")
PICTURES = [picture(40, 30), picture(40, 30, seed=1), picture(30, 40, seed=2)]
QUESTIONS = ["where is Paris", "who works for Acme and so on", "a"]


def parts_of(built):
    model, tokenizer, image_processor = built
    return model, {"tokenizer": tokenizer, "image_processor": image_processor}


@only_4
@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_k": 99}, {"top_k": None}, {"top_k": 0}], ids=str)
def test_visual_questions_by_a_head(options):
    asked = [{"image": one, "question": question} for one, question in zip(PICTURES, QUESTIONS, strict=True)]
    check("visual-question-answering", *parts_of(vilt()), asked, **options)


@only_4
def test_visual_questions_by_generation():
    asked = [{"image": one, "question": question} for one, question in zip(PICTURES, QUESTIONS, strict=True)]
    check("vqa", *parts_of(blip_questions()), asked, build={"max_new_tokens": 6})


@only_4
def test_every_question_about_every_picture():
    """Questions are outermost."""
    model, parts = parts_of(vilt())
    want = transformers.pipeline("visual-question-answering", model=model, **parts)(PICTURES[:2], QUESTIONS[:2])
    got = pipeline("visual-question-answering", model, **parts)(PICTURES[:2], QUESTIONS[:2])
    same(want, got)


@only_4
@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 6},
        {"max_new_tokens": 6, "prompt": "the river"},
        {"generate_kwargs": {"num_beams": 2, "max_new_tokens": 5}},
    ],
    ids=str,
)
def test_captions(options):
    check("image-to-text", *parts_of(blip_captions()), PICTURES, **options)
    check("image-to-text", *parts_of(blip_captions()), PICTURES[0], **options)


PROMPTS = [{"images": one, "text": f"<image> {text}"} for one, text in zip(PICTURES, QUESTIONS, strict=True)]
SEEN = [{"type": "image", "image": PICTURES[0]}, {"type": "text", "text": "hello the river"}]
CHATS = [
    [{"role": "user", "content": SEEN}],
    [{"role": "user", "content": [{"type": "text", "text": "who"}]}],
    [{"role": "user", "content": SEEN}, {"role": "assistant", "content": [{"type": "text", "text": "It is"}]}],
]
OPTIONS = [
    {"max_new_tokens": 6},
    {"max_new_tokens": 6, "return_full_text": False},
    {"generate_kwargs": {"max_new_tokens": 5, "num_beams": 2}},
    {"max_new_tokens": 5, "skip_special_tokens": False},
]


def stream():
    yield from PROMPTS


@pytest.fixture
def without_torchvision(monkeypatch):
    """transformers asks for torchvision, which nothing here needs."""
    if V5:
        monkeypatch.setattr("transformers.pipelines.any_to_any.requires_backends", lambda *names: None)


@only_5
@pytest.mark.filterwarnings("ignore:the model knows chats")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_texts_and_chats_with_pictures(options):
    """Prompts of unlike lengths share a batch here, padded on the left."""
    model, processor = llava()
    check("image-text-to-text", model, {"processor": processor}, stream, **options)
    check("image-text-to-text", model, {"processor": processor}, CHATS, **options)


@only_5
@pytest.mark.filterwarnings("ignore:the model knows chats")
def test_single_prompts_and_texts_alone():
    model, processor = llava()
    for given in (PROMPTS[0], CHATS[0], "the river", ["the river", "who works"]):
        check("image-text-to-text", model, {"processor": processor}, given, max_new_tokens=4)
    check("image-text-to-text", model, {"processor": processor}, PROMPTS[0], max_new_tokens=4, return_tensors=True)


@only_5
def test_captions_with_a_text():
    model, *_ = blip_captions()

    def prompts():
        yield from ({"images": one, "text": text} for one, text in zip(PICTURES, ("the river", "who"), strict=False))

    check("image-text-to-text", model, {"processor": blip_processor()}, prompts, max_new_tokens=4)


@only_5
@pytest.mark.filterwarnings("ignore:the model knows chats")
@pytest.mark.parametrize("options", [*OPTIONS[:2], {"max_new_tokens": 6, "generation_mode": "text"}], ids=str)
def test_any_to_any(options, without_torchvision):
    model, processor = llava()
    check("any-to-any", model, {"processor": processor}, PROMPTS, **options)
    check("any-to-any", model, {"processor": processor}, CHATS, **options)


def test_a_web_address_in_a_chat_is_refused():
    model, processor = llava()
    chat = [{"role": "user", "content": [{"type": "image", "url": "http://localhost/a.png"}]}]
    with pytest.raises(ValueError, match="a chat must not hold a web address unless allow_urls=True"):
        pipeline("image-text-to-text", model, processor=processor)(chat)


REQUEST = {
    "state": "hello",
    "questions": {
        "refund": {"type": "noul", "instructions": "Is a refund requested?"},
        "tone": {"type": "choice", "criteria": {"calm": "A polite message", "angry": None}},
        "urgency": {"type": "score", "criteria": ["Can wait", "This week", "Today"]},
    },
}


@only_5
def test_decisions():
    model, tokenizer = decider()
    requests = [REQUEST, {**REQUEST, "state": {"orders": [1, 2]}}, {**REQUEST, "state": "again"}]
    check("decision", model, {"tokenizer": tokenizer}, requests)
    check("decision", model, {"tokenizer": tokenizer}, REQUEST)


@only_5
def test_decisions_that_cannot_be_made_cost_no_other():
    model, tokenizer = decider()
    pipe = pipeline("decision", model, tokenizer=tokenizer)
    found = pipe(
        [REQUEST, {"state": "hello"}, {"state": "hello", "questions": {"a": {"type": "odd"}}}], on_error="record"
    )
    assert set(found[0]) == set(REQUEST["questions"])
    assert found[1]["error"] == "request must have a field 'questions'; got none"
    assert "Question 'a'" in found[2]["error"]
