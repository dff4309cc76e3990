"""Zero-shot scores against transformers' pipeline method: several label sets, ties, overflow."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ZeroShotClassificationPipeline

from afterlogits.postprocess import entailment_id, score_labels
from tests.builders.versions import rule_of_five


def library(logits, entailment, multi_label):
    """The result for one text by transformers' own method. Entailment -1 stands for no label of that name."""
    pipeline = ZeroShotClassificationPipeline.__new__(ZeroShotClassificationPipeline)
    ids = {f"x{i}": i for i in range(logits.shape[1])}
    if entailment >= 0:
        ids = {("Entailment" if i == entailment else name): i for name, i in ids.items()}
    pipeline.model = SimpleNamespace(config=SimpleNamespace(label2id=ids))
    outputs = [{"candidate_label": str(i), "sequence": "s", "logits": row[None]} for i, row in enumerate(logits)]
    with np.errstate(over="ignore", invalid="ignore"):
        return pipeline.postprocess(outputs, multi_label=multi_label)


# golden


def test_two_texts_with_label_sets_of_their_own():
    """Entailment logits 0 and ln 3 over two labels: 1/4 and 3/4; one label against a contradiction of 0: 3/4."""
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [0.0, math.log(3)]])
    found = score_labels(logits, [2, 1], entailment=1)
    records = found.records(["a", "b"], [["x", "y"], ["z"]])
    assert [r["labels"] for r in records] == [["y", "x"], ["z"]]
    np.testing.assert_allclose(records[0]["scores"], [0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(records[1]["scores"], [0.75], rtol=1e-6)
    assert json.loads(json.dumps(records)) == records


def test_large_logits_are_finite_without_compat():
    """100 overflows a float32 exponential: NaN in transformers; corrected, 100 and 99 give e / (e + 1), 1 / (e + 1)."""
    logits = torch.tensor([[0.0, 100.0], [0.0, 99.0], [0.0, 0.0]])
    assert any(math.isnan(p) for p in score_labels(logits, [3], entailment=1).scores.tolist())
    corrected = score_labels(logits, [3], entailment=1, compat=False)
    assert corrected.label.tolist() == [0, 1, 2]
    torch.testing.assert_close(corrected.scores[:2], torch.tensor([math.e, 1]) / (math.e + 1))
    each = score_labels(logits, [3], entailment=1, multi_label=True, compat=False)
    assert torch.isfinite(each.scores).all()


def test_ties_are_reversed_only_in_compat():
    """Equal scores: transformers lists the labels backwards."""
    logits = torch.zeros(3, 3)
    assert score_labels(logits, [3], entailment=2).label.tolist() == [2, 1, 0]
    assert score_labels(logits, [3], entailment=2, compat=False).label.tolist() == [0, 1, 2]


def test_each_label_on_its_own_without_compat():
    """Odds of entailment against contradiction 3, 1/3 and 1: probabilities 3/4, 1/4 and 1/2."""
    logits = torch.tensor([[0.0, 50.0, math.log(3)], [math.log(3), -50.0, 0.0], [1.0, 0.0, 1.0]])
    found = score_labels(logits, [3], entailment=2, multi_label=True, compat=False)
    assert found.label.tolist() == [0, 2, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.75, 0.5, 0.25]))


def test_many_equal_scores_keep_their_order_without_compat():
    """An unstable sort would show from some dozens on."""
    logits = torch.zeros(200, 2)
    logits[::7, 1] = 1.0
    expected = [*range(0, 200, 7), *(i for i in range(200) if i % 7)]
    assert score_labels(logits, [200], entailment=1, compat=False).label.tolist() == expected


def test_all_minus_infinity_is_even_without_compat():
    """Nothing can be said, so every label is as good."""
    logits = torch.full((2, 2), -math.inf)
    assert score_labels(logits, [2], entailment=1, compat=False).scores.tolist() == [0.5, 0.5]
    assert score_labels(logits, [2], entailment=1, compat=False, multi_label=True).scores.tolist() == [0.5, 0.5]


def test_no_texts_and_a_text_without_labels():
    """Empty lists come out, and the others keep their place."""
    assert score_labels(torch.zeros(0, 3), [], entailment=0).records([], []) == []
    found = score_labels(torch.zeros(1, 3), [0, 1], entailment=0)
    assert [r["labels"] for r in found.records(["a", "b"], [[], ["x"]])] == [[], ["x"]]


@pytest.mark.parametrize(
    ("labels", "expected"), [(["contradiction", "ENTAILMENT"], 1), (["a", "b"], -1), (["entails", "entailment"], 0)]
)
def test_entailment_by_name(labels, expected):
    """The first that starts with "entail" in any case, or the last label."""
    assert entailment_id({name: i for i, name in enumerate(labels)}) == expected


# parity


def assert_same_as_library(seed):
    rng = np.random.default_rng(seed)
    counts = [int(n) for n in rng.choice([1, 2, 3, 8, 40], int(rng.integers(1, 5)))]
    columns = int(rng.integers(2, 4))
    logits = rng.normal(0, float(rng.choice([1, 10, 60])), (sum(counts), columns)).astype(np.float32)
    if rng.random() < 0.5:
        logits = logits.round()
    logits = torch.from_numpy(logits).to(torch.bfloat16 if rng.random() < 0.2 else torch.float32)
    entailment = int(rng.integers(-1, columns))
    flags = [bool(rng.random() < 0.5) for _ in counts]
    found = score_labels(logits, counts, entailment=entailment, multi_label=flags)
    names = [[str(i) for i in range(n)] for n in counts]
    for i, record in enumerate(found.records(["s"] * len(counts), names)):
        begin = sum(counts[:i])
        expected = library(logits[begin : begin + counts[i]], entailment, flags[i])
        assert record["labels"] == expected["labels"]
        np.testing.assert_array_equal(record["scores"], expected["scores"])
    return len(counts)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
@rule_of_five
def test_same_as_library(seed):
    """Order and scores bit for bit: texts with one to forty labels, ties, overflow to NaN."""
    assert_same_as_library(seed)


@pytest.mark.slow
def test_same_as_library_thousands():
    """3,000 drawn batches; the count is printed."""
    texts = sum(assert_same_as_library(10**6 + seed) for seed in range(3000))
    print(f"zero-shot: {texts} texts equal to transformers'")


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": [1]}, "counts must add up to the rows of logits, 2; got 1"),
        ({"logits": torch.zeros(2, 3, 1)}, "logits must be [N, C]; got shape [2, 3, 1]"),
        ({"entailment": 3}, "entailment must be a column of logits, below 3; got 3"),
        ({"entailment": -4}, "entailment must be a column of logits, below 3; got -4"),
        ({"multi_label": [True, False]}, "multi_label must be one flag or one per text, 1; got 2"),
        ({"logits": torch.tensor([[0.0] * 3, [math.nan] * 3])}, "logits must not be NaN; got NaN in pair 1"),
    ],
)
def test_errors(change, message):
    """What is wrong, what was wanted, what came."""
    with pytest.raises(ValueError) as caught:
        score_labels(**{"logits": torch.zeros(2, 3), "counts": [2], "entailment": 0, **change})
    assert str(caught.value) == message
