"""What used to fall: one test for every such input, output and checkpoint, and for the others of its kind."""

import gzip
import json
import os
import shutil

import pyarrow
import pytest
import transformers
from pyarrow import parquet

from afterlogits import pipeline
from afterlogits.adapters.checkpoints import path as shipped
from afterlogits.adapters.cli.commands import main
from afterlogits.adapters.running.loading import NewWeights
from afterlogits.adapters.running.parts import NoVocabulary
from tests.builders.forks import command
from tests.builders.versions import V4

GOOD = '{"id": "good", "text": "Ada was in Paris."}'
BAD_LINES = {
    "an integer of 5,000 digits": (
        '{"text": "Ada", "n": ' + "9" * 5000 + "}",
        "invalid JSON: a number of too many digits",
    ),
    "a negative one": ('{"text": "Ada", "n": -' + "9" * 5000 + "}", "invalid JSON: a number of too many digits"),
    "100,000 lists in lists": ("[" * 100_000, "invalid JSON: nested too deeply"),
    "100,000 records in records": ('{"a":' * 100_000, "invalid JSON: nested too deeply"),
    "a number alone": ("7", "text must be a string; got int"),
    "half a record": ('{"text": "Ada', "invalid JSON: Unterminated string starting at column 10"),
    "nothing": ("", "invalid JSON: Expecting value at column 1"),
    "a text with a lone surrogate": ('{"text": "\\ud800"}', None),
    "a text that is NaN": ('{"text": NaN}', "text must be a string; got NoneType"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_costs_no_other(run, records, tmp_path, capsys, kind):
    line, reason = BAD_LINES[kind]
    (tmp_path / "in.jsonl").write_text(f"{GOOD}\n{line}\n{GOOD}\n", encoding="utf-8")
    assert run("in.jsonl", "out.jsonl") == 3
    first, bad, last = records("out.jsonl")
    assert first == last and first["id"] == "good" and "result" in first
    assert bad["id"] == 2 and (reason is None or bad["error"] == f"line 2: {reason}")
    assert capsys.readouterr().err == f"afterlogits: 1 of 3 lines not answered; the first: {bad['error']}\n"
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


IDS = {
    '"\\ud800"': "\ud800",
    '["\\udfff"]': ["\udfff"],
    "NaN": None,
    "-Infinity": None,
    "1e999": None,
    '{"a": [NaN]}': {"a": [None]},
    "null": None,
    "[1.5, true]": [1.5, True],
    '"' + "x" * 100_000 + '"': "x" * 100_000,
    "9" * 4000: int("9" * 4000),
}


@pytest.mark.parametrize("given", IDS, ids=lambda given: given[:12])
def test_an_id_of_any_kind_comes_back_as_json(run, records, tmp_path, given):
    (tmp_path / "in.jsonl").write_text(f'{GOOD}\n{{"id": {given}, "text": "Ada"}}\n', encoding="utf-8")
    assert run("in.jsonl", "out.jsonl") == 0
    assert records("out.jsonl")[1]["id"] == IDS[given]


def test_a_carried_column_that_is_too_deep_costs_its_line_alone(run, records, tmp_path):
    """What can just be read need not be writable: the encoder's limit is another."""
    deep = "[" * 940 + "]" * 940
    lines = [f'{{"text": "Ada", "deep": {"[" * n + "]" * n}}}' for n in range(900, 1000, 7)]
    (tmp_path / "in.jsonl").write_text("\n".join([GOOD, *lines, GOOD]) + "\n", encoding="utf-8")
    assert len(deep) == 1880
    assert run("in.jsonl", "out.jsonl", "--keep", "deep") in (0, 3)
    found = records("out.jsonl")
    assert len(found) == len(lines) + 2 and found[0]["result"] == found[-1]["result"]


def test_a_byte_order_mark_is_no_part_of_the_text(run, records, tmp_path):
    mark = b"\xef\xbb\xbf"
    lines = (GOOD + "\n" + GOOD + "\n").encode()
    (tmp_path / "in.jsonl").write_bytes(mark + lines)
    (tmp_path / "plain.jsonl").write_bytes(lines)
    (tmp_path / "in.txt").write_bytes(mark + 2 * b"Ada was in Paris.\n")  # two of each, so that batches are alike
    (tmp_path / "in.data").write_bytes(mark + lines)  # a suffix that says nothing: the content does
    (tmp_path / "in.csv").write_bytes(mark + b"text,id\n" + 2 * b"Ada was in Paris.,good\n")
    (tmp_path / "in.json").write_bytes(mark + f"[{GOOD}, {GOOD}]".encode())
    for name in ("in.jsonl", "plain.jsonl", "in.txt", "in.data", "in.csv", "in.json"):
        assert run(name, "out.jsonl") == 0, name
        assert records("out.jsonl")[0]["result"], name
        (tmp_path / f"{name}.out").write_bytes((tmp_path / "out.jsonl").read_bytes())
    assert (
        len({json.dumps(records(f"{name}.out")[0]["result"]) for name in ("in.jsonl", "in.txt", "in.csv", "in.json")})
        == 1
    )
    assert (tmp_path / "in.jsonl.out").read_bytes() == (tmp_path / "plain.jsonl.out").read_bytes()


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json.gz", ".txt.gz", ".gz", ""])
def test_what_is_compressed_is_not_read_as_text(run, records, tmp_path, suffix):
    text = "Ada was in Paris.\n" if suffix == ".txt.gz" else f"{GOOD}\n"
    (tmp_path / f"in{suffix}").write_bytes(gzip.compress(text.encode()))
    assert run(f"in{suffix}", "out.jsonl") == 0
    assert len(records("out.jsonl")) == 1 and records("out.jsonl")[0]["result"]


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("in.txt", b"PAR1....", "cannot read in.txt as text: it is parquet"),
        ("in.jsonl", b"ARROW1\0\0", "cannot read in.jsonl as jsonl: it is arrow"),
        ("in.parquet", b"text\n", "cannot read in.parquet: it is not parquet"),
        ("in.arrow", b"text\n", "cannot read in.arrow: it is not arrow"),
        ("in.jsonl.gz", b"{}\n", "cannot read in.jsonl.gz: it is not compressed with gzip"),
        ("in.xlsx", b"PK\x03\x04....", "cannot read in.xlsx: it is a zip archive or a workbook"),
        ("in.bin", b"a\x00b", "cannot read in.bin: it is no text; name its format with --format"),
        ("in.txt", b"\xff\xfea\x00", "cannot read in.txt: it is text in UTF-16"),
        ("in.csv", b"a,a\n1,2\n", "the header has two columns 'a'"),
        (
            "in.tsv",
            b"a\tb\r1\t2\r",
            "cannot read in.tsv: the header is no row: new-line character seen in unquoted field",
        ),
    ],
)
def test_a_file_that_is_not_what_it_seems_is_one_line(run, tmp_path, capsys, name, data, text):
    (tmp_path / name).write_bytes(data)
    assert run(name, "out.jsonl") == 2
    assert capsys.readouterr().err == f"afterlogits: {text}\n"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("cut", [5, 20, 40])
def test_a_compressed_file_that_is_cut_short_is_one_line(run, tmp_path, capsys, cut):
    whole = gzip.compress((GOOD + "\n").encode() * 3)
    (tmp_path / "in.jsonl.gz").write_bytes(whole[:cut])
    assert run("in.jsonl.gz", "out.jsonl") == 2
    err = capsys.readouterr().err
    assert err.startswith("afterlogits: cannot read in.jsonl.gz: ") and err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_json_array_is_an_item_an_element(run, records, tmp_path):
    items = [{"id": n, "text": f"Ada, was in [Paris] \\ {{{n}}}"} for n in range(40)]
    (tmp_path / "in.json").write_text(json.dumps(items, indent=2), encoding="utf-8")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    assert run("in.json", "a.jsonl") == run("in.jsonl", "b.jsonl") == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert [record["id"] for record in records("a.jsonl")] == list(range(40))


def test_every_line_bad_is_not_a_success(run, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text("a\n" * 1200)
    assert run("in.jsonl", "out.jsonl") == 3
    assert "1,200 of 1,200 lines not answered; the first: line 1: invalid JSON" in capsys.readouterr().err


def test_the_output_must_not_be_the_input(run, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text(f"{GOOD}\n")
    os.symlink("in.jsonl", tmp_path / "link.jsonl")
    os.link(tmp_path / "in.jsonl", tmp_path / "hard.jsonl")
    for target in ("in.jsonl", "./in.jsonl", "link.jsonl", "hard.jsonl"):
        assert run("in.jsonl", target) == 2
        assert capsys.readouterr().err == "afterlogits: --output must not be the input; got in.jsonl for both\n"
    assert (tmp_path / "in.jsonl").read_text() == f"{GOOD}\n"


def test_a_link_is_written_through(run, records, tmp_path):
    (tmp_path / "in.jsonl").write_text(f"{GOOD}\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "real.jsonl").write_text("old")
    os.symlink("data/real.jsonl", tmp_path / "out.jsonl")
    os.symlink("data/new.jsonl", tmp_path / "dangling.jsonl")
    for name in ("out.jsonl", "dangling.jsonl"):
        assert run("in.jsonl", name) == 0
        assert (tmp_path / name).is_symlink() and len(records(name)) == 1
    assert sorted(os.listdir(tmp_path / "data")) == ["new.jsonl", "real.jsonl"]


def test_the_mode_of_an_output_that_was_there_stays(run, tmp_path):
    (tmp_path / "in.jsonl").write_text(f"{GOOD}\n")
    (tmp_path / "out.jsonl").write_text("old")
    (tmp_path / "out.jsonl").chmod(0o640)
    assert run("in.jsonl", "out.jsonl") == 0
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o640


def test_a_file_that_changes_while_it_is_read_is_no_success(run, tmp_path, capsys, monkeypatch):
    """Truncated half-way: 502 records of 3,000 were once written as if they were all."""
    source = tmp_path / "in.jsonl"
    source.write_text(f"{GOOD}\n" * 3000)
    from afterlogits.adapters.jobs import answering

    seen = []
    render = answering.render

    def cutting(entry, answer, noun, **options):
        seen.append(entry.number)
        if entry.number == 40:
            os.truncate(source, 60_000)
        return render(entry, answer, noun, **options)

    monkeypatch.setattr(answering, "render", cutting)
    assert run("in.jsonl", "out.jsonl") == 2
    assert len(seen) < 3000
    assert capsys.readouterr().err == "afterlogits: in.jsonl changed while it was read; what was answered is kept\n"
    assert not (tmp_path / "out.jsonl").exists()


def test_columns_come_along_on_request(run, records, tmp_path):
    line = '{"id": 5, "text": "Ada", "url": "u", "result": 1, "n": 2}\n'
    (tmp_path / "in.jsonl").write_text(line)
    assert run("in.jsonl", "none.jsonl") == run("in.jsonl", "some.jsonl", "--keep", "url,result,absent") == 0
    assert run("in.jsonl", "all.jsonl", "--keep", "all") == 0
    assert list(records("none.jsonl")[0]) == ["id", "result"]
    assert list(records("some.jsonl")[0].items())[:-1] == [
        ("id", 5),
        ("url", "u"),
        ("input_result", 1),
        ("absent", None),
    ]
    assert list(records("all.jsonl")[0]) == ["id", "text", "url", "input_result", "n", "result"]


def broken(folder, name, data):
    """A copy of the shipped ner model with one file replaced, or removed if ``data`` is None."""
    shutil.copytree(shipped("ner"), folder)
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    (folder / name).unlink(missing_ok=True)
    if data is not None:
        (folder / name).write_bytes(data)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("model.safetensors", b"", "SafetensorError: Error while deserializing header: header too small"),
        ("model.safetensors", "half", "SafetensorError: "),
        ("pytorch_model.bin", b"hello", "KeyError: "),
        ("pytorch_model.bin", b"", "EOFError"),
        ("model.safetensors", None, "Error no file named model.safetensors, or pytorch_model.bin, found in directory"),
        (
            "tokenizer.json",
            None,
            "one of: (1) a `tokenizers` library serialization file, (2) a slow tokenizer instance to",
        ),
        ("tokenizer.json", b"{", "JSONDecodeError: "),
        ("tokenizer_config.json", b"[]", "AttributeError: "),
        ("config.json", b"{", "not a valid JSON file"),
        ("config.json", b"{}", "Unrecognized model in"),
        ("config.json", b'{"model_type": "nope"}', "has model type `nope`"),
        ("config.json", None, "Unrecognized model in"),
    ],
)
def test_a_broken_checkpoint_is_one_whole_line(run, tmp_path, capsys, name, data, text):
    if data == "half":
        data = (shipped("ner") / name).read_bytes()[:5000]
    (tmp_path / "in.txt").write_text("Ada\n")
    folder = broken(tmp_path / "model", name, data)
    capsys.readouterr()
    assert run("in.txt", "out.jsonl", model=folder) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("afterlogits: ")]
    assert len(err) == 1 and not err[0].endswith(":")
    assert text in err[0] or V4  # the words are those of transformers 5
    assert sorted(os.listdir(tmp_path)) == ["in.txt", "model"]


@pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 refuses what 5 makes up")
@pytest.mark.parametrize(("task", "folder"), [("ner", "ner"), ("feature-extraction", "masked-lm")])
def test_a_tokenizer_without_words_is_an_error(run, tmp_path, capsys, task, folder):
    """Without any of its files transformers 5 makes one of special tokens alone: every answer was that to [UNK]."""
    model = tmp_path / "model"
    shutil.copytree(shipped(folder), model)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    (tmp_path / "in.jsonl").write_text('"Ada"\n')
    assert run("in.jsonl", "out.jsonl", task=task, model=str(model)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"afterlogits: {model} holds no vocabulary for BertTokenizer: ") and err.count("\n") == 1
    assert run("in.jsonl", "out.jsonl", "--allow-new-weights", task=task, model=str(model)) == 0
    with pytest.warns(NoVocabulary, match="every word is unknown to it"):
        pipeline(task, model=str(model))


def test_a_warning_of_a_bad_pickle_is_no_second_line(tmp_path):
    folder = broken(tmp_path / "model", "pytorch_model.bin", b"\x80\x04junk")
    (tmp_path / "in.txt").write_text("Ada\n")
    given = ("run", "ner", "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl", "--model", folder)
    status, err = told(*given)
    # transformers opens no pickle at all with torch below 2.6
    assert status == 2 and err.count("\n") == 1
    assert err.startswith(
        ("afterlogits: cannot load ", "afterlogits: Due to a serious vulnerability issue in `torch.load`")
    )


@pytest.mark.parametrize(
    ("task", "folder", "names"),
    [
        ("question-answering", "sentiment", "qa_outputs.bias, qa_outputs.weight"),
        ("ner", "masked-lm", "classifier.bias, classifier.weight"),
        ("text-classification", "ner", "bert.pooler.dense.bias, bert.pooler.dense.weight"),
        ("fill-mask", "sentiment", "cls.predictions.bias"),
    ],
)
def test_a_head_that_is_not_in_the_checkpoint_is_an_error(run, tmp_path, capsys, task, folder, names):
    (tmp_path / "in.jsonl").write_text('{"question": "Who?", "context": "Ada.", "text": "Ada [MASK]."}\n')
    status = run("in.jsonl", "out.jsonl", task=task, model=str(shipped(folder)))
    err = capsys.readouterr().err
    assert status == 2 and os.listdir(tmp_path) == ["in.jsonl"]
    assert err.count("\n") == 1 and f"holds no weights for {names}" in err
    assert err.endswith("--allow-new-weights runs it all the same\n")
    assert run("in.jsonl", "out.jsonl", "--allow-new-weights", task=task, model=str(shipped(folder))) == 0


def test_a_pooler_that_no_answer_goes_through_is_no_missing_head(run, tmp_path):
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "out.jsonl", task="feature-extraction", model=None) == 0


def test_a_missing_file_of_a_folder_is_one_line(run, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "state.json").write_text('{"_data_files": [{"filename": "absent.arrow"}]}')
    assert run("set", "out.jsonl") == 2
    err = capsys.readouterr().err
    assert err.startswith("afterlogits: cannot read set: ") and err.count("\n") == 1


def read_all(handle):
    with open(handle, "rb") as stream:
        return stream.read().decode()


def test_devices_and_closed_pipes_end_without_a_traceback(checkpoint, tmp_path):
    (tmp_path / "in.txt").write_text("Ada was in Paris.\n" * 2000)
    head = ("run", "ner", "--input", tmp_path / "in.txt", "--model", checkpoint, "--quiet", "--output")
    full = os.open("/dev/full", os.O_WRONLY)
    for target, name, stdout in (("/dev/full", "/dev/full", None), ("-", "standard output", full)):
        told, tell = os.pipe()
        job = command(*head, target, stderr=tell, **({} if stdout is None else {"stdout": stdout}))
        os.close(tell)
        assert read_all(told) == f"afterlogits: cannot write {name}: No space left on device\n"
        assert job.wait() == 2
    os.close(full)
    told, tell = os.pipe()
    out, to_out = os.pipe()
    job = command(*head, "-", stdout=to_out, stderr=tell)
    os.close(tell)
    os.close(to_out)
    with open(out, encoding="utf-8") as reader:  # as head -1 does
        assert json.loads(reader.readline())["id"] == 1
    assert (read_all(told), job.wait()) == ("", 141)
    assert os.listdir(tmp_path) == ["in.txt"]


def test_a_pipe_is_an_output_too(checkpoint, tmp_path):
    (tmp_path / "in.txt").write_text("Ada\n" * 50)
    os.mkfifo(tmp_path / "out")
    job = command("run", "ner", "--input", tmp_path / "in.txt", "--model", checkpoint, "--output", tmp_path / "out")
    with open(tmp_path / "out", encoding="utf-8") as reader:
        assert len(reader.readlines()) == 50
    assert job.wait() == 0


def told(*arguments, **handles):
    """The exit status of a command in a process of its own, and its standard error."""
    out, tell = os.pipe()
    job = command(*arguments, stderr=tell, **handles)
    os.close(tell)
    err = read_all(out)
    return job.wait(), err


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_pipe_has_a_name_too(checkpoint, tmp_path, name):
    """What a shell's >(command) is: a link that leads to no file."""
    (tmp_path / "in.txt").write_text("Ada\n" * 50)
    out, to_out = os.pipe()
    job = command("run", "ner", "--input", tmp_path / "in.txt", "--model", checkpoint, "--output", name, stdout=to_out)
    os.close(to_out)
    assert read_all(out).count("\n") == 50
    assert job.wait() == 0


@pytest.mark.parametrize("arguments", [["run", "ner", "--help"], ["--version"], ["dry"]], ids=lambda each: each[0])
def test_a_full_disk_under_standard_output_is_one_line(checkpoint, tmp_path, arguments):
    (tmp_path / "in.txt").write_text("Ada\n" * 50)
    dry = ["run", "ner", "--input", tmp_path / "in.txt", "--model", checkpoint, "--output", "-", "--dry-run"]
    full = os.open("/dev/full", os.O_WRONLY)
    status, err = told(*(dry if arguments == ["dry"] else arguments), stdout=full)
    os.close(full)
    assert (status, err) == (2, "afterlogits: cannot write standard output: No space left on device\n")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_table_comes_through_a_pipe(checkpoint, tmp_path, kind):
    table = pyarrow.table({"text": ["Ada was in Paris."] * 3})
    if kind == "parquet":
        parquet.write_table(table, tmp_path / "in")
    else:
        with pyarrow.ipc.new_file(str(tmp_path / "in"), table.schema) as writer:
            writer.write_table(table)
    for name in ("-", "/dev/stdin"):
        source, to_source = os.pipe()
        os.write(to_source, (tmp_path / "in").read_bytes())
        os.close(to_source)
        given = ("run", "ner", "--input", name, "--output", tmp_path / "out.jsonl", "--model", checkpoint)
        assert told(*given, stdin=source) == (0, "")
        os.close(source)
        assert (tmp_path / "out.jsonl").read_text().count('"result"') == 3


def test_a_redirection_must_not_be_the_input(checkpoint, tmp_path):
    given = ("run", "ner", "--model", checkpoint)
    (tmp_path / "in.jsonl").write_text(f"{GOOD}\n")
    source = os.open(tmp_path / "in.jsonl", os.O_RDWR | os.O_APPEND)
    line = "afterlogits: --output must not be the input; got {} for both\n"
    same = (*given, "--input", "-", "--output", tmp_path / "in.jsonl")
    assert told(*same, stdin=source) == (2, line.format("-"))
    appended = (*given, "--input", tmp_path / "in.jsonl", "--output", "-")
    assert told(*appended, stdout=source) == (2, line.format(tmp_path / "in.jsonl"))
    os.close(source)
    assert (tmp_path / "in.jsonl").read_text() == f"{GOOD}\n"


def test_files_beside_the_output_are_not_the_input(run, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text(f"{GOOD}\n")
    for log in ("in.jsonl", "./out.jsonl"):
        assert run("in.jsonl", "out.jsonl", "--log", log) == 2
        assert capsys.readouterr().err == f"afterlogits: --log must be neither the input nor the output; got {log}\n"
    (tmp_path / "pictures").mkdir()
    for folder in ("pictures", "pictures/drawn"):
        assert run("pictures", "out.jsonl", "--pictures", folder, task="object-detection", model=None) == 2
        assert capsys.readouterr().err == (
            f"afterlogits: --pictures must not lie in the input, which would then hold them; got {folder}\n"
        )
    assert (tmp_path / "in.jsonl").read_text() == f"{GOOD}\n"


@pytest.mark.parametrize("length", [246, 250, 251, 256])
def test_a_name_too_long_for_the_work_folder_is_refused_at_once(run, tmp_path, capsys, length):
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "n" * length) == 2
    err = capsys.readouterr().err
    assert err.endswith(": File name too long\n") and err.count("\n") == 1
    assert os.listdir(tmp_path) == ["in.txt"]


def test_a_loop_of_links_is_no_output(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("Ada\n")
    os.symlink("loop", tmp_path / "loop")
    assert run("in.txt", "loop") == 2
    assert capsys.readouterr().err == "afterlogits: cannot write loop: Too many levels of symbolic links\n"
    assert (tmp_path / "loop").is_symlink()


def test_a_full_disk_under_the_log_is_one_line(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "out.jsonl", "--log", "/dev/full") == 2
    assert capsys.readouterr().err == "afterlogits: cannot write the log: No space left on device\n"


def test_options_of_another_engine_are_refused(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "out.jsonl", "--workers", "2") == 2
    assert capsys.readouterr().err == "afterlogits: --workers needs --engine ray\n"


def test_dev_null_is_an_output(run, tmp_path):
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "/dev/null") == 0


def test_the_help_of_a_command_ends_well(capsys):
    assert main(["run", "ner", "--help"]) == 0
    assert "--aggregation-strategy" in capsys.readouterr().out


def test_a_pipeline_warns_of_weights_that_are_not_there():
    with pytest.warns(NewWeights, match=r"holds no weights for qa_outputs.bias, qa_outputs.weight: they are random"):
        pipeline("question-answering", str(shipped("sentiment")))
