"""One class for every framework of batches: kinds of batches, parameters of a row's own, errors, draws."""

import json

import numpy as np
import pandas
import pyarrow
import pytest

from afterlogits import pipeline
from afterlogits.adapters.batches import TaskOnBatches

TEXTS = ["A wonderful film.", "", "The food was cold and bland."]


@pytest.fixture(scope="module")
def sentiment():
    return TaskOnBatches("sentiment-analysis")


def test_every_kind_of_batch_gets_the_same_answers(sentiment):
    wanted = pipeline("sentiment-analysis")([TEXTS[0], TEXTS[2]])
    plain = {"text": TEXTS, "n": [1, 2, 3]}
    found = {
        "dict": sentiment(plain),
        "numpy": sentiment({"text": np.array(TEXTS, dtype=object), "n": np.arange(3)}),
        "arrow": sentiment(pyarrow.table(plain)).to_pydict(),
        "record batch": sentiment(pyarrow.RecordBatch.from_pydict(plain)).to_pydict(),
        "pandas": sentiment(pandas.DataFrame(plain)).to_dict("list"),
    }
    for kind, batch in found.items():
        assert list(batch) == ["text", "n", "result", "error"], kind
        assert list(batch["error"]) == [None, "text must not be empty; got ''", None], kind
        assert batch["result"][1] is None
        for answer, right in zip((batch["result"][0], batch["result"][2]), wanted, strict=True):
            assert answer["label"] == right["label"] and answer["score"] == pytest.approx(right["score"], rel=1e-5)


def test_columns_say_which_field_is_where():
    ask = TaskOnBatches("question-answering", columns={"question": "q", "context": "doc"})
    batch = ask(
        {"q": ["Where does Anna live?"], "doc": ["Anna Berg is a baker. She lives in Oslo."], "question": ["?"]}
    )
    assert "Oslo" in batch["result"][0]["answer"]
    assert ask({"q": ["?"]})["error"] == ["item must have a column 'doc'; got 'q'"]


def test_a_row_may_carry_parameters_of_its_own():
    """Rows of equal parameters are one call; wrong ones cost their row alone."""
    answer = TaskOnBatches("sentiment-analysis")
    batch = answer(
        {
            "text": [TEXTS[0]] * 6,
            "parameters": [None, {"top_k": 2}, '{"top_k": null}', {"top_q": 1}, "[1]", {"top_k": "x"}],
        }
    )
    assert [type(result).__name__ for result in batch["result"]] == ["Label", "Labels", *["Label"], *["NoneType"] * 3]
    assert len(batch["result"][1]) == 2
    assert batch["error"] == [
        *[None] * 3,
        "unknown option 'top_q' for text-classification; did you mean 'top_k'?",
        "parameters must be a record; got list",
        "top_k must be an int or None; got str",
    ]


def test_answers_of_several_shapes_are_lists_in_arrow(sentiment):
    table = pyarrow.table({"text": [TEXTS[0], TEXTS[2], ""], "parameters": ['{"top_k": 2}', None, None]})
    results = sentiment(table)["result"].to_pylist()
    assert [result and len(result) for result in results] == [2, 1, None]


def test_draws_belong_to_the_number_of_a_row():
    """Not to the batch, nor to the place in it."""
    draw = TaskOnBatches("text-generation", seed=3, number="n", max_new_tokens=6, temperature=1.5)
    words = ["The baker", "Last week", "Anna", "It rained"]
    whole = draw({"text": words, "n": [0, 1, 2, 3]})["result"]
    assert [draw({"text": [words[n]], "n": [n]})["result"][0] for n in (2, 0)] == [whole[2], whole[0]]
    assert draw({"text": ["Anna"], "n": [7]})["result"][0] != whole[2]
    again = TaskOnBatches("text-generation", seed=4, number="n", max_new_tokens=6, temperature=1.5)
    assert again({"text": words, "n": [0, 1, 2, 3]})["result"] != whole


def test_results_as_texts_have_one_type_whatever_they_hold():
    find = TaskOnBatches("ner", aggregation_strategy="simple", as_json=True)
    table = find(pyarrow.table({"text": ["Ada lives in Paris.", "nothing here", ""]}))
    assert table.schema.field("result").type == pyarrow.string()
    assert json.loads(table["result"][0].as_py())[0]["word"] == "Ada"
    assert table["result"].to_pylist()[2] is None


def test_a_batch_of_another_kind_is_refused(sentiment):
    with pytest.raises(TypeError, match="batch must be a table, a data frame or a dict of columns; got list"):
        sentiment([1])
