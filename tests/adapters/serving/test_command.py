"""``afterlogits serve``: settings by options and files, what it says, how it ends."""

import json
import signal
import socket
import sys
import threading
import time

import pytest

from afterlogits.adapters.checkpoints import path
from afterlogits.adapters.cli.commands import main
from afterlogits.adapters.cli.parser import parse
from afterlogits.adapters.cli.serve_options import settings_of
from afterlogits.adapters.serving.settings import Limits, ModelChoice, Settings
from afterlogits.benchmarks.server_process import serving
from tests.builders.plain_http import get, post

FULL = {
    "host": "0.0.0.0",
    "port": 9000,
    "allowed_hosts": ["models.example"],
    "page": False,
    "limits": {"queue": 7, "seconds": 2.5},
    "models": [{"task": "ner", "name": "names", "options": {"aggregation_strategy": "simple"}}],
}
TOML = """
host = "0.0.0.0"
port = 9000
allowed_hosts = ["models.example"]
page = false
[limits]
queue = 7
seconds = 2.5
[[models]]
task = "ner"
name = "names"
options = { aggregation_strategy = "simple" }
"""


def settings(*arguments):
    known, _ = parse(["serve", *arguments])
    return settings_of(known)


def test_nothing_given_is_every_default():
    assert settings() == Settings()
    assert settings().host == "127.0.0.1" and settings().limits == Limits()


def test_options_belong_to_the_task_before_them():
    found = settings(
        *("--task", "ner", "--model", "a/b", "--option", "aggregation-strategy=simple", "--corrected"),
        *("--task", "text-generation", "--name", "writer", "--device", "cpu", "--dtype", "float32"),
        *("--port", "0", "--max-queue", "9", "--seconds", "3", "--allowed-host", "one", "--allowed-host", "two"),
    )
    first = ModelChoice("ner", "a/b", corrected=True, options={"aggregation_strategy": "simple"})
    assert found.models == (first, ModelChoice("text-generation", name="writer", device="cpu", dtype="float32"))
    assert first.shown_name == "b" and found.models[1].shown_name == "writer"
    assert (found.port, found.allowed_hosts) == (0, ("one", "two"))
    assert (found.limits.queue, found.limits.seconds) == (9, 3.0)


@pytest.mark.parametrize("kind", ["json", "toml"])
def test_a_file_says_the_same_and_options_stand_above_it(tmp_path, kind):
    if kind == "toml" and sys.version_info < (3, 11):
        pytest.skip("TOML needs Python 3.11")
    name = tmp_path / f"serve.{kind}"
    name.write_text(json.dumps(FULL) if kind == "json" else TOML)
    found = settings("--config", str(name))
    choice = ModelChoice("ner", name="names", options={"aggregation_strategy": "simple"})
    assert found == Settings(
        (choice,), "0.0.0.0", 9000, ("models.example",), page=False, limits=Limits(queue=7, seconds=2.5)
    )
    above = settings("--config", str(name), "--port", "1", "--max-queue", "8", "--task", "fill-mask")
    assert (above.port, above.limits.queue, above.limits.seconds) == (1, 8, 2.5)
    assert above.models == (ModelChoice("fill-mask"),)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"prot": 1}', "unknown name 'prot' in the configuration; did you mean 'port'?"),
        ('{"limits": {"queues": 1}}', "unknown name 'queues' in limits; did you mean 'queue'?"),
        ('{"limits": {"queue": 0}}', "queue must be above 0; got 0"),
        ('{"limits": {"queue": "9"}}', "queue must be a number; got '9'"),
        ('{"models": [{"task": "nerr"}]}', "unknown task 'nerr'; did you mean 'ner'?"),
        ('{"models": [{"model": "a"}]}', "every entry of models must be a table with a task; got {'model': 'a'}"),
        ('{"models": [{"task": "ner", "path": "a"}]}', "unknown name 'path' in models; did you mean 'task'?"),
        ('{"port": 99999}', "port must be in [0, 65535]; got 99999"),
        ("[]", "{} must hold a table; got list"),
        ("{", "{} must be JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_what_a_file_gets_wrong_is_one_line(tmp_path, capsys, content, line):
    name = tmp_path / "serve.json"
    name.write_text(content)
    assert main(["serve", "--config", str(name)]) == 2
    said = capsys.readouterr().err
    expected = line.replace("{}", str(name)) if line.startswith("{}") else line
    if "in models" not in line:
        assert said == f"afterlogits: {expected}\n"
    else:
        assert said.startswith("afterlogits: unknown name 'path' in models; ") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--config", "/nowhere.json"], "cannot read /nowhere.json: No such file or directory"),
        (["--model", "a"], "--model must come after the --task it belongs to"),
        (["--task", "ner", "--option", "x"], "--option must be NAME=VALUE; got 'x'"),
        (["--max-qeue", "3"], "unknown option '--max-qeue' for serve; did you mean '--max-queue'?"),
        (["now"], "unexpected argument 'now'; options are given as --name value"),
        (["--task", "mask-generation"], "--model must be given for mask-generation: "),
        (["--task", "ner", "--model", "/nowhere"], "cannot load /nowhere: "),
    ],
    ids=lambda each: str(each)[:30],
)
def test_a_bad_command_is_one_line(capsys, arguments, line):
    assert main(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"afterlogits: {line}") and said.count("\n") == 1


def test_a_head_that_is_not_in_the_checkpoint_is_refused(capsys):
    assert main(["serve", "--task", "question-answering", "--model", str(path("sentiment"))]) == 2
    assert "--allow-new-weights serves it all the same" in capsys.readouterr().err


def test_the_help_has_every_option(capsys):
    assert main(["serve", "--help"]) == 0
    text = capsys.readouterr().out
    for name in Limits.__dataclass_fields__:
        assert name.replace("_", "-") in text, name
    for flag in ("--task", "--model", "--config", "--port", "--host", "--allowed-host", "--no-page", "--option"):
        assert f"  {flag}" in text, flag


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_its_command(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["serve", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert said == f"afterlogits: afterlogits serve needs {missing}: pip install 'afterlogits[serve]'\n"


def test_it_serves_drains_and_ends_with_status_0():
    """SIGTERM: the request under way is answered, the next connection refused; the status is 0 (``serving`` checks)."""
    with serving(["--task", "text-generation", "--name", "writer", "--task", "ner"]) as server:
        assert get(server.base, "/health").json == {"status": "ok"}
        info = get(server.base, "/info").json
        assert [each["task"] for each in info["tasks"]] == ["text-generation", "token-classification"]
        assert {each["name"]: each["help"] for each in info["tasks"][1]["options"]}["aggregation_strategy"]
        assert info["tasks"][0]["model"] == "writer" and "path" not in json.dumps(info)
        found = []

        def long():
            body = {"inputs": "The baker", "parameters": {"max_new_tokens": 400, "min_new_tokens": 400, "seed": 1}}
            found.append(post(server.base, "/text-generation", body))

        thread = threading.Thread(target=long)
        thread.start()
        while "prompt" not in get(server.base, "/metrics").body.decode():
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        thread.join(60)
        assert found[0].status == 200 and len(found[0].json[0]["generated_text"]) > 400
        server.process.wait(30)
        with pytest.raises(OSError):
            post(server.base, "/ner", {"inputs": "Ada"})


def test_a_port_in_use_is_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--task", "ner", "--port", str(port)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"afterlogits: cannot listen on 127.0.0.1:{port}: is the port in use?"


def test_models_that_serve_several_tasks_are_loaded_once():
    from afterlogits.adapters.serving.loaded_models import load_served
    from afterlogits.adapters.serving.metrics import Metrics

    wanted = Settings(tuple(ModelChoice(task) for task in ("summarization", "translation", "ner")))
    first, second, third = load_served(wanted, Metrics())
    assert first.pipe.model is second.pipe.model and first.thread is second.thread
    assert third.thread is not first.thread and third.task.name == "token-classification"


def test_several_models_of_a_task_are_told_apart_by_name():
    from afterlogits import pipeline
    from tests.builders.running_server import running
    from tests.builders.text_models import tiny_decoder, tokenizer_of

    tokenizer = tokenizer_of("bytelevel")
    pipes = [pipeline("text-generation", device="cpu")]
    pipes += [pipeline("text-generation", tiny_decoder(tokenizer), tokenizer=tokenizer, device="cpu")]
    few = {"max_new_tokens": 4, "do_sample": False}
    with running(*pipes, names=["one", "two"]) as base:
        for pipe, name in zip(pipes, ("one", "two"), strict=True):
            found = post(base, f"/text-generation?model={name}", {"inputs": "Ada", "parameters": few}).json
            assert found == pipe("Ada", **few)
            body = {"model": name, "prompt": "Ada", "max_tokens": 4, "temperature": 0}
            want = pipe("Ada", **few, return_full_text=False)[0]["generated_text"]
            assert post(base, "/v1/completions", body).json["choices"][0]["text"] == want
