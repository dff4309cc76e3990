"""What the tests of jobs share: a tiny checkpoint, a job run in this process, and its records."""

import json
import os
import signal

import pytest

from afterlogits.adapters.cli.commands import main
from afterlogits.adapters.jobs import answering
from tests.builders.text_models import tiny_model, wordpiece


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A folder with a tiny ner model."""
    folder = tmp_path_factory.mktemp("ner")
    wordpiece().save_pretrained(folder)
    tiny_model("token-classification", wordpiece()).save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def signals_of_a_terminal():
    """A run in the background, or under nohup, starts with signals ignored, and a job keeps an ignored one ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(checkpoint, tmp_path, monkeypatch):
    """``run(input, output, ...)``: ner over a file, in an empty folder; returns the exit status."""
    monkeypatch.chdir(tmp_path)

    def job(source, target, *arguments, task="ner", model=checkpoint):
        given = ["--model", model] if model else []
        return main(["run", task, "--input", str(source), "--output", str(target), *given, *map(str, arguments)])

    return job


@pytest.fixture
def records(tmp_path):
    """The records of a file of JSON Lines, each checked to be JSON and nothing more."""

    def strict(name):
        raise AssertionError(f"{name} is no JSON")

    def read(name):
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        return [json.loads(line, parse_constant=strict) for line in lines]

    return read


@pytest.fixture
def stop_at(monkeypatch):
    """``stop_at(number, signal)``: the signal comes while that item's answer is written; also counts the answers."""
    render = answering.render
    seen = []

    def arm(number, signum=signal.SIGTERM):
        def rendering(entry, answer, noun, **options):
            seen.append(entry.number)
            if entry.number == number:
                os.kill(os.getpid(), signum)
            return render(entry, answer, noun, **options)

        monkeypatch.setattr(answering, "render", rendering)
        seen.clear()
        return seen

    return arm
