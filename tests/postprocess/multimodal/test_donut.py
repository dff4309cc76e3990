"""Donut's tags to JSON: the cases of transformers' method, drawn texts against it, and what is corrected."""

import random
import re
from types import SimpleNamespace

import pytest
from transformers.models.donut.processing_donut import DonutProcessor
from transformers.pipelines.document_question_answering import DocumentQuestionAnsweringPipeline

from afterlogits.postprocess.multimodal import donut_answer, tags_to_json

CATEGORIES = {"<yes/>": 1, "<s_a>": 2, "</s_a>": 3, "<sep/>": 4}


def token2json(text):
    this = SimpleNamespace()
    this.token2json = lambda *args, **kwargs: DonutProcessor.token2json(this, *args, **kwargs)
    return this.token2json(text, added_vocab=CATEGORIES)


# golden


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<s_menu><s_nm>latte</s_nm><sep/><s_nm>tea</s_nm></s_menu>", {"menu": [{"nm": "latte"}, {"nm": "tea"}]}),
        ("<s_menu><s_nm>latte<sep/>tea</s_nm></s_menu>", {"menu": {"nm": ["latte", "tea"]}}),
        ("<s_a>x", {"text_sequence": "x"}),
        ("<s_a>1</s_a><s_a>2</s_a>", {"a": "2"}),
        ("<s_a><yes/></s_a>", {"a": "yes"}),
        ("</s_a>x", {"text_sequence": "</s_a>x"}),
        ("<s_A>q</s_a>", {"A": "q"}),
        ("", {"text_sequence": ""}),
    ],
)
def test_compat(text, expected):
    assert tags_to_json(text, categories=CATEGORIES) == expected == token2json(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<s_menu><s_nm>latte</s_nm><sep/><s_nm>tea</s_nm></s_menu>", {"menu": [{"nm": "latte"}, {"nm": "tea"}]}),
        ("<s_menu><s_nm>latte<sep/>tea</s_nm></s_menu>", {"menu": {"nm": ["latte", "tea"]}}),
        ("<s_a>x", {"a": "x"}),  # ends where its parent does
        ("<s_b><s_a>x</s_b><s_c>y</s_c>", {"b": {"a": "x"}, "c": "y"}),
        ("<s_a>1</s_a><s_a>2</s_a><s_a>3</s_a>", {"a": ["1", "2", "3"]}),
        ("<s_a><s_a>in</s_a></s_a><s_b>z</s_b>", {"a": {"a": "in"}, "b": "z"}),  # equal names at two levels
        ("<s_a><yes/></s_a>", {"a": "yes"}),
        ("</s_a>x", {"text_sequence": "x"}),
        ("<s_A>q</s_a>", {"A": "q"}),
        ("<s_a>note<s_b>1</s_b></s_a>", {"a": {"b": "1", "text_sequence": "note"}}),
        ("<s_a>1</s_a><sep/><s_a>2</s_a>", [{"a": "1"}, {"a": "2"}]),
        ("", {"text_sequence": ""}),
    ],
)
def test_corrected(text, expected):
    assert tags_to_json(text, categories=CATEGORIES, compat=False) == expected


# parity


def draw_text(seed):
    """Tags of few names, opened and closed in and out of order, separators, text, case, spaces, line breaks."""
    draw = random.Random(seed)
    names = draw.choice([["a"], ["a", "b"], ["a", "b", "a.b", "A", "c(", ""]])
    pieces = [*(f"<s_{name}>" for name in names), *(f"</s_{name}>" for name in names)]
    pieces += ["<sep/>", "x", " ", "y\nz", "<yes/>", "<", ">", "<S_a>"]
    weights = [3] * (2 * len(names)) + [2, 3, 1, 1, 1, 0.2, 0.2, 0.2]
    return "".join(draw.choices(pieces, weights, k=draw.randint(0, 14)))


def well_formed(draw, depth=0):
    """A random structure written out as Donut writes it."""
    name = draw.choice("abcdefgh") + str(depth)
    if depth == 3 or draw.random() < 0.4:
        content = "<sep/>".join(draw.choice(["x", "y 1", "<yes/>"]) for _ in range(draw.choice([1, 1, 2])))
    else:
        items = [
            "".join(well_formed(draw, depth + 1) for _ in range(draw.randint(1, 2))) for _ in range(draw.choice([1, 2]))
        ]
        content = "<sep/>".join(items)
    return f"<s_{name}>{content}</s_{name}>"


def test_same_as_transformers():
    """3,000 drawn texts, most of them broken, and 1,000 that are well formed."""
    for seed in range(3000):
        text = draw_text(seed)
        assert tags_to_json(text, categories=CATEGORIES) == token2json(text), text
    for seed in range(1000):
        text = well_formed(random.Random(seed))
        assert tags_to_json(text, categories=CATEGORIES) == token2json(text), text


def test_well_formed_texts_need_no_correction():
    """Where no key repeats, both modes agree."""
    for seed in range(1000):
        text = well_formed(random.Random(seed))
        names = re.findall(r"<s_(\w+)>", text)
        if len(set(names)) == len(names):
            assert tags_to_json(text, compat=False) == tags_to_json(text)


def test_many_items_do_not_recurse():
    """transformers calls itself for every separator and stops at about a thousand."""
    text = "<s_menu>" + "<sep/>".join(f"<s_nm>{i}</s_nm>" for i in range(3000)) + "</s_menu>"
    for compat in (True, False):
        assert len(tags_to_json(text, compat=compat)["menu"]) == 3000


# answers


SEQUENCES = [
    "<s_docvqa><s_question>who?</s_question><s_answer> Ada </s_answer></s>",
    "<s_docvqa><s_answer>cut off",
    "<s_docvqa><s_answer>two\nlines</s_answer></s>",
    "<s_docvqa>nothing</s><pad>",
    "<s_answer>a</s_answer><s_answer>b</s_answer>",
    "x<y><s_answer>a</s_answer> <s_answer>b</s_answer>",
]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_answers_as_transformers(sequence):
    tokenizer = SimpleNamespace(batch_decode=lambda given: list(given), eos_token="</s>", pad_token="<pad>")
    method = DocumentQuestionAnsweringPipeline.postprocess_encoder_decoder_single
    expected = method(SimpleNamespace(tokenizer=tokenizer), {"sequences": [sequence]})
    assert {"answer": donut_answer(sequence)} == expected


def test_answers_corrected():
    """Cut off by length, and over two lines."""
    assert donut_answer(SEQUENCES[1], compat=False) == "cut off"
    assert donut_answer(SEQUENCES[2], compat=False) == "two\nlines"
    assert donut_answer(SEQUENCES[3], compat=False) is None
