"""Columns hold what the records hold, for every task with a kernel, without a record on the way; failures in place."""

import math
from itertools import pairwise

import pytest
import torch

from afterlogits.adapters import pipeline
from afterlogits.adapters.running import columns as columns_module
from tests.builders.text_models import tiny_decoder, tiny_model, tokenizer_of, wordpiece

NLI = ("contradiction", "neutral", "entailment")
TEXTS = ["Ada works in Paris.", "x", "Maria was near the river bridge in New York City", "the of"] * 12
PAIRS = [{"text": a, "text_pair": b} for a, b in pairwise(TEXTS)]
QUESTIONS = [{"question": "Where?", "context": text * n} for n, text in enumerate(TEXTS[:20], 1)]
MASKS = ["the [MASK] near", "[MASK] was in [MASK]", "[MASK]", "Paris [MASK] the [MASK] [MASK]"]
CHOICES = [{"prompt": text, "choices": TEXTS[1 : 2 + n % 3]} for n, text in enumerate(TEXTS)]
CALLS = [
    ("token-classification", TEXTS, {}),
    ("token-classification", TEXTS, {"aggregation_strategy": "simple"}),
    ("token-classification", TEXTS, {"aggregation_strategy": "average", "compat": False}),
    ("token-classification", TEXTS, {"aggregation_strategy": "simple", "labels_per_entity": 2}),
    ("token-classification", [t * 9 for t in TEXTS], {"aggregation_strategy": "first", "stride": 5}),
    ("text-classification", TEXTS, {}),
    ("text-classification", TEXTS, {"top_k": 3}),
    ("zero-shot-classification", TEXTS, {"candidate_labels": ["urgent", "Paris", "river"]}),
    ("fill-mask", MASKS, {"top_k": 3}),
    ("question-answering", QUESTIONS, {"top_k": 3}),
    ("question-answering", QUESTIONS, {"handle_impossible_answer": True, "max_seq_len": 24, "doc_stride": 6}),
    ("multiple-choice", CHOICES, {}),
    ("next-sentence-prediction", PAIRS, {}),
    (
        "text-generation",
        TEXTS[:5],
        {"do_sample": False, "max_new_tokens": 3, "num_beams": 2, "num_return_sequences": 2},
    ),
]


def pipe(task, tokenizer=None, **options):
    tokenizer = tokenizer or wordpiece()
    if task == "text-generation":
        model = tiny_decoder(tokenizer)
    elif task == "zero-shot-classification":
        model = tiny_model("text-classification", tokenizer, labels=NLI)
    else:
        model = tiny_model(task, tokenizer)
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **options)


def rows_of(result):
    """The rows of one record, or list of records, as columns name them."""
    if isinstance(result, dict) and "labels" in result and "scores" in result:
        pairs = zip(result["labels"], result["scores"], strict=True)
        return [{"sequence": result["sequence"], "label": label, "score": score} for label, score in pairs]
    if isinstance(result, dict):
        return [{"error": result["error"]} if "error" in result else result]
    if result and isinstance(result[0], list):
        return [{"mask": mask, **record} for mask, each in enumerate(result) for record in each]
    return list(result)


def values_of(column):
    return column.tolist() if isinstance(column, torch.Tensor) else column


def check(results, columns):
    """Row for row: every value of a record stands in its column, and a column has no value beyond them."""
    columns = dict(columns)
    offsets = columns.pop("offsets").tolist()
    assert len(offsets) == len(results) + 1
    listed = {name: values_of(column) for name, column in columns.items()}
    for number, result in enumerate(results):
        rows = rows_of(result)
        assert offsets[number + 1] - offsets[number] == len(rows)
        for place, row in enumerate(rows, offsets[number]):
            assert set(row) <= set(listed)
            for name, column in listed.items():
                if name in row:
                    assert column[place] == row[name] and type(column[place]) is type(row[name]), (name, number)
                elif name != "mask":
                    missing = column[place]
                    assert missing is None or missing == -1 or math.isnan(missing), (name, number)
    assert all(len(column) == offsets[-1] for column in listed.values())


@pytest.mark.parametrize(("task", "items", "options"), CALLS)
def test_columns_agree_with_the_records(task, items, options):
    call = pipe(task)
    check(call(items, **options), call(items, output="columns", **options))


@pytest.mark.parametrize(("task", "items", "options"), CALLS)
def test_a_failure_stands_in_its_place(task, items, options):
    """Items that cannot be read, or whose forward pass fails, between items that are answered."""
    call = pipe(task)
    too_long = {"question-answering": {"question": "Where? " * 200, "context": "the river"}}
    too_long["text-classification"] = "Paris " * 600
    mixed = [None, *items[:3], 7.5, too_long.get(task, 5), *items[3:5], None]
    results = call(mixed, on_error="record", **options)
    columns = call(mixed, on_error="record", output="columns", **options)
    check(results, columns)
    bad = [number for number, result in enumerate(results) if "error" in result]
    assert bad == [0, 4, 5, len(mixed) - 1]
    offsets = columns["offsets"].tolist()
    assert [columns["error"][offsets[number]] for number in bad] == [results[number]["error"] for number in bad]
    assert sum(error is not None for error in columns["error"]) == len(bad)


@pytest.mark.parametrize("family", ["bytelevel", "unigram", "characters"])
def test_columns_of_the_other_tokenizers(family):
    """Without offsets, entities have no place: None, as in the records."""
    call = pipe("token-classification", tokenizer_of(family), aggregation_strategy="simple")
    check(call(TEXTS), call(TEXTS, output="columns"))
    assert (call(TEXTS, output="columns")["start"][0] is None) == (family == "characters")
    asked = pipe("question-answering", tokenizer_of(family), top_k=4)
    check(asked(QUESTIONS), asked(QUESTIONS, output="columns"))


def test_vectors_are_one_tensor():
    """A row a token; pooled, a row a text."""
    call = pipe("feature-extraction")
    columns = call(TEXTS, output="columns")
    assert columns["features"].tolist() == [token for (text,) in call(TEXTS) for token in text]
    assert columns["offsets"].diff().tolist() == [len(text) for (text,) in call(TEXTS)]
    pooled = call(TEXTS, output="columns", pooling="mean")
    assert pooled["features"].tolist() == call(TEXTS, pooling="mean")
    failed = call(["the river", 5], output="columns", pooling="mean", on_error="record")
    assert failed["features"].shape == (2, 32) and failed["features"][1].isnan().all()


def test_types_do_not_depend_on_the_answers():
    """Nothing found, or nothing asked: the columns are there, empty, of their own type."""
    call = pipe("token-classification", aggregation_strategy="simple")
    everything = {*call.model.config.id2label.values(), "PER", "ORG", "LOC", "MISC"}
    columns = call(TEXTS, output="columns", ignore_labels=everything)
    assert columns["offsets"].tolist() == [0] * (len(TEXTS) + 1)
    assert columns["score"].dtype == torch.float64 and columns["start"].dtype == torch.int64
    assert columns["word"] == [] and columns["score"].shape == (0,)
    failed = call([5], output="columns", on_error="record")
    assert failed["offsets"].tolist() == [0, 1] and failed["error"] == ["text must be a string; got int"]
    assert pipe("text-classification")([], output="columns")["offsets"].tolist() == [0]


def test_one_item_and_a_stream_give_columns_too():
    call = pipe("token-classification", aggregation_strategy="simple")
    check([call(TEXTS[0])], call(TEXTS[0], output="columns"))
    check(list(call(text for text in TEXTS)), call((text for text in TEXTS), output="columns"))


def test_a_failure_raises_with_its_number():
    call = pipe("text-classification")
    with pytest.raises(ValueError, match=r"^item 41: text must not be empty; got ''$"):
        call((text for text in [*TEXTS[:41], "", *TEXTS]), output="columns")


def test_no_record_is_built_on_the_way(monkeypatch):
    """The records of a kernel are never asked for."""

    def refuse(*_):
        raise AssertionError("a record was built")

    monkeypatch.setattr(columns_module.Columns, "records", refuse)
    for task, items, options in CALLS[:-1]:
        assert len(pipe(task)(items, output="columns", **options)["offsets"]) == len(items) + 1


def test_arrow_has_nulls_where_an_item_failed():
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: no Arrow tables to compare")
    call = pipe("token-classification", aggregation_strategy="simple")
    table = call([TEXTS[0], 5, TEXTS[2]], output="arrow", on_error="record")
    row = table.filter(pyarrow.compute.equal(table["item"], 1)).to_pylist()
    nothing = dict.fromkeys(("entity_group", "score", "word", "start", "end"))
    assert row == [{"item": 1, **nothing, "error": "text must be a string; got int"}]
    assert table["score"].null_count == 1 and table.schema.field("start").type == pyarrow.int64()
    vectors = pipe("feature-extraction")(["the river", 5], output="arrow", pooling="cls", on_error="record")
    assert vectors["features"][0].as_py() == pipe("feature-extraction")("the river", pooling="cls")
    assert vectors["features"][1].as_py() is None


def test_entries_of_parts_come_from_their_own_batches() -> None:
    """Two batches of two rows, asked for out of order and one row twice: each batch is worked on once."""
    first, second, worked = object(), object(), []

    def work(batch: object) -> list[str]:
        worked.append(batch)
        return ["a", "b"] if batch is first else ["c", "d"]

    parts = [columns_module.Part(*each) for each in ((second, 1), (first, 0), (second, 0), (first, 1), (second, 1))]
    assert columns_module.per_row(parts, work) == ["d", "a", "c", "b", "d"]
    assert worked == [second, first]
