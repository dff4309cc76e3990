"""The command line: its commands and options, help texts, and bad commands in one line."""

import io
import json
import os
import subprocess
import sys

import pytest

from afterlogits.adapters.cli.commands import main
from afterlogits.adapters.cli.option_help import NOT_HERE, OPTIONS
from afterlogits.adapters.cli.parser import COMMANDS, completion_script, parse, parse_value, task_options
from afterlogits.adapters.running.options import option_names
from afterlogits.adapters.tasks.table import TASKS, task_names
from tests.builders.text_models import tiny_model, wordpiece


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ner")
    wordpiece().save_pretrained(folder)
    tiny_model("token-classification", wordpiece()).save_pretrained(folder)
    return str(folder)


def run(*arguments):
    return main(["run", *map(str, arguments)])


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_plain_text_becomes_a_record_a_line_in_order(tmp_path, checkpoint):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("Ada works in Paris.\nx\nMaria was in 東京 😀\n", encoding="utf-8")
    assert (
        run("ner", "--input", source, "--output", target, "--model", checkpoint, "--aggregation-strategy", "simple")
        == 0
    )
    found = records(target)
    assert [record["id"] for record in found] == [1, 2, 3]
    assert all(list(entity) == ["entity_group", "score", "word", "start", "end"] for entity in found[0]["result"])
    assert found[0]["result"] and found[2]["result"]
    assert set(tmp_path.iterdir()) == {source, target}


def test_bad_lines_become_records_that_name_them(tmp_path, checkpoint):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        b'{"id": "a", "text": "Ada"}',
        b"{bad",
        b'{"x": 1}',
        b'{"text": 5}',
        b"\xff",
        b"",
        b'"Maria"',
        b'{"text": ""}',
    ]
    source.write_bytes(b"\n".join(lines) + b"\n")
    assert run("ner", "--input", source, "--output", target, "--model", checkpoint) == 3
    found = records(target)
    assert [record["id"] for record in found] == ["a", 2, 3, 4, 5, 6, 7, 8]
    assert [record.get("error") for record in found] == [
        None,
        "line 2: invalid JSON: Expecting property name enclosed in double quotes at column 2",
        "line 3: item must have a field 'text' or 'inputs'; got fields 'x'",
        "line 4: text must be a string; got int",
        "line 5: not valid UTF-8 at byte 1",
        "line 6: invalid JSON: Expecting value at column 1",
        None,
        "line 8: text must not be empty; got ''",
    ]


def test_standard_input_and_output(monkeypatch, capsys, checkpoint):
    lines = io.TextIOWrapper(io.BytesIO(b'{"text": "Ada", "id": 9}\n"Paris"\n'), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", lines)
    assert run("ner", "--input", "-", "--output", "-", "--model", checkpoint, "--quiet") == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [9, 2]
    assert err == ""


def test_an_empty_file_gives_an_empty_file(tmp_path, checkpoint):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("")
    assert run("ner", "--input", source, "--output", target, "--model", checkpoint) == 0
    assert target.read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["rum"], "unknown command 'rum'; did you mean 'run'? (demo, run, serve, bench, completion)"),
        (["run", "nerr", "--input", "a", "--output", "b"], "unknown task 'nerr'; did you mean 'ner'?"),
        (["run", "ner"], "the following arguments are required: --input, --output"),
        (["run", "ner", "--input", "absent", "--output", "b"], "cannot read absent: No such file or directory"),
        (["run", "ner", "--input", ".", "--output", "b"], "cannot read .: it is a directory, and ner answers texts"),
        (
            ["run", "ner", "--input", "in", "--output", "absent/b"],
            "cannot write absent/b: No such file or directory",
        ),
        (["run", "ner", "--input", "in", "--output", "."], "cannot write .: it is a directory"),
        (
            ["run", "ner", "--input", "in", "--output", "b", "--agregation-strategy", "simple"],
            "unknown option 'agregation_strategy' for token-classification; did you mean 'aggregation_strategy'?",
        ),
        (
            ["run", "ner", "--input", "in", "--output", "b", "--batch-token", "5"],
            "unknown option 'batch_token' for token-classification; did you mean 'batch_tokens'?",
        ),
        (
            ["run", "ner", "--input", "in", "--output", "b", "--model", "/absent"],
            "model must be a folder that exists or a name on the hub; got '/absent'",
        ),
        (
            ["run", "ner", "--input", "in", "--output", "b", "simple"],
            "unexpected argument 'simple'; options are given as --name value",
        ),
        (
            ["run", "ner", "--input", "in", "--output", "b", "--batch-tokens", "x"],
            "argument --batch-tokens: invalid int value: 'x'",
        ),
    ],
)
def test_a_bad_command_is_one_line_and_exit_status_2(tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("x\n")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"afterlogits: {text}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_wrong_value_of_an_option_is_one_line_too(tmp_path, capsys, checkpoint):
    source = tmp_path / "in.txt"
    source.write_text("x\n")
    given = ("--model", checkpoint, "--aggregation-strategy", "simpl")
    assert run("ner", "--input", source, "--output", tmp_path / "b", *given) == 2
    assert capsys.readouterr().err == (
        "afterlogits: aggregation_strategy must be one of 'none', 'simple', 'first', 'average', 'max'; got 'simpl'\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_may_not_be_written(tmp_path, capsys):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("x\n")
    target.write_text("old")
    target.chmod(0o444)
    assert run("ner", "--input", source, "--output", target) == 2
    assert capsys.readouterr().err == f"afterlogits: cannot write {target}: Permission denied\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ("False", False), ("None", None), ("[1, 2]", [1, 2]), ("a, b", "a, b")],
)
def test_values_of_options_are_read_as_what_they_look_like(text, value):
    assert parse_value(text) == value


def test_help_names_every_task(capsys):
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"    {name}" in out for name in task_names())
    told = {line.split()[0]: line for line in out.splitlines() if line.startswith("    ")}
    assert told["fill-mask"].endswith("AutoModelForMaskedLM (one ships)")
    assert told["mask-generation"].endswith("AutoModelForMaskGeneration")
    assert main(["--help"]) == 0
    assert all(name in capsys.readouterr().out for name in ["run"])
    assert main([]) == 2


@pytest.mark.parametrize("name", ["ner", "text-generation", "question-answering", "translation_en_to_fr"])
def test_the_help_of_a_task_lists_its_options_with_their_defaults(capsys, name):
    assert main(["run", name, "--help"]) == 0
    out = capsys.readouterr().out
    task = next(task for task in TASKS.values() if name in (task.name, *task.aliases) or name.startswith(task.name))
    for option in [*option_names(task.options), *(task.forwarded() - NOT_HERE), "input", "batch_tokens", "seed"]:
        assert f"--{option.replace('_', '-')} " in out, option
    if name == "question-answering":
        words = " ".join(out.split())
        assert "how many answers an item gets (default: 1)" in words
        assert "answers begin and end with whole words (default: true)" in words
        assert "default: 2048, or 32768 on a GPU" in words


TEXT_TASKS = [task for task in TASKS.values() if ".tasks.text." in task.forward.__module__]


@pytest.mark.parametrize("task", TEXT_TASKS, ids=lambda task: task.name)
def test_every_option_has_a_sentence(task):
    assert [name for name in option_names(task.options) if not OPTIONS.get(name)] == []


def test_options_are_read_by_either_spelling_and_as_flags():
    head = ["run", "ner", "--input", "a", "--output", "b"]
    for spelling in ("--aggregation-strategy", "--aggregation_strategy"):
        known, _ = parse([*head, spelling, "simple", "--is-split-into-words", "--stride=3", "--scheme", "null"])
        assert task_options(known) == {
            "aggregation_strategy": "simple",
            "is_split_into_words": True,
            "stride": 3,
            "scheme": None,
        }
    assert task_options(parse(head)[0]) == {}


def test_options_of_generate_reach_the_pipeline(tmp_path):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("The baker\n")
    assert (
        run("text-generation", "--input", source, "--output", target, "--max-new-tokens", 3, "--do-sample", "false")
        == 0
    )
    short = records(target)[0]["result"][0]["generated_text"]
    assert (
        run("text-generation", "--input", source, "--output", target, "--max-new-tokens", 9, "--do-sample=false") == 0
    )
    assert records(target)[0]["result"][0]["generated_text"].startswith(short)
    assert len(records(target)[0]["result"][0]["generated_text"]) > len(short)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_tasks_and_options(capsys, shell):
    pytest.importorskip("shtab", reason="shtab is not installed: pip install 'afterlogits[completion]'")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert script.strip() == completion_script(shell).strip()
    for word in ("completion", "question-answering", "--max-answer-len", "--aggregation-strategy", "--output-format"):
        assert word in script


def test_bash_completes_by_that_script(tmp_path):
    pytest.importorskip("shtab", reason="shtab is not installed: pip install 'afterlogits[completion]'")
    script = tmp_path / "script"
    script.write_text(completion_script("bash"))
    ask = (
        f"source {script}; COMP_WORDS=(afterlogits run ner --aggr); COMP_CWORD=3; "
        '$(complete -p afterlogits | sed "s/.*-F \\([^ ]*\\).*/\\1/") afterlogits --aggr ner; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True)
    assert "--aggregation-strategy" in done.stdout.split(), done.stderr


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "afterlogits", "rum"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "afterlogits: unknown command 'rum'; did you mean 'run'? (demo, run, serve, bench, completion)\n"
    )


def test_the_version(capsys):
    from afterlogits import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_demo_and_bench_read_their_own_arguments(capsys):
    for command in ("demo", "bench"):
        assert main([command, "--help"]) == 0
        assert "usage:" in capsys.readouterr().out
    assert set(COMMANDS) == {"demo", "run", "serve", "bench", "completion"}
