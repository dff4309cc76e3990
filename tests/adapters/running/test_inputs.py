"""Inputs by columns: what programs hold texts in, each answered as the list it stands for."""

import collections

import numpy as np
import pandas
import pyarrow
import pytest

from afterlogits.adapters import pipeline
from afterlogits.adapters.running.inputs import as_list
from tests.builders.text_models import tiny_decoder, tiny_model, wordpiece

TEXTS = ["Ada works in Paris.", "the river is near", "Maria was in New York City"]
NLI = ("contradiction", "neutral", "entailment")
COLUMNS = {
    "series": pandas.Series,
    "index": pandas.Index,
    "categories": lambda texts: pandas.Series(texts, dtype="category"),
    "array of strings": np.array,
    "array of objects": lambda texts: np.array(texts, dtype=object),
    "arrow array": pyarrow.array,
    "arrow dictionary": lambda texts: pyarrow.array(texts).dictionary_encode(),
    "chunked array": lambda texts: pyarrow.chunked_array([texts[:1], texts[1:]]),
    "arrow scalars": lambda texts: list(pyarrow.array(texts)),
    "numpy strings": lambda texts: [np.str_(text) for text in texts],
    "deque": collections.deque,
    "user list": collections.UserList,
}
TABLES = {
    "frame": pandas.DataFrame,
    "arrow table": pyarrow.table,
    "record batch": lambda columns: pyarrow.RecordBatch.from_pydict(columns),
    "array of structs": lambda columns: pyarrow.table(columns).to_struct_array(),
    "struct scalars": lambda columns: list(pyarrow.table(columns).to_struct_array()),
}


def pipe(task, head=None, **options):
    tokenizer = wordpiece()
    if task == "text-generation":
        model = tiny_decoder(tokenizer)
    else:
        model = tiny_model(head or task, tokenizer, **({"labels": NLI} if task.startswith("zero") else {}))
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **options)


PIPES = {
    "token-classification": {"aggregation_strategy": "simple"},
    "text-classification": {},
    "feature-extraction": {},
    "zero-shot-classification": {"candidate_labels": ["a", "b"]},
    "text-generation": {"do_sample": False, "max_new_tokens": 3},
}


@pytest.fixture(scope="module")
def pipes():
    heads = {"zero-shot-classification": "text-classification"}
    built = {task: pipe(task, heads.get(task), **options) for task, options in PIPES.items()}
    return built, {task: call(TEXTS) for task, call in built.items()}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("task", PIPES)
def test_a_column_is_a_list(pipes, task, column):
    built, expected = pipes
    found = built[task](COLUMNS[column](TEXTS))
    assert isinstance(found, list) and found == expected[task]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_the_list_of_its_rows(pipes, table):
    built, expected = pipes
    rows = TABLES[table]({"text": TEXTS, "label": [1, 2, 3]})
    for task in ("text-classification", "token-classification", "feature-extraction"):
        assert built[task](rows) == expected[task]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_questions_and_contexts(table):
    call = pipe("question-answering")
    columns = {"question": ["Who?", "Where?"], "context": ["Ada is in Paris.", "Maria was near the river."]}
    expected = call([{name: values[row] for name, values in columns.items()} for row in range(2)])
    assert call(TABLES[table](columns)) == expected
    for column in COLUMNS.values():
        assert call(question=column([*columns["question"], "x"]), context=column([*columns["context"], "y"]))[:2] == (
            expected
        )


def test_arrow_scalars_stand_for_their_values(pipes):
    built, _ = pipes
    text = pyarrow.scalar(TEXTS[0])
    for call in built.values():
        assert call(text) == call(TEXTS[0])
        assert list(call(iter([text]))) == list(call(iter(TEXTS[:1])))
    assert built["text-classification"]({"text": text}) == built["text-classification"]({"text": TEXTS[0]})


@pytest.mark.parametrize("column", COLUMNS)
def test_labels_targets_and_choices_may_be_columns(column):
    make = COLUMNS[column]
    zero_shot, fill = pipe("zero-shot-classification", "text-classification"), pipe("fill-mask")
    choose = pipe("multiple-choice")
    assert zero_shot("Ada", candidate_labels=make(["a", "b", "c"])) == zero_shot(
        "Ada", candidate_labels=["a", "b", "c"]
    )
    targets = ["Paris", "Berlin"]
    assert fill("the [MASK]", targets=make(targets)) == fill("the [MASK]", targets=targets)
    item = {"prompt": "the river", "choices": ["is near", "was"]}
    assert choose({**item, "choices": make(item["choices"])}) == choose(item)


@pytest.mark.parametrize("column", COLUMNS)
def test_words_may_be_a_column(column):
    call = pipe("token-classification", is_split_into_words=True)
    words = ["Ada", "works", "in", "Paris"]
    expected = call([words, words])
    assert call([COLUMNS[column](words), COLUMNS[column](words)]) == expected
    assert call([{"tokens": COLUMNS[column](words)}] * 2) == expected
    assert call(pyarrow.array([words, words])) == call(list(pyarrow.array([words, words]))) == expected


def test_a_missing_value_is_refused_by_name(pipes):
    call = pipes[0]["text-classification"]
    for inputs in (pyarrow.array(["a", None]), pandas.Series(["a", None], dtype=object), np.array(["a", None])):
        with pytest.raises(TypeError, match=r"^item 1: text must be a string; got NoneType$"):
            call(inputs)


def test_numbers_and_iterables_stay_what_they_are():
    """An array of numbers is a picture or a sound, never a list; neither is a generator, a set of texts or a dict."""
    pixels = np.zeros((2, 2))
    assert as_list(pixels) is pixels
    for value in ("text", b"bytes", {"text": "a"}, {"a"}, iter("ab"), None, 5):
        assert as_list(value) is value


def test_a_single_string_of_numpy_is_a_string(pipes):
    built, _ = pipes
    for text in (np.array("the river"), np.str_("the river")):
        assert built["text-classification"](text) == built["text-classification"]("the river")
