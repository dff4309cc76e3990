"""The SQuAD script's rule against its slow oracle, with ties, several windows, and questions nobody answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess import select_squad_spans
from tests.oracles.qa_spans import squad_predictions

CONTEXT = "the quick brown fox jumps over the lazy dog"
WORDS = [(0, 3), (4, 9), (10, 15), (16, 19), (20, 25), (26, 30), (31, 34), (35, 39), (40, 43)]


def one_window(start, end, **options):
    """A question of no words: CLS, then the nine words of the context."""
    offsets = torch.tensor([[(0, 0), *WORDS]])
    context = torch.tensor([[False] + [True] * 9])
    columns = (torch.tensor([start]), torch.tensor([end]), offsets, context, torch.tensor([0]))
    return select_squad_spans(*columns, num_questions=1, **options).records([CONTEXT])[0]


# golden


def test_sums_of_logits():
    """Start 2 on "quick", end 3 on "fox": 5; the next are 2 + 0, tied with others below; a softmax over the n best."""
    start, end = [0.0] * 10, [0.0] * 10
    start[2], end[4] = 2.0, 3.0
    found = one_window(start, end, n_best=1)
    assert found["answer"] == "quick brown fox"
    assert found["n_best"] == [
        {"text": "quick brown fox", "offsets": (4, 19), "start_logit": 2.0, "end_logit": 3.0, "probability": 1.0}
    ]
    assert found["score_diff"] is None


@pytest.mark.parametrize(("threshold", "answer"), [(0.0, ""), (0.99, ""), (1.0, "quick"), (2.0, "quick")])
def test_null_threshold(threshold, answer):
    """Null 3 + 3 = 6 against "quick" 2 + 3 = 5: a difference of 1, and "no answer" only if it exceeds the threshold."""
    start, end = [3.0] + [0.0] * 9, [3.0] + [0.0] * 9
    start[2], end[2] = 2.0, 3.0
    found = one_window(start, end, impossible=True, null_score_diff_threshold=threshold)
    assert (found["answer"], found["score_diff"]) == (answer, 1.0)
    assert found["n_best"][0]["text"] == ""


def test_the_scripts_own_defaults():
    """Twenty answers, of at most 30 tokens: of 40 letters the best end lies 31 tokens from the best start."""
    length = 41
    start, end = torch.zeros(1, length), torch.zeros(1, length)
    start[0, 1] = end[0, 31] = 5.0
    end[0, 30] = 4.0
    offsets = torch.tensor([[(0, 0), *((2 * i, 2 * i + 1) for i in range(length - 1))]])
    context = torch.arange(length)[None] > 0
    found = select_squad_spans(start, end, offsets, context, torch.zeros(1).long(), num_questions=1)
    record = found.records(["x " * (length - 1)])[0]
    assert len(record["n_best"]) == 20
    assert record["n_best"][0]["offsets"] == (0, 59), "tokens 1 to 30; 1 to 31 would score 10"


def test_nothing_to_answer_with():
    """No window, or no valid pair: the script's placeholder "empty"."""
    none = torch.zeros(0, 4)
    found = select_squad_spans(
        none, none, torch.zeros(0, 4, 2).long(), none.bool(), torch.zeros(0).long(), num_questions=2
    ).records(["a", "b"])
    assert [row["answer"] for row in found] == ["empty", "empty"]
    assert found[0]["n_best"][0]["probability"] == 1.0


def test_only_no_answer():
    """SQuAD 2 with no valid pair: the null answer gets the placeholder before it, and is given if it beats it."""
    start = torch.tensor([[1.0, 9.0]])
    found = select_squad_spans(
        start,
        start,
        torch.zeros(1, 2, 2).long(),
        torch.zeros(1, 2).bool(),
        torch.tensor([0]),
        num_questions=1,
        impossible=True,
    ).records(["a"])[0]
    assert [row["text"] for row in found["n_best"]] == ["empty", ""]
    assert (found["answer"], found["score_diff"]) == ("", 2.0)


# property


def draw_questions(seed):
    """Windows of several questions as lists for the oracle; n_best, lengths and thresholds with them."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(2, 12))
    questions = int(rng.integers(1, 4))
    coarse = rng.random() < 0.3
    windows = []
    for _ in range(int(rng.integers(1, 6))):
        logits = rng.normal(0, 3, (2, length)).astype(np.float32)
        # On a grid of quarters, scores tie; distinct thousandths within a row keep numpy's own sort out of it.
        if coarse:
            logits = np.stack([rng.permutation(length), rng.permutation(length)]).astype(np.float32) / 4
        spots = np.sort(rng.integers(0, 9, length))
        offsets = [None if rng.random() < 0.3 or i == 0 else WORDS[w] for i, w in enumerate(spots)]
        if rng.random() < 0.1:  # an empty piece of text
            offsets[-1] = (0, 0)
        most = (rng.random(length) < 0.7).tolist() if rng.random() < 0.5 else None
        windows.append(
            {
                "question": int(rng.integers(questions)),
                "start": logits[0].tolist(),
                "end": logits[1].tolist(),
                "offsets": offsets,
                "max_context": most,
            }
        )
    options = {
        "n_best": int(rng.choice([1, 2, 5, 20])),
        "max_answer_len": int(rng.choice([1, 3, 30])),
        "impossible": bool(rng.random() < 0.5),
    }
    return windows, questions, options, float(rng.choice([0.0, -3.0, 3.0]))


def assert_same_as_oracle(seed):
    windows, questions, options, threshold = draw_questions(seed)
    offsets = [[o or (0, 0) for o in window["offsets"]] for window in windows]
    contexts = [[o is not None for o in window["offsets"]] for window in windows]
    everywhere = [True] * len(windows[0]["start"])
    found = select_squad_spans(
        torch.tensor([window["start"] for window in windows]),
        torch.tensor([window["end"] for window in windows]),
        torch.tensor(offsets),
        torch.tensor(contexts),
        torch.tensor([window["question"] for window in windows]),
        num_questions=questions,
        null_score_diff_threshold=threshold,
        is_max_context=torch.tensor([window["max_context"] or everywhere for window in windows]),
        **options,
    ).records([CONTEXT] * questions)
    for question in range(questions):
        own = [window for window in windows if window["question"] == question]
        answer, diff, listed = (
            squad_predictions(own, CONTEXT, threshold=threshold, **options) if own else ("empty", None, None)
        )
        assert found[question]["answer"] == answer
        if diff is not None:
            assert math.isclose(found[question]["score_diff"], diff, rel_tol=1e-5, abs_tol=1e-5)
        if listed is not None:
            got = found[question]["n_best"]
            assert [(row["text"], row["offsets"]) for row in got] == [(text, place) for text, place, _, _ in listed]
            np.testing.assert_allclose([row["probability"] for row in got], [row[3] for row in listed], rtol=1e-5)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_equals_the_oracle(seed):
    """Texts, offsets, order, probabilities, the threshold, over several windows and questions."""
    assert_same_as_oracle(seed)


@pytest.mark.slow
def test_equals_the_oracle_thousands():
    """6,000 drawn batches of questions; the count is printed."""
    for seed in range(6000):
        assert_same_as_oracle(10**6 + seed)
    print("SQuAD rule: 6000 drawn batches equal to the slow oracle")


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_best": 0}, "n_best must be at least 1; got 0"),
        ({"question": torch.zeros(3).long()}, "question must be [2]; got shape [3]"),
        ({"is_max_context": torch.ones(2, 2)}, "is_max_context must be [2, 3]; got shape [2, 2]"),
        ({"end_logits": torch.tensor([[0.0] * 3, [math.nan] * 3])}, "end_logits must not be NaN; got NaN in window 1"),
    ],
)
def test_errors(change, message):
    """What is wrong, what was wanted, what came."""
    arguments = {
        "start_logits": torch.zeros(2, 3),
        "end_logits": torch.zeros(2, 3),
        "offsets": torch.zeros(2, 3, 2).long(),
        "in_context": torch.ones(2, 3).bool(),
        "question": torch.zeros(2).long(),
        "num_questions": 1,
        **change,
    }
    with pytest.raises(ValueError) as caught:
        select_squad_spans(**arguments)
    assert str(caught.value) == message
