"""Class scores: activation, order, cut, against transformers' pipeline method."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TextClassificationPipeline
from transformers.pipelines.text_classification import ClassificationFunction

from afterlogits.postprocess import choose_function, classify

FUNCTIONS = ("softmax", "sigmoid", "none")


def library(logits, **options):
    """The records of one row by transformers' own method."""
    pipeline = TextClassificationPipeline.__new__(TextClassificationPipeline)
    count = logits.shape[1]
    config = SimpleNamespace(id2label=dict(enumerate(map(str, range(count)))), problem_type=None, num_labels=count)
    pipeline.model = SimpleNamespace(config=config)
    pipeline.framework = "pt"  # version 4 asks for it
    with np.errstate(over="ignore"):
        return pipeline.postprocess({"logits": logits}, **options)


# golden


def test_softmax_and_sigmoid_by_hand():
    """Logits 0 and ln 3: softmax 1/4, 3/4; sigmoid 1/2, 3/4. With "none" the logits come back."""
    logits = torch.tensor([[0.0, math.log(3)]])
    names = ["no", "yes"]
    for function, expected in (("softmax", [0.75, 0.25]), ("sigmoid", [0.75, 0.5]), ("none", [math.log(3), 0.0])):
        records = classify(logits, function_to_apply=function).records(names)
        assert [r["label"] for r in records[0]] == ["yes", "no"]
        np.testing.assert_allclose([r["score"] for r in records[0]], expected, rtol=1e-6)
        assert json.loads(json.dumps(records)) == records


def test_ties_go_to_the_lower_label():
    """Equal scores keep the order of their ids, few labels or many, and the cut respects it."""
    for count in (4, 500):
        assert classify(torch.zeros(2, count), top_k=3).labels.tolist() == [[0, 1, 2]] * 2
    logits = torch.zeros(1, 500)
    logits[0, 300] = 1
    assert classify(logits, top_k=2).labels.tolist() == [[300, 0]]


def test_one_label_and_no_rows():
    """A single label under softmax is certain, under sigmoid is not; no rows give no records."""
    assert classify(torch.zeros(1, 1)).scores.item() == 1.0
    assert classify(torch.zeros(1, 1), function_to_apply="sigmoid").scores.item() == 0.5
    assert classify(torch.zeros(0, 3)).records(["a", "b", "c"]) == []


@pytest.mark.parametrize(
    ("problem", "labels", "given", "expected"),
    [
        (None, 1, None, "sigmoid"),
        (None, 2, None, "softmax"),
        ("regression", 2, None, "none"),
        ("multi_label_classification", 5, None, "sigmoid"),
        ("single_label_classification", 2, None, "softmax"),
        ("single_label_classification", 0, None, "softmax"),
        (None, 0, None, "none"),
        (None, 2, "SIGMOID", "sigmoid"),
        ("regression", 1, "softmax", "softmax"),
    ],
)
def test_rules_of_the_activation(problem, labels, given, expected):
    """The caller's choice, then regression, several labels, one label."""
    assert choose_function(problem, labels, given) == expected


# property and parity


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_same_as_library(seed):
    """Labels, order and scores bit for bit, with ties, half precision, and up to 400 labels: numpy alone and beyond."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 5, 300, 400]))
    logits = torch.from_numpy(rng.normal(0, float(rng.choice([0.1, 3, 100])), (3, count)).astype(np.float32))
    if rng.random() < 0.5:
        logits = logits.round()
    logits = logits.to([torch.float32, torch.float16, torch.bfloat16][int(rng.integers(3))])
    function = FUNCTIONS[int(rng.integers(3))]
    top_k = None if rng.random() < 0.3 else int(rng.integers(1, 8))
    names = list(map(str, range(count)))
    ours = classify(logits, function_to_apply=function, top_k=top_k).records(names)
    unordered = classify(logits, function_to_apply=function, ordered=False).records(names)
    applied = getattr(ClassificationFunction, function.upper())
    for row in range(3):
        part = logits[row : row + 1]
        assert ours[row] == library(part, function_to_apply=applied, top_k=top_k, _legacy=False)
        assert unordered[row] == library(part, function_to_apply=applied, top_k=None, _legacy=True)
        legacy = library(part, function_to_apply=applied, top_k=1, _legacy=True)
        assert ours[row][0] == legacy


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(3)}, "logits must be [B, C]; got shape [3]"),
        ({"function_to_apply": "relu"}, "function_to_apply must be one of softmax, sigmoid, none; got 'relu'"),
        ({"top_k": 0}, "top_k must be at least 1; got 0"),
        ({"logits": torch.tensor([[0.0], [math.nan]])}, "logits must not be NaN; got NaN in row 1"),
        ({"logits": torch.tensor([[-math.inf] * 2])}, "the softmax of logits must not be NaN; got NaN in row 0"),
    ],
)
def test_errors(change, message):
    """What is wrong, what was wanted, what came."""
    with pytest.raises(ValueError) as caught:
        classify(**{"logits": torch.zeros(1, 2), **change})
    assert str(caught.value) == message


def test_infinite_logits_without_nan_are_fine():
    """-inf is a probability of 0; +inf is certain under sigmoid."""
    assert classify(torch.tensor([[0.0, -math.inf]])).scores.tolist() == [[1.0, 0.0]]
    infinite = torch.tensor([[math.inf, -math.inf]])
    assert classify(infinite, function_to_apply="sigmoid").scores.tolist() == [[1.0, 0.0]]
