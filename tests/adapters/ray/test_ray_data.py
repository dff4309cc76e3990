"""The same tasks on Ray Data: answers, rows that cannot be answered, actors and drivers that die. ``make test-ray``."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow
import pytest
from pyarrow import parquet

from afterlogits import pipeline
from afterlogits.adapters.cli.commands import main
from tests.adapters.ray import deadly
from tests.builders.text_models import tiny_model, wordpiece

ray = pytest.importorskip("ray.data", reason="Ray Data is not installed: make test-ray") and __import__("ray")
# Ray warns of its own settings while it copies them.
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]
LINES = 1500
CPUS = 2


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model, an input in JSON Lines and Parquet, and the local answers to it."""
    folder = tmp_path_factory.mktemp("ray")
    wordpiece().save_pretrained(folder / "model")
    tiny_model("token-classification", wordpiece()).save_pretrained(folder / "model")
    rows = [{"id": f"n{n}", "text": "Ada was in Paris" + " near" * (n % 9), "url": n} for n in range(LINES)]
    rows[700]["text"] = ""
    lines = [json.dumps(row) for row in rows]
    lines[1200] = "{bad"
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "in.parquet", row_group_size=400)
    for name in ("in.jsonl", "in.parquet"):
        assert local(folder, name) == 3
    return folder


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ[deadly.MARK] = str(tmp_path_factory.mktemp("mark") / "died")
    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def command(folder, source, target, *arguments):
    head = ["run", "ner", "--input", str(folder / source), "--output", str(folder / target), "--keep", "url"]
    return [*head, "--model", str(folder / "model"), "--aggregation-strategy", "simple", "--quiet", *arguments]


def local(folder, source):
    return main(command(folder, source, f"{source}.local"))


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_same(found, wanted):
    """Row for row in order: everything equal, scores to 1e-5 of their value (batches are others)."""
    assert len(found) == len(wanted) == LINES
    for row, right in zip(found, wanted, strict=True):
        scores = [entity.pop("score") for entity in row.get("result", [])]
        rights = [entity.pop("score") for entity in right.get("result", [])]
        assert row == right and scores == pytest.approx(rights, rel=1e-5)


@pytest.mark.parametrize("workers", [1, CPUS])
@pytest.mark.parametrize("source", ["in.jsonl", "in.parquet"])
def test_the_answers_are_those_of_one_process(place, capsys, source, workers):
    """Two actors on two CPUs too, which would wait for ever for a CPU to read with."""
    began = time.monotonic()
    assert main(command(place, source, "out.jsonl", "--engine", "ray", "--workers", str(workers))) == 3
    assert time.monotonic() - began < 300
    assert_same(records(place / "out.jsonl"), records(place / f"{source}.local"))
    failed = 2 if source == "in.jsonl" else 1
    assert f"{failed} of 1,500" in capsys.readouterr().err
    assert not (place / ".out.jsonl.job").exists()


def test_a_killed_actor_costs_nothing(place, monkeypatch):
    from afterlogits.adapters.ray import blocks

    monkeypatch.setattr(blocks, "AnswerBlocks", deadly.Deadly)
    assert main(command(place, "in.jsonl", "killed.jsonl", "--engine", "ray", "--workers", "1")) == 3
    assert os.path.exists(os.environ[deadly.MARK])
    assert_same(records(place / "killed.jsonl"), records(place / "in.jsonl.local"))


def test_a_wrong_model_and_a_wrong_option_are_one_line(place, capsys):
    (place / "empty").mkdir()
    for arguments, text in (
        (("--model", str(place / "empty")), "afterlogits: "),
        (("--scheme", "x"), "afterlogits: scheme must be one of"),
    ):
        assert main([*command(place, "in.jsonl", "bad.jsonl", "--engine", "ray"), *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith(text) and err.count("\n") == 1
    assert not (place / "bad.jsonl").exists()


def test_a_processor_is_built_and_called_as_those_of_ray_data_llm(place):
    from afterlogits.adapters.ray import ProcessorConfig, build_processor, processor

    config = ProcessorConfig("sentiment-analysis", concurrency=1, batch_size=8)
    answer = build_processor(
        config,
        preprocess=lambda row: {"text": row["review"], "number": row["number"], "parameters": row["parameters"]},
        postprocess=lambda row: {"number": row["number"], "answer": json.dumps(row["result"]), "error": row["error"]},
    )
    texts = ["A wonderful film.", "", "The food was cold and bland."] * 7
    rows = [
        {"number": n, "review": text, "parameters": '{"top_k": 2}' if n % 2 else None} for n, text in enumerate(texts)
    ]
    found = sorted(answer(ray.data.from_items(rows)).take_all(), key=lambda row: row["number"])
    one, two = pipeline("sentiment-analysis"), pipeline("sentiment-analysis", top_k=2)
    for row, text in zip(found, texts, strict=True):
        if not text:
            assert row["error"] == "text must not be empty; got ''" and row["answer"] == "null"
            continue
        right = (two if row["number"] % 2 else one)([text])[0]
        result = json.loads(row["answer"])
        # In a batch with rows of several answers every result is a list.
        for each, other in zip(result, right if row["number"] % 2 else [right], strict=True):
            assert each["label"] == other["label"] and each["score"] == pytest.approx(other["score"], rel=1e-5)
    short = processor("ner", concurrency=1, task_kwargs={"aggregation_strategy": "simple"})
    assert "error" in short(ray.data.from_items([{"text": "Ada"}])).take(1)[0]


def test_a_killed_driver_goes_on(place):
    """SIGKILL for the driver once some parts are written; the same command then answers the rest."""
    arguments = [sys.executable, "-m", "afterlogits", *command(place, "in.jsonl", "out2.jsonl", "--engine", "ray")]
    environment = {**os.environ, "RAY_ADDRESS": ""}
    environment.pop("RAY_ADDRESS")
    driver = subprocess.Popen(arguments, start_new_session=True, env=environment, stderr=subprocess.DEVNULL)
    parts = place / ".out2.jsonl.job" / "parts"
    began = time.monotonic()
    while not (parts.is_dir() and any(name.endswith(".parquet") for name in os.listdir(parts))):
        assert driver.poll() is None and time.monotonic() - began < 300
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert not (place / "out2.jsonl").exists()
    assert main(command(place, "in.jsonl", "out2.jsonl", "--engine", "ray", "--workers", "1")) == 3
    assert_same(records(place / "out2.jsonl"), records(place / "in.jsonl.local"))
    assert not (place / ".out2.jsonl.job").exists()
