"""One data set in every format, read and written; types of columns; what each format makes of an answer."""

import csv
import gzip
import io
import json
import os
import shutil

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from afterlogits.adapters.jobs.formats import Format, by_suffix, output_format, text_format
from afterlogits.adapters.jobs.source import Source
from afterlogits.adapters.jobs.table_writing import write_table
from afterlogits.adapters.jobs.writing import write

ROWS = [{"id": f"n{n}", "q": f'Ada, was in "Paris"?\n{n} 東京 😀', "n": n} for n in range(300)]


def save_as(kind, folder):
    """The rows as a file (or folder) of a kind; returns its name."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    table = pyarrow.Table.from_pylist(ROWS)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter="\t" if "tsv" in kind else ",")
    writer.writeheader()
    writer.writerows(ROWS)
    place = folder / f"in.{kind}"
    if kind == "parquet":
        parquet.write_table(table, place, row_group_size=70)
    elif kind == "arrow":
        with ipc.new_file(str(place), table.schema) as sink:
            sink.write_table(table, max_chunksize=90)
    elif kind == "arrows":
        with ipc.new_stream(str(place), table.schema) as sink:
            sink.write_table(table)
    elif kind == "dataset":
        place.mkdir()
        names = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
        for name, part in zip(names, (table.slice(0, 200), table.slice(200)), strict=True):
            with ipc.new_stream(str(place / name), table.schema) as sink:
                sink.write_table(part)
        (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    elif kind.startswith("json") and "jsonl" not in kind:
        data = json.dumps(ROWS, indent=2, ensure_ascii=False).encode()
        place.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    else:
        data = lines if "jsonl" in kind else text.getvalue().encode()
        if kind.endswith(".gz"):
            data = gzip.compress(data)
        elif kind.endswith(".zst"):
            data = pyarrow.compress(data, "zstd", asbytes=True)
        place.write_bytes(data)
    return place.name


READINGS = (
    "jsonl",
    "json",
    "csv",
    "parquet",
    "arrow",
    "dataset",
    "jsonl.gz",
    "jsonl.zst",
    "json.gz",
    "csv.gz",
    "tsv",
    "tsv.zst",
    "arrows",
)


def test_every_reading_of_a_data_set_gives_the_same_answers(run, tmp_path):
    """Byte for byte, the id included: columns by name, and one carried along."""
    found = {}
    for kind in READINGS:
        name = save_as(kind, tmp_path)
        assert run(name, "out.jsonl", "--columns", "text=q", "--keep", "q") == 0, kind
        found[kind] = (tmp_path / "out.jsonl").read_bytes()
    assert len(set(found.values())) == 1, {kind: data[:200] for kind, data in found.items()}
    records = [json.loads(line) for line in found["jsonl"].splitlines()]
    assert [record["id"] for record in records] == [row["id"] for row in ROWS]
    assert all(record["q"] == row["q"] and record["result"] for record, row in zip(records, ROWS, strict=True))


def test_every_writing_of_an_answer_says_the_same(run, tmp_path):
    """Read back, all formats hold the rows of JSON Lines; compressed ones are the same file inside."""
    name = save_as("jsonl", tmp_path)
    given = ("--columns", "text=q", "--keep", "n", "--aggregation-strategy", "simple")
    assert run(name, "out.jsonl", *given) == 0
    wanted = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    for target in (
        "out.json",
        "out.parquet",
        "out.arrow",
        "out.jsonl.gz",
        "out.jsonl.zst",
        "out.csv",
        "out.tsv",
        "out.txt",
    ):
        assert run(name, target, *given) == 0, target
    assert run(name, "out.set", *given, "--output-format", "dataset") == 0
    assert json.loads((tmp_path / "out.json").read_text()) == wanted
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == (tmp_path / "out.jsonl").read_bytes()
    tables = {
        "parquet": parquet.read_table(tmp_path / "out.parquet"),
        "arrow": ipc.open_file(str(tmp_path / "out.arrow")).read_all(),
        "dataset": ipc.open_stream(str(tmp_path / "out.set" / "data-00000-of-00001.arrow")).read_all(),
    }
    for kind, table in tables.items():
        assert [{**row, "error": None} for row in wanted] == table.to_pylist(), kind
        assert table.column_names == ["id", "n", "result", "error"]
    for target, delimiter in (("out.csv", ","), ("out.tsv", "\t")):
        with open(tmp_path / target, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter=delimiter))
        assert [json.loads(row["result"]) for row in rows] == [row["result"] for row in wanted]
        assert [(row["id"], row["n"], row["error"]) for row in rows] == [(r["id"], str(r["n"]), "") for r in wanted]
    assert len((tmp_path / "out.txt").read_text().splitlines()) == len(wanted)
    again = run("out.set", "again.jsonl", "--columns", "text=id")  # what was written can be read
    assert again == 0 and len((tmp_path / "again.jsonl").read_text().splitlines()) == len(wanted)


def test_flat_output_has_a_row_an_answer(run, records, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "Ada was in Paris.", "score": 1}\n{"id": "b"}\n')
    given = ("--aggregation-strategy", "simple", "--flat", "--keep", "score")
    assert run("in.jsonl", "out.jsonl", *given) == run("in.jsonl", "out.parquet", *given) == 3
    assert run("in.jsonl", "long.jsonl", *given[:2]) == 3
    answers = records("long.jsonl")[0]["result"]
    flat = records("out.jsonl")
    assert flat[:-1] == [{"id": "a", "input_score": 1, **answer} for answer in answers] and len(answers) > 1
    assert list(flat[-1]) == ["id", "score", "error"]
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "input_score", "entity_group", "score", "word", "start", "end", "error"]
    assert table.num_rows == len(flat)


def test_parquet_with_ids_of_several_types(run, tmp_path):
    lines = [
        '{"id": 1, "text": "Ada"}',
        '{"id": "b", "text": "Ada"}',
        '{"id": [2], "text": "Ada"}',
        '{"id": "\\ud800", "text": "Ada"}',
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    assert run("in.jsonl", "out.parquet") == 0
    assert parquet.read_table(tmp_path / "out.parquet")["id"].to_pylist() == ["1", "b", "[2]", "\\ud800"]


def test_an_empty_input_gives_an_empty_output_of_every_format(run, tmp_path):
    (tmp_path / "in.jsonl").write_text("")
    (tmp_path / "in.csv").write_text("")
    (tmp_path / "in.json").write_text("[]")
    for target in ("out.jsonl", "out.json", "out.csv", "out.parquet", "out.arrow", "out.jsonl.gz"):
        for source in ("in.jsonl", "in.csv", "in.json"):
            assert run(source, target) == 0, (source, target)
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert json.loads((tmp_path / "out.json").read_text()) == []
    assert (tmp_path / "out.csv").read_text() == "id,error\n"
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0


def test_text_out_is_a_line_an_answer(run, tmp_path):
    (tmp_path / "in.txt").write_text("A wonderful film.\n\nThe food was cold and bland.\n")
    assert run("in.txt", "out.txt", task="sentiment-analysis", model=None) == 3  # the empty line
    assert (tmp_path / "out.txt").read_text() == "POSITIVE\n\nNEGATIVE\n"


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ("text=absent", "in.csv has no column 'absent'; it has 'id', 'text'"),
        ("text", "--columns must be field=column,...; got 'text'"),
        ("=text", "--columns must be field=column,...; got '=text'"),
    ],
)
def test_columns_that_are_not_there_are_refused(run, tmp_path, capsys, columns, text):
    (tmp_path / "in.csv").write_text("id,text\n1,Ada\n")
    assert run("in.csv", "out.jsonl", "--columns", columns) == 2
    assert capsys.readouterr().err == f"afterlogits: {text}\n"
    assert run("in.csv", "out.jsonl", "--keep", "absent") == 2


def test_a_line_without_the_column_is_one_failure(run, records, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"q": "Ada"}\n{"p": "Ada"}\n"Ada"\n')
    assert run("in.jsonl", "out.jsonl", "--columns", "text=q") == 3
    assert [record.get("error") for record in records("out.jsonl")] == [
        None,
        "line 2: item must have a column 'q'; got 'p'",
        None,
    ]


def test_standard_output_in_a_format_that_needs_all_rows(run, tmp_path, capfdbinary):
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "out.csv") == run("in.txt", "-", "--output-format", "csv") == 0
    assert capfdbinary.readouterr().out == (tmp_path / "out.csv").read_bytes()


def test_an_old_data_set_is_replaced_and_another_folder_is_not(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "set", "--output-format", "dataset") == 0
    (tmp_path / "set" / "mark").write_text("old")
    assert run("in.txt", "set", "--output-format", "dataset") == 0
    assert sorted(os.listdir(tmp_path / "set")) == ["data-00000-of-00001.arrow", "dataset_info.json", "state.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    assert run("in.txt", "mine", "--output-format", "dataset") == 2
    assert os.listdir(tmp_path / "mine") == ["file"]


def test_several_splits_are_refused(run, tmp_path, capsys):
    save_as("dataset", tmp_path)
    (tmp_path / "sets").mkdir()
    shutil.move(tmp_path / "in.dataset", tmp_path / "sets" / "train")
    (tmp_path / "sets" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert run("sets", "out.jsonl") == 2
    assert capsys.readouterr().err == "afterlogits: cannot read sets: it holds several splits; name the folder of one\n"
    assert run("sets/train", "out.jsonl", "--columns", "text=q") == 0


@pytest.mark.parametrize(
    ("opening", "wanted", "found"),
    [
        (b'[\n {"a": 1}]', "", "json"),
        (b'["a", "b"]\n["c", "d"]\n', "json", "jsonl"),
        (b'[["a", "b"],\n ["c", "d"]]\n', "json", "json"),
        (b'{"a": 1}\n', "json", "jsonl"),
        (b'{"a": 1}\n', "", "jsonl"),
        (b"a line\n", "", "text"),
        (b"", "", "text"),
        (b"[x", "jsonl", "jsonl"),
    ],
)
def test_text_of_no_suffix_is_known_by_its_beginning(opening, wanted, found):
    assert text_format("name", wanted, opening) == found


def test_suffixes():
    assert by_suffix("a.JSONL.GZ") == Format("jsonl", "gzip")
    assert by_suffix("a.tsv.zst") == Format("tsv", "zstd")
    assert (output_format("-", "auto"), output_format("a.b", "auto")) == (Format("jsonl"), Format("jsonl"))
    assert output_format("a.gz", "csv") == Format("csv", "gzip")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"id": VALUES}, optional={"result": VALUES, "kept": VALUES}), max_size=6))
def test_any_rows_become_a_table(tmp_path_factory, rows):
    """Whatever the values, Parquet and Arrow take them: typed where they have a type in common, else as JSON."""
    place = tmp_path_factory.mktemp("table") / "file"
    lines = [(json.dumps(row) + "\n").encode() for row in rows]
    for kind in ("parquet", "arrow"):
        write_table(kind, place, lambda: iter(lines))
        table = parquet.read_table(place) if kind == "parquet" else ipc.open_file(str(place)).read_all()
        found = table.to_pylist()
        assert [row["id"] is None for row in found] == [row["id"] is None for row in rows]
        plain = [row["id"] for row in rows if isinstance(row["id"], str)]
        if len(plain) == len(rows) and all(text.isascii() for text in plain):
            assert [row["id"] for row in found] == plain


def test_rows_cut_into_shards_any_way_are_the_same_file(tmp_path):
    """Row groups and batches are counted in rows of the whole."""
    lines = [(json.dumps({"id": n, "result": [{"label": "a", "score": n / 7}]}) + "\n").encode() for n in range(20_000)]
    for kind in ("parquet", "arrow", "csv", "json"):
        write(Format(kind), tmp_path / "one", lambda: iter(lines), lambda: iter([b"".join(lines)]))
        write(Format(kind), tmp_path / "two", lambda: iter(lines), lambda: iter(lines))
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write(Format("parquet"), tmp_path / "one", lambda: iter(lines), lambda: iter(lines))
    groups = parquet.ParquetFile(tmp_path / "one").metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [8192, 8192, 3616]


def test_a_table_row_that_is_no_text_costs_itself_alone(tmp_path):
    bad = pyarrow.Array.from_buffers(
        pyarrow.string(),
        3,
        [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pyarrow.py_buffer(b"a\xffb")],
    )
    with ipc.new_file(str(tmp_path / "in.arrow"), pyarrow.schema([("text", pyarrow.string())])) as sink:
        sink.write_table(pyarrow.table({"text": bad}))
    source = Source(str(tmp_path / "in.arrow"), "auto", 100)
    values = [value for value, _ in source.records()]
    source.close()
    assert values[0] == {"text": "a"} and values[2] == {"text": "b"} and "utf-8" in str(values[1].error)


def test_totals(tmp_path):
    for kind, total in (("jsonl", 300), ("parquet", 300), ("arrow", 300), ("csv", None), ("jsonl.gz", None)):
        source = Source(str(tmp_path / save_as(kind, tmp_path)), "auto", 1000)
        assert source.total() == total
        source.close()
