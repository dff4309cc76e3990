"""CSV: what Python's csv reads, row by row, and bad rows alone."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.adapters.jobs.csv_rows import CsvRows
from afterlogits.adapters.running.failures import Failure


def read(data, limit=1000, delimiter=","):
    rows = CsvRows(io.BytesIO(data), limit, delimiter)
    header = rows.read_header()
    return header, [value for value, _ in rows.records()]


def shown(values):
    return [str(value.error) if isinstance(value, Failure) else value for value in values]


def test_fields_hold_quotes_delimiters_and_line_ends():
    header, values = read(b'id,text\r\n1,"a ""b"", c\r\nd"\r\n\r\n2,x\n')
    assert header == ["id", "text"]
    assert values == [{"id": "1", "text": 'a "b", c\r\nd'}, {"id": "2", "text": "x"}]


def test_bad_rows_cost_no_other():
    data = (
        b"a,b\n1\n2,3\n\xff,4\n5,6,7\n"
        + b"y" * 50
        + b',8\n9,"'
        + b"z" * 50
        + b'"\n"q\nr",s\n"'
        + b"w" * 50
        + b'\n0",1\n10,11\n'
    )
    assert shown(read(data, limit=40)[1]) == [
        "1 fields where the header has 2",
        {"a": "2", "b": "3"},
        "not valid UTF-8 at byte 1",
        "3 fields where the header has 2",
        "53 bytes, longer than --max-line (40)",
        "55 bytes, longer than --max-line (40)",
        {"a": "q\nr", "b": "s"},
        "52 bytes, longer than --max-line (40)",  # a quoted field that goes on in the next line
        {"a": "10", "b": "11"},
    ]


def test_lists_and_tables_stand_as_json():
    data = b'table,choices,text\n"{""a"": [1]}","[""x""]",[1]\n"{bad",,"y"\n'
    assert read(data)[1] == [
        {"table": {"a": [1]}, "choices": ["x"], "text": "[1]"},
        {"table": "{bad", "choices": "", "text": "y"},
    ]


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=6), st.sampled_from([",", "\t"]))
def test_every_table_comes_back(rows, delimiter):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    header, values = read(text.getvalue().encode(), delimiter=delimiter)
    assert header == ["a", "b"] and [list(value.values()) for value in values] == rows


def test_digests_tell_rows_apart():
    rows = CsvRows(io.BytesIO(b"a\n1\n2\n1\n"), 100, ",")
    rows.read_header()
    digests = [digest for _, digest in rows.records()]
    assert digests[0] == digests[2] != digests[1]
