"""Table question answering end to end, against transformers' own pipeline of either version."""

import random
from collections import Counter

import pandas
import pytest
import transformers

from afterlogits.adapters import pipeline
from tests.adapters.tasks.text.table_cases import draw_case, draw_table, tapas_model, tapas_tokenizer

VERSION_4 = transformers.__version__.startswith("4.")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def quiet_library():
    transformers.utils.logging.set_verbosity_error()


def both(aggregation, seed=0):
    arguments = {"model": tapas_model(aggregation, seed), "tokenizer": tapas_tokenizer(), "device": "cpu"}
    name = "table-question-answering"
    return transformers.pipeline(name, **arguments), pipeline(name, **arguments)


def listed(result):
    return result if isinstance(result, list) else [result]


def assert_same_answers(aggregation, cases):
    """Answers of drawn tables, at once and in sequence; several things must come up for the comparison to mean much."""
    met = Counter()
    for seed in range(2):
        library, ours = both(aggregation, seed)
        for number in range(cases):
            table, queries = draw_case(f"{seed} {number}")
            at_once = None
            for sequential in (False, True):
                theirs = library(table=pandas.DataFrame(table), query=queries, sequential=sequential)
                assert ours(table=table, query=queries, sequential=sequential) == theirs, (table, queries)
                at_once = at_once or theirs
                met["sequence changes an answer"] += theirs != at_once
                for answer in listed(theirs):
                    met["cells" if answer["cells"] else "no cells"] += 1
                    met[answer.get("aggregator")] += 1
    wanted = {"sequence changes an answer", "cells", "no cells"} | ({"NONE", "SUM", "COUNT"} if aggregation else {None})
    assert wanted <= set(met), met


@pytest.mark.skipif(VERSION_4, reason="5.23 is the rule here; the test below runs with 4.57.6")
@pytest.mark.parametrize("aggregation", [False, True])
def test_same_answers_as_version_5(aggregation):
    """One to three queries about tables of strings, empty cells and tokens outside the vocabulary among them."""
    assert_same_answers(aggregation, 8)


@pytest.mark.v4
@pytest.mark.skipif(not VERSION_4, reason="needs transformers 4.57.6")
@pytest.mark.parametrize("aggregation", [False, True])
def test_same_answers_as_version_4(aggregation):
    """The same with 4.57.6."""
    assert_same_answers(aggregation, 8)


def test_a_list_of_tables_and_a_stream_answer_as_one_by_one():
    """Tables of different sizes share batches; each answers as alone, as a DataFrame or as a dict."""
    library, ours = both(True)
    items = []
    for number in range(12):
        table, queries = draw_case(100 + number)
        items.append({"table": table, "query": queries if number % 2 else queries[0]})
    frames = [{"table": pandas.DataFrame(item["table"]), "query": item["query"]} for item in items]
    theirs = library([dict(item) for item in items])
    assert ours(items) == theirs
    assert ours(frames) == theirs
    assert list(ours(iter(items), batch_size=5)) == theirs
    assert [ours(item) for item in items] == theirs


def test_a_table_too_long_for_the_model_loses_rows_as_in_the_library():
    """model_max_length is 96 tokens: rows at the end are dropped, and no cell of them can be chosen."""
    library, ours = both(False)
    drawn = random.Random(3)
    table = draw_table(drawn)
    table = {name: (column * 60)[:60] for name, column in table.items()}
    theirs = library(table=pandas.DataFrame(table), query="what is the total?")
    found = ours(table=table, query="what is the total?")
    assert found == theirs
    assert all(row < 59 for row, _ in found["coordinates"])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"table": {}, "query": "what?"}, "table must not be empty; got no cells"),
        ({"table": {"a": ["1"]}, "query": ""}, "query must not be empty; got ''"),
        ({"table": {"a": ["1"]}}, "item must have a field 'query'; got fields 'table'"),
        ({"table": {"a": ["1", "2"], "b": ["1"]}, "query": "what?"}, "All arrays must be of the same length"),
    ],
)
def test_a_bad_table_is_named_and_costs_the_others_nothing(item, message):
    """The bad item is reported in its place; the two beside it are answered."""
    _, ours = both(True)
    good = {"table": {"city": ["Paris", "Berlin"], "year": ["2001", "1999"]}, "query": "what is the sum?"}
    found = ours([good, item, good], on_error="record")
    assert found[1] == {"error": message, "index": 1}
    assert found[0] == found[2] == ours(good)
    with pytest.raises(ValueError, match=r"^item 1: "):
        ours([good, item, good])


@pytest.mark.parametrize(("cell", "kind"), [(2001, "int"), (2.5, "float"), (float("nan"), "float")])
def test_cells_that_are_no_strings_are_refused(cell, kind):
    """The TAPAS tokenizer cannot read them ("'int' object is not iterable" in transformers): the column is named."""
    library, ours = both(False)
    table = {"city": ["Paris", "Berlin"], "year": ["1999", cell]}
    with pytest.raises(TypeError, match=f"^table must hold strings alone; got {kind} in column 'year'$"):
        ours(table=table, query="what?")
    with pytest.raises((TypeError, AttributeError, ValueError)):
        library(table=pandas.DataFrame(table), query="what?")


def test_columns_of_table_answers():
    """A row an answer; the texts as a list."""
    _, ours = both(True)
    items = [{"table": draw_case(number)[0], "query": "what is the sum?"} for number in range(4)]
    columns = ours(items, output="columns")
    assert columns["offsets"].tolist() == [0, 1, 2, 3, 4]
    assert columns["answer"] == [answer["answer"] for answer in ours(items)]
