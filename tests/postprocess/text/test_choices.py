"""Multiple choice and next sentence."""

import json
import math

import pytest
import torch

from afterlogits.postprocess import choose, follows


def test_softmax_over_present_choices():
    """Logits 0 and ln 3 give 1/4 and 3/4; an absent choice has no part, whatever its logit, NaN included."""
    logits = torch.tensor([[0.0, math.log(3), math.nan], [1.0, 1.0, 1.0]])
    present = torch.tensor([[True, True, False], [False, False, False]])
    found = choose(logits, present)
    assert found.best.tolist() == [1, -1]
    torch.testing.assert_close(found.probs, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]))
    records = found.records()
    assert records[1] == {"choice": None, "score": None, "scores": []}
    assert (records[0]["choice"], len(records[0]["scores"])) == (1, 2)
    assert json.loads(json.dumps(records)) == records


def test_ties_and_minus_infinity():
    """The first of equal choices; all -inf are equal."""
    assert choose(torch.tensor([[1.0, 1.0]])).best.tolist() == [0]
    assert choose(torch.full((1, 4), -math.inf)).probs.tolist() == [[0.25] * 4]
    assert choose(torch.zeros(2, 0)).best.tolist() == [-1, -1]
    assert choose(torch.zeros(1, 2, dtype=torch.bfloat16)).probs.dtype == torch.float32


def test_the_first_choice_is_a_choice():
    """Choice 0 has a number and a score; a single choice that is there has all of the probability, even at -inf."""
    record = choose(torch.tensor([[math.log(3), 0.0]])).records()[0]
    assert record["choice"] == 0 and math.isclose(record["score"], 0.75, rel_tol=1e-6)
    alone = choose(torch.tensor([[-math.inf, 5.0]]), torch.tensor([[True, False]]))
    assert alone.records() == [{"choice": 0, "score": 1.0, "scores": [1.0]}]
    none = choose(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    assert none.records() == [{"choice": None, "score": None, "scores": []}]


def test_next_sentence():
    """Index 0 means that it follows: logits ln 3 and 0 give 3/4."""
    found = follows(torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])).records()
    assert [row["is_next"] for row in found] == [True, False]
    assert math.isclose(found[0]["score"], 0.75, rel_tol=1e-6)


def test_errors():
    """What is wrong, what was wanted, what came."""
    with pytest.raises(ValueError) as caught:
        choose(torch.tensor([[0.0, math.nan]]))
    assert str(caught.value) == "logits must not be NaN; got NaN in item 0"
    with pytest.raises(ValueError) as caught:
        follows(torch.zeros(1, 3))
    assert str(caught.value) == "logits must be [B, 2]; got shape [1, 3]"
