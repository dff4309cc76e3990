"""Inputs cut into parts: together the parts are the whole, each read alone."""

import json

import pyarrow
import pytest
from pyarrow import ipc, parquet

from afterlogits.adapters.jobs import splits
from afterlogits.adapters.jobs.errors import UsageError
from afterlogits.adapters.jobs.source import Source
from afterlogits.adapters.running.failures import Failure


def shown(records):
    return [str(value.error) if isinstance(value, Failure) else value for value, _ in records]


@pytest.fixture(params=["jsonl", "text", "csv", "json", "parquet", "arrow"])
def place(request, tmp_path):
    rows = [{"id": str(n), "text": f"text {n} ü" * (n % 5)} for n in range(1003)]
    name = tmp_path / f"in.{request.param.replace('text', 'txt')}"
    table = pyarrow.Table.from_pylist(rows)
    if request.param == "parquet":
        parquet.write_table(table, name, row_group_size=110)
    elif request.param == "arrow":
        with ipc.new_file(str(name), table.schema) as sink:
            sink.write_table(table, max_chunksize=90)
    elif request.param == "csv":
        name.write_text("id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows))
    elif request.param == "json":
        name.write_text(json.dumps(rows))
    else:
        lines = [json.dumps(row) for row in rows]
        lines[7:9] = ["{bad", "x" * 500]
        name.write_bytes(b"\xef\xbb\xbf" + "".join(line + "\r\n" for line in lines).encode())
    return name


@pytest.mark.parametrize("rows", [1, 64, 256, 5000])
def test_the_parts_are_the_whole(place, rows, monkeypatch):
    monkeypatch.setattr(splits, "LEAST_ROWS", rows)
    monkeypatch.setattr(splits, "MOST_PARTS", 40)
    source = Source(str(place), "auto", 400)
    parts, digest = splits.cut(source)
    source.close()
    source = Source(str(place), "auto", 400)
    whole = list(source.records())
    source.close()
    assert len(parts) <= 40 and [part.first for part in parts] == [
        sum(p.count for p in parts[:n]) for n in range(len(parts))
    ]
    found = [record for part in parts for record in part.records()]
    assert shown(found) == shown(whole) and [d for _, d in found] == [d for _, d in whole]
    source = Source(str(place), "auto", 400)
    assert splits.cut(source)[1] == digest
    source.close()


def test_an_empty_input_has_no_parts(tmp_path):
    (tmp_path / "in.txt").write_text("")
    source = Source(str(tmp_path / "in.txt"), "auto", 100)
    assert splits.cut(source)[0] == []
    source.close()


def test_standard_input_cannot_be_cut(monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n")))
    with pytest.raises(UsageError, match="standard input cannot be read by several machines; --input must be a file"):
        splits.cut(Source("-", "text", 100))
