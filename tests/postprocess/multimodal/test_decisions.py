"""Decision scores: the numbers of transformers' own answers."""

import random

import pytest
import torch

from afterlogits.postprocess.multimodal import answer_question, option_probabilities

# golden


@pytest.mark.parametrize(
    ("probabilities", "best", "confidence"),
    [
        ([0.2, 0.3, 0.5], "c", 0.25),  # (1/2 - 1/3) / (2/3)
        ([0.5, 0.5], "a", 0.0),
        ([1.0], "a", 1.0),
    ],
)
def test_choices(probabilities, best, confidence):
    found = answer_question("choice", "abc"[: len(probabilities)], probabilities)
    assert found["choice"] == best
    assert found["confidence"] == pytest.approx(confidence)


@pytest.mark.parametrize(
    ("probabilities", "score", "confidence"),
    [
        ([0.1, 0.2, 0.7], 1.6, 0.4),  # distances 2 * .1 + 1 * .2 = .4 of a flat 2/3
        ([0.25, 0.5, 0.25], 1.0, 0.25),
        ([0.5, 0.0, 0.5], 1.0, 0.0),
        ([1.0], 0.0, 1.0),
    ],
)
def test_scores(probabilities, score, confidence):
    found = answer_question("score", [str(i) for i in range(len(probabilities))], probabilities, ["low", "mid", "high"])
    assert (found["score"], found["confidence"]) == (pytest.approx(score), pytest.approx(confidence))


def test_true_or_false():
    assert answer_question("noul", ["true", "false"], [0.8, 0.2]) == {"type": "noul", "noul": 0.8}


# parity


def test_same_as_transformers():
    """2,100 drawn questions of 1 to 9 options, ties included, with temperatures."""
    template_utils = pytest.importorskip("transformers.decision.template_utils", reason="decisions came with version 5")
    draw, generator = random.Random(0), torch.Generator().manual_seed(0)
    scores, questions, temperatures = [], [], []
    for index in range(2100):
        kind = ("noul", "choice", "score")[index % 3]
        count = 2 if kind == "noul" else draw.randint(1, 9)
        options = {"noul": ["true", "false"], "choice": [f"o{i}" for i in range(count)]}.get(kind)
        options = options or [str(i) for i in range(count)]
        row = torch.randn(count, generator=generator) * 3
        scores.append(row.round() if index % 5 == 0 else row)
        temperatures.append(draw.choice([1.0, 0.7, 2.5]))
        questions.append(template_utils.Question("q", kind, None, options, options, [f"d{o}" for o in options]))
    found = option_probabilities(scores, temperatures=temperatures)
    for question, row, temperature, probs in zip(questions, scores, temperatures, found, strict=True):
        expected = (row / temperature).softmax(-1).tolist()
        assert probs == expected
        ours = answer_question(question.type, question.options, probs, question.descriptions)
        assert ours == question.answer(expected)


# errors


def test_errors():
    with pytest.raises(ValueError, match=r"^kind must be one of noul, choice, score; got 'rank'$"):
        answer_question("rank", ["a"], [1.0])
    with pytest.raises(ValueError, match=r"^probabilities must be one for each of 2 options; got 1$"):
        answer_question("choice", ["a", "b"], [1.0])
