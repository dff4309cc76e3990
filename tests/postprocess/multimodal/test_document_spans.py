"""Answers in documents, against DocumentQuestionAnsweringPipeline's own postprocess."""

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers.pipelines.document_question_answering import DocumentQuestionAnsweringPipeline, ModelType

from afterlogits.postprocess.multimodal import select_document_answers

VERSION_4 = transformers.__version__.startswith("4.")


def draw_pages(seed, *, longest=24):
    """Questions of 1 to 3 windows: a question part, tokens of words, and a padded or special end."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    length, rows, pages = draw.randint(4, longest), [], []
    for question in range(draw.randint(1, 3)):
        words = [f"w{i}" for i in range(draw.randint(1, length))]
        pages.append(words)
        for _ in range(draw.randint(1, 3)):
            first = draw.randint(1, length - 2)
            ids, word = [-1] * length, draw.randrange(len(words))
            for place in range(first, length - draw.randint(0, 1)):
                ids[place] = word
                word = min(len(words) - 1, word + draw.randint(0, 1))
            rows.append((question, ids, first, draw.randint(first + 1, length)))
    shape = len(rows), length
    start, end = (torch.randn(shape, generator=generator) * 3 for _ in range(2))
    if seed % 3 == 0:
        start, end = start.round(), end.round()
    if seed % 7 == 0:
        start, end = start.bfloat16(), end.bfloat16()
    places = torch.arange(length)
    return SimpleNamespace(
        start=start,
        end=end,
        p_mask=torch.stack([(places < first) | (places >= stop) for _, _, first, stop in rows]),
        word_ids=torch.tensor([ids for _, ids, _, _ in rows]),
        questions=torch.tensor([question for question, *_ in rows]),
        words=pages,
        top_k=draw.choice([1, 1, 2, 5, 12]),
        max_answer_len=draw.choice([1, 3, 15]),
        impossible=draw.random() < 0.4,
    )


def search(case, **options):
    found = select_document_answers(
        case.start,
        case.end,
        ~case.p_mask,
        case.word_ids,
        case.questions,
        num_questions=len(case.words),
        top_k=case.top_k,
        max_answer_len=case.max_answer_len,
        handle_impossible_answer=case.impossible,
        **options,
    )
    return found.records(case.words)


def pipeline_answers(case, question):
    outputs = [
        {
            "start_logits": case.start[row : row + 1],
            "end_logits": case.end[row : row + 1],
            "p_mask": case.p_mask[row : row + 1].numpy().astype(int),
            "word_ids": [None if word < 0 else word for word in case.word_ids[row].tolist()],
            "words": case.words[question],
            "attention_mask": torch.ones(1, case.start.shape[1], dtype=torch.long),
        }
        for row in (case.questions == question).nonzero().flatten().tolist()
    ]
    this = SimpleNamespace(model_type=ModelType.LayoutLM, framework="pt")
    this.postprocess_extractive_qa = lambda *args, **kwargs: (
        DocumentQuestionAnsweringPipeline.postprocess_extractive_qa(this, *args, **kwargs)
    )
    return DocumentQuestionAnsweringPipeline.postprocess(
        this,
        outputs,
        top_k=case.top_k,
        max_answer_len=case.max_answer_len,
        handle_impossible_answer=case.impossible,
    )


# golden


def test_two_words_of_two_tokens():
    """Four spans stand for the same two words: four answers in transformers, one of their summed scores corrected."""
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0]])
    start, end = logits + torch.tensor([-9.0, 3, 3, -9, -9]), logits + torch.tensor([-9.0, -9, -9, 3, 3])
    ids, allowed = torch.tensor([[-1, 0, 0, 1, 1]]), torch.tensor([[False, True, True, True, True]])
    arguments = (start, end, allowed, ids, torch.tensor([0]))
    compat = select_document_answers(*arguments, top_k=4).records([["a", "b"]])[0]
    assert [(answer["answer"], answer["start"], answer["end"]) for answer in compat] == [("a b", 0, 1)] * 4
    corrected = select_document_answers(*arguments, top_k=4, compat=False).records([["a", "b"]])[0]
    assert corrected[0]["answer"] == "a b"
    # Each of the four has 1/2 * 1/2, but for the 3 * e^-12 that the others take.
    assert corrected[0]["score"] == pytest.approx(1.0, abs=1e-4)
    assert len({(answer["start"], answer["end"]) for answer in corrected}) == len(corrected)


def test_boxes_of_an_answer():
    """Two words side by side, and what surrounds both."""
    start, end = torch.tensor([[0.0, 9, 0]]), torch.tensor([[0.0, 0, 9]])
    found = select_document_answers(
        start, end, torch.tensor([[False, True, True]]), torch.tensor([[-1, 0, 1]]), torch.tensor([0])
    )
    answer = found.records([["due", "today"]], boxes=[[[10, 5, 20, 9], [22, 4, 30, 9]]])[0][0]
    assert answer["boxes"] == [[10, 5, 20, 9], [22, 4, 30, 9]]
    assert answer["box"] == [10, 4, 30, 9]


def test_no_answer_has_no_box():
    """Only CLS has a probability: the empty answer wins, on no words."""
    start = torch.tensor([[99.0, 0, 0]])
    found = select_document_answers(
        start,
        start,
        torch.tensor([[True, True, True]]),
        torch.tensor([[-1, 0, 1]]),
        torch.tensor([0]),
        handle_impossible_answer=True,
    )
    answer = found.records([["a", "b"]], boxes=[[[0, 0, 1, 1], [1, 0, 2, 1]]])[0][0]
    assert (answer["answer"], answer["score"], answer["box"], answer["boxes"]) == ("", 1.0, None, [])


def test_questions_without_answers():
    """No windows at all, and a page on which nothing is allowed."""
    none = torch.zeros(0, 4)
    empty = select_document_answers(none, none, none.bool(), none.long(), torch.zeros(0).long(), num_questions=2)
    assert empty.records([[], []]) == [[], []]


# parity


def test_same_as_transformers():
    """2,000 drawn sets of pages: ties, half precision, several windows, "no answer"; scores and order equal."""
    for seed in range(2000):
        case = draw_pages(seed)
        if VERSION_4 and case.start.shape[1] ** 2 == case.top_k > 1:
            continue  # 4.57.6 stops here
        found = search(case)
        for question in range(len(case.words)):
            assert found[question] == pipeline_answers(case, question), (seed, question)


# property


def test_corrected_answers_are_distinct_and_ordered():
    """compat=False: every pair of words once, scores falling, none of a blocked token."""
    for seed in range(400):
        case = draw_pages(seed)
        for answers in search(case, compat=False):
            keys = [(answer["start"], answer["end"], answer["answer"]) for answer in answers]
            assert len(set(keys)) == len(keys) <= case.top_k
            assert all(a["score"] >= b["score"] for a, b in itertools.pairwise(answers))
            assert all(np.isfinite(answer["score"]) and answer["start"] <= answer["end"] for answer in answers)


def test_shapes():
    x = torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"^word_ids must be \[2, 4\]; got shape \[2, 3\]$"):
        select_document_answers(x, x, x.bool(), torch.zeros(2, 3).long(), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"^questions must be \[2\]; got shape \[3\]$"):
        select_document_answers(x, x, x.bool(), x.long(), torch.zeros(3).long())
