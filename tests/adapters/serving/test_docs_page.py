"""Every command and every program of docs/serving.md, on a server of its own."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from afterlogits.adapters.checkpoints import path
from afterlogits.adapters.cli.parser import parse
from afterlogits.adapters.cli.serve_options import settings_of
from afterlogits.adapters.serving.settings import Limits
from afterlogits.adapters.tasks.table import TASKS
from tests.adapters.serving import test_clients
from tests.builders.plain_http import get
from tests.builders.running_server import running_settings
from tests.builders.served_tasks import CASES

TEXT = (Path(__file__).resolve().parents[3] / "docs/serving.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(TEXT)
LINES = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
COMMANDS = [shlex.split(line)[2:] for line in LINES if line.startswith("afterlogits serve")]
CURLS = [line for line in LINES if line.startswith("curl")]
PROGRAMS = [block for kind, block in BLOCKS if kind == "py" and "127.0.0.1" in block]
FILE = next(block for kind, block in BLOCKS if kind == "toml")
HERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """What the first command of the page serves: every task whose model ships."""
    folder = tmp_path_factory.mktemp("page")
    pictures = sorted((path("shapes").parent / "demo_pictures").glob("*.png"))
    shutil.copy(pictures[0], folder / "shapes.png")
    with running_settings(settings_of(parse(["serve", *COMMANDS[0]])[0])) as base:
        yield base, folder


def test_the_page_has_what_is_tried_here():
    assert COMMANDS[0] == [] and len(COMMANDS) == 3 and len(CURLS) == 5 and len(PROGRAMS) == 2
    for name in ("serve", "gradio", "grammar"):
        assert f"afterlogits[{name}]" in TEXT


def test_everything_that_ships_is_served(shipped):
    base, _ = shipped
    assert len(get(base, "/info").json["tasks"]) >= 15 and b"afterlogits" in get(base, "/").body


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", CURLS, ids=range(len(CURLS)))
def test_the_curls(shipped, line):
    base, folder = shipped
    command = ["curl", "--fail", *shlex.split(line.replace(HERE, base))[1:]]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    if "stream" in line:
        assert found.stdout.count("data:") > 1 and '"generated_text"' in found.stdout
    else:
        assert len(found.stdout) > 20


@pytest.mark.parametrize("code", PROGRAMS, ids=range(len(PROGRAMS)))
def test_the_programs(shipped, monkeypatch, capsys, code):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    base, _ = shipped
    exec(compile(code.replace(HERE, base), "docs/serving.md", "exec"), {})
    assert len(capsys.readouterr().out) > 20


def test_the_other_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if sys.version_info < (3, 11):
        pytest.skip("TOML needs Python 3.11")
    Path("serve.toml").write_text(FILE)
    for command in COMMANDS[1:]:
        with running_settings(settings_of(parse(["serve", *command])[0])) as base:
            assert [each["model"] for each in get(base, "/info").json["tasks"]] == ["shipped", "writer"]


def test_the_limits_of_the_page_are_the_defaults():
    limits, table = Limits(), TEXT[TEXT.index("## What it bears") : TEXT.index("Errors are")]
    shown = {
        "1 MiB": limits.body_bytes == 1 << 20,
        "16 MiB": limits.media_bytes == 16 << 20,
        "30 s": limits.body_seconds == 30,
        "10 s": limits.head_seconds == 10,
        "256 requests": limits.queue == 256,
        "120 s": limits.seconds == 120,
        "64 inputs": limits.rows == 64,
        "1,024 new": limits.new_tokens == 1024,
        "200,000": limits.text_characters == 200_000,
        "512 conn": limits.connections == 512,
    }
    assert all(shown.values()) and all(name in table for name in shown), shown
    for flag in re.findall(r"`(--[\w-]+)`", TEXT):
        known = {"--task", "--model", "--name", "--tokenizer", "--revision", "--device", "--dtype", "--corrected"}
        if flag not in known | {"--option", "--allowed-host"}:
            assert settings_of(parse(["serve", flag, "5"])[0]), flag


class Asked:
    """A client that says which of its methods was called."""

    model = ""

    def __getattr__(self, name):
        return lambda *given, **options: name


METHODS = {task: call(Asked()) for task, call in test_clients.CALLS.items()}
# Of models that no pipeline runs, and what asks nothing of a model.
OTHERS = {"audio_to_audio", "image_to_video", "tabular_classification", "tabular_regression", "text_to_image"}
OTHERS |= {"text_to_video", "chat", "close", "get_endpoint_info", "health_check"}


def test_the_table_of_clients_has_every_task():
    """A row a task whose answer huggingface_hub's client has a method for, and the names of all others."""
    want = []
    for task in (task for task in TASKS if task in METHODS):
        methods, openai, streamed = f"`{METHODS[task]}`", "", ""
        if task == "text-generation":
            methods, openai = f"{methods}, `chat_completion`", "`completions`, `chat.completions`"
            streamed = "yes"
        elif task == "feature-extraction":
            methods = f"{methods}, `sentence_similarity`"
        want.append(f"| {task} | {methods} | {openai} | {streamed} |")
    table = [line for line in TEXT.splitlines() if re.match(r"\| [a-z0-9-]+ \| `", line)]
    assert table == want, "\n".join(want)
    rest = re.search(r"No client has a method for (.*?):", TEXT, re.DOTALL)[1]
    names = [task for task in TASKS if task not in METHODS]
    assert re.split(r",? and |, |,\n", rest.replace("\n", " ")) == names, ", ".join(names)
    assert set(TASKS) == set(CASES), "tests/adapters/serving/test_every_task.py asks each of them"


def test_every_method_of_the_hubs_client_is_in_the_table():
    from huggingface_hub import InferenceClient

    theirs = {name for name in vars(InferenceClient) if not name.startswith("_")}
    assert theirs - OTHERS <= {*METHODS.values(), "chat_completion", "sentence_similarity"}
