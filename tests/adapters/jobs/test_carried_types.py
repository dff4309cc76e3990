"""--keep from table to table: every column has the type and the values that it had."""

import datetime
from decimal import Decimal

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from afterlogits.adapters.jobs.carried_types import carried_types, certain
from afterlogits.adapters.jobs.rows import encode_row
from afterlogits.adapters.jobs.table_writing import write_table

MOMENT = datetime.datetime(2026, 2, 3, 4, 5, 6, 789_012)
WHOLE = MOMENT.replace(microsecond=0)
SPANS = datetime.timedelta
# A column of each kind: its type and three values.
COLUMNS = {
    "second": (pyarrow.timestamp("s"), [WHOLE, None, datetime.datetime(1960, 1, 1)]),
    "micro": (pyarrow.timestamp("us"), [MOMENT, None, MOMENT]),
    "zoned": (pyarrow.timestamp("ms", "Europe/Oslo"), [WHOLE.replace(microsecond=1000), None, WHOLE]),
    "day": (pyarrow.date32(), [MOMENT.date(), None, datetime.date(1066, 10, 14)]),
    "hour": (pyarrow.time64("us"), [MOMENT.time(), None, datetime.time(0)]),
    "span": (pyarrow.duration("ms"), [datetime.timedelta(days=3, milliseconds=5), None, datetime.timedelta(0)]),
    "price": (pyarrow.decimal128(12, 3), [Decimal("12345.678"), None, Decimal("-0.001")]),
    "blob": (pyarrow.binary(), [b"\x00\xff", None, b""]),
    "fixed": (pyarrow.binary(2), [b"ab", None, b"\x00\x01"]),
    "small": (pyarrow.int8(), [-128, None, 127]),
    "wide": (pyarrow.uint64(), [2**64 - 1, None, 0]),
    "single": (pyarrow.float32(), [0.1, None, -1e30]),
    "whole": (pyarrow.float64(), [1.0, None, 2.0]),
    "sure": (pyarrow.bool_(), [True, None, False]),
    "long": (pyarrow.large_string(), ["é", None, ""]),
    "void": (pyarrow.string(), [None, None, None]),
}  # fmt: skip


def table_of_columns():
    columns = {name: pyarrow.array(values, kind) for name, (kind, values) in COLUMNS.items()}
    return pyarrow.table({"id": ["a", "b", "c"], "text": ["Ada was in Paris."] * 3, **columns})


@pytest.mark.parametrize("target", ["out.parquet", "out.arrow", "out.set"])
@pytest.mark.parametrize("source", ["parquet", "arrow"])
def test_a_carried_column_keeps_its_type(run, tmp_path, source, target):
    table = table_of_columns()
    if source == "parquet":
        parquet.write_table(table, tmp_path / "in.parquet")
        table = parquet.read_table(tmp_path / "in.parquet")  # Parquet has no seconds, for one
    else:
        with ipc.new_file(str(tmp_path / "in.arrow"), table.schema) as sink:
            sink.write_table(table)
    more = ("--output-format", "dataset") if target == "out.set" else ()
    assert run(f"in.{source}", target, "--keep", "all", *more) == 0
    place = tmp_path / target
    found = (
        parquet.read_table(place)
        if target.endswith("parquet")
        else ipc.open_file(str(place)).read_all()
        if target.endswith("arrow")
        else ipc.open_stream(str(place / "data-00000-of-00001.arrow")).read_all()
    )
    for name in COLUMNS:
        if target.endswith("parquet") and name == "second":  # written as milliseconds, there being no seconds
            assert found[name].to_pylist() == table[name].to_pylist()
        else:
            assert found[name].combine_chunks().equals(table[name].combine_chunks()), name


def test_without_a_table_types_come_from_the_values(run, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "Ada", "when": "2026-02-03T04:05:06"}\n')
    assert run("in.jsonl", "out.parquet", "--keep", "when") == 0
    assert parquet.read_table(tmp_path / "out.parquet")["when"].to_pylist() == ["2026-02-03T04:05:06"]


def test_an_answer_of_the_same_name_is_not_rounded(run, tmp_path):
    """Flat rows have the answer's score, float64, and the carried one under another name, float32 as it was."""
    table = pyarrow.table({"text": ["Ada was in Paris."], "score": pyarrow.array([0.1], pyarrow.float32())})
    parquet.write_table(table, tmp_path / "in.parquet")
    assert run("in.parquet", "out.parquet", "--keep", "score", "--flat", "--aggregation-strategy", "simple") == 0
    schema = parquet.read_table(tmp_path / "out.parquet").schema
    assert schema.field("score").type == pyarrow.float64()
    assert schema.field("input_score").type == pyarrow.float32()


def test_which_columns_are_carried():
    schema = pyarrow.schema(
        [("id", "int32"), ("error", "int8"), ("list", pyarrow.list_(pyarrow.int8())), ("a", "int8"), ("b", "int16")]
    )
    assert carried_types(schema, None) == {"input_error": pyarrow.int8(), "a": pyarrow.int8(), "b": pyarrow.int16()}
    assert carried_types(schema, ("b",)) == {"b": pyarrow.int16()}
    assert carried_types(None, None) == {}
    assert certain({"a": 1, "b": 2, "c": 3}, ["a", "input_a", "b"]) == {"input_a": 1, "b": 2}


def test_a_value_that_the_type_does_not_take_leaves_the_column_as_it_is(tmp_path):
    """A shard of a job whose column was text where a later version of its table says bytes."""
    lines = [b'{"id": 1, "a": "no base64!"}\n']
    write_table("arrow", tmp_path / "out", lambda: iter(lines), {"a": pyarrow.binary()})
    assert ipc.open_file(str(tmp_path / "out")).read_all()["a"].to_pylist() == ["no base64!"]


@settings(max_examples=60, deadline=None)
@given(
    moments=st.lists(
        st.none() | st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)), min_size=1
    ),
    data=st.data(),
)
def test_drawn_values_come_back(tmp_path_factory, moments, data):
    def values(kind):
        return data.draw(st.lists(st.none() | kind, min_size=len(moments), max_size=len(moments)))

    drawn = {
        "when": (pyarrow.timestamp("us", "UTC"), moments),
        "price": (pyarrow.decimal128(20, 4), values(st.decimals(-(10**9), 10**9, places=4))),
        "blob": (pyarrow.large_binary(), values(st.binary())),
        "span": (pyarrow.duration("us"), values(st.timedeltas(SPANS(-9999), SPANS(9999)))),
    }
    table = pyarrow.table({name: pyarrow.array(values, kind) for name, (kind, values) in drawn.items()})
    place = tmp_path_factory.mktemp("drawn") / "out.arrow"
    lines = [encode_row({"id": n, **row}) for n, row in enumerate(table.to_pylist())]
    write_table("arrow", place, lambda: iter(lines), carried_types(table.schema, None))
    found = ipc.open_file(str(place)).read_all().combine_chunks()
    for name in drawn:
        assert found[name].combine_chunks().equals(table[name].combine_chunks()), name
