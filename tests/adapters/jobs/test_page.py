"""Every command of docs/jobs.md and of the README's section on files, tried in a folder with such inputs."""

import csv
import gzip
import json
import re
import shlex
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from afterlogits.adapters.cli.commands import main

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
REVIEWS = ["A wonderful film.", "The food was cold and bland.", "Ada Lovelace lived in London."]


def commands(page, only=""):
    lines = [line for block in BLOCK.findall(page.read_text()) for line in block.splitlines()]
    return [line for line in lines if "afterlogits run" in line and only in line]


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reviews.txt").write_text("".join(f"{text}\n" for text in REVIEWS))
    Path("prompts.txt").write_text("The baker\nLast week\n")
    with open("reviews.csv", "w", newline="") as file:
        csv.writer(file).writerows([["review", "stars"], *([text, 3] for text in REVIEWS)])
    Path("reviews.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps({"text": t}) + "\n" for t in REVIEWS).encode())
    )
    table = pyarrow.table({"q": ["Where does Anna live?"], "doc": ["Anna Berg is a baker. She lives in Oslo."]})
    parquet.write_table(table, "questions.parquet")


PAGES = [(page, line) for page in (ROOT / "docs/jobs.md", ROOT / "README.md") for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), PAGES, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(PAGES)])
def test_the_commands_of_a_page_work(inputs, monkeypatch, capfdbinary, page, line):
    words = shlex.split(line)
    if "|" in words:
        import io
        import sys

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(words[1]).read_bytes())))
        words = words[words.index("|") + 1 :]
    assert words[0] == "afterlogits" and main(words[1:]) == 0, line
    target = words[words.index("--output") + 1]
    written = capfdbinary.readouterr().out if target == "-" or "--dry-run" in words else Path(target).read_bytes()
    assert len(written) > 50, line


def test_the_pages_have_commands():
    assert len(PAGES) >= 7
