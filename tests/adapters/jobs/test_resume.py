"""A job that is stopped goes on where it was; one that is not the same job is refused."""

import gzip
import json
import os
import shutil
import signal
import time
from itertools import count
from types import SimpleNamespace

import pytest

from afterlogits.adapters.cli.commands import main
from afterlogits.adapters.jobs.work_folder import WorkFolder
from tests.builders.forks import command

LINES = [json.dumps({"id": f"n{n}", "text": "Ada was in Paris" + " near" * (n % 7)}) + "\n" for n in range(400)]


@pytest.mark.parametrize(
    ("signum", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_a_signal_keeps_what_is_done(run, tmp_path, capsys, stop_at, signum, status):
    (tmp_path / "in.jsonl").write_text("".join(LINES))
    assert run("in.jsonl", "whole.jsonl") == 0
    stop_at(250, signum)
    (tmp_path / "out.jsonl").write_text("old")
    assert run("in.jsonl", "out.jsonl") == status
    # Windows of 32, 64 and 128 items are done at item 224.
    assert capsys.readouterr().err == "afterlogits: interrupted; 224 are kept; the same command goes on\n"
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == [".out.jsonl.job", "in.jsonl", "out.jsonl", "whole.jsonl"]
    seen = stop_at(None)
    assert run("in.jsonl", "out.jsonl") == 0
    assert seen == list(range(225, 401))
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl", "whole.jsonl"]


def test_an_ignored_signal_stays_ignored(run, tmp_path, stop_at):
    """nohup: SIGHUP is ignored before the job begins."""
    (tmp_path / "in.jsonl").write_text("".join(LINES))
    stop_at(100, signal.SIGHUP)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("in.jsonl", "out.jsonl") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_job_stopped_before_its_first_answer_leaves_nothing(run, tmp_path, capsys, stop_at):
    (tmp_path / "in.jsonl").write_text("".join(LINES))
    stop_at(3)
    assert run("in.jsonl", "out.jsonl") == 143
    assert capsys.readouterr().err == "afterlogits: interrupted\n"
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_failures_of_the_first_run_count_in_the_second(run, tmp_path, capsys, stop_at):
    (tmp_path / "in.jsonl").write_text("".join([*LINES[:5], "{bad\n", *LINES[6:], "{bad\n"]))
    stop_at(300)
    assert run("in.jsonl", "out.jsonl") == 143
    capsys.readouterr()
    stop_at(None)
    assert run("in.jsonl", "out.jsonl") == 3
    assert capsys.readouterr().err.startswith(
        "afterlogits: 2 of 401 lines not answered; the first: line 6: invalid JSON"
    )


@pytest.fixture
def unfinished(run, tmp_path, capsys, stop_at, checkpoint):
    """A job of a model of its own, stopped half-way."""
    shutil.copytree(checkpoint, tmp_path / "model")
    (tmp_path / "in.jsonl").write_text("".join(LINES))

    def again(*arguments):
        return run("in.jsonl", "out.jsonl", *arguments, model=str(tmp_path / "model"))

    stop_at(250)
    assert again() == 143
    stop_at(None)
    capsys.readouterr()
    return again


def refusal(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err.removeprefix("afterlogits: ").rstrip("\n")


def test_a_changed_option_is_refused(unfinished, tmp_path, capsys):
    target = tmp_path / "out.jsonl"
    for arguments, text in (
        (("--aggregation-strategy", "simple"), "option aggregation_strategy was None, is 'simple'"),
        (("--batch-tokens", "100"), "setting batch-tokens was None, is 100"),
        (("--flat",), "setting flat was False, is True"),
        (("--seed", "1"), "setting seed was 0, is 1"),
        (("--output-format", "csv"), "setting output format was 'jsonl', is 'csv'"),
        (("--dtype", "bfloat16"), "setting dtype was 'torch.float32', is 'torch.bfloat16'"),
        (("--corrected",), "setting corrected was False, is True"),
        (("--format", "text"), "setting input format was 'jsonl', is 'text'"),
        (("--pictures", "drawn"), f"setting pictures was None, is '{tmp_path / 'drawn'}'"),
        (("--subtitles", "said"), "setting subtitle-format was None, is 'srt'"),
    ):
        assert unfinished(*arguments) == 2
        assert refusal(capsys) == f"{target} has an unfinished job: {text}; --restart drops it"
    assert unfinished("--flat", "--restart") == 0


def test_a_changed_model_file_is_refused(unfinished, tmp_path, capsys):
    config = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(config, indent=4))
    assert unfinished() == 2
    assert refusal(capsys) == (
        f"{tmp_path / 'out.jsonl'} has an unfinished job: model file tokenizer_config.json changed; --restart drops it"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda lines: [*lines[:99], '"other"\n', *lines[100:]], "line 100 of in.jsonl changed"),
        (lambda lines: lines[:100], "in.jsonl ends with line 100, and the unfinished job has answered 224"),
        (lambda lines: [LINES[5], *lines], "line 1 of in.jsonl changed"),
        (lambda lines: lines[:7] + lines[8:], "line 8 of in.jsonl changed"),
    ],
)
def test_a_changed_input_is_refused_by_its_line(unfinished, tmp_path, capsys, change, text):
    (tmp_path / "in.jsonl").write_text("".join(change(LINES)))
    assert unfinished() == 2
    assert refusal(capsys).startswith(text)
    (tmp_path / "in.jsonl").write_text("".join(LINES))
    assert unfinished() == 0


def test_a_changed_header_is_refused(run, tmp_path, capsys, stop_at):
    """The same rows under other names are other items, and as TSV they have one column."""
    rows = "Ada was in Paris,Bob was in Rome\n" * 400
    (tmp_path / "in.csv").write_text(f"text,other\n{rows}")
    stop_at(250)
    assert run("in.csv", "out.jsonl") == 143
    stop_at(None)
    (tmp_path / "in.csv").write_text(f"other,text\n{rows}")
    capsys.readouterr()
    assert run("in.csv", "out.jsonl") == 2
    assert "input columns was ['text', 'other'], is ['other', 'text']" in refusal(capsys)
    assert run("in.csv", "out.jsonl", "--format", "tsv") == 2
    assert "setting input columns" in refusal(capsys)


def test_a_signal_between_a_shard_and_the_next_window_doubles_nothing(run, tmp_path, monkeypatch, stop_at):
    from afterlogits.adapters.jobs import with_shards

    (tmp_path / "in.jsonl").write_text("".join(LINES))
    assert run("in.jsonl", "whole.jsonl") == 0
    commit = WorkFolder.commit

    def commit_and_stop(*arguments, **facts):
        commit(*arguments, **facts)
        monkeypatch.setattr(WorkFolder, "commit", commit)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(WorkFolder, "commit", commit_and_stop)
    monkeypatch.setattr(with_shards, "time", SimpleNamespace(monotonic=count(0, 2).__next__))
    assert run("in.jsonl", "out.jsonl") == 143
    assert run("in.jsonl", "out.jsonl") == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_what_was_answered_is_kept_when_the_input_breaks(run, tmp_path, capsys):
    whole = gzip.compress("".join(LINES).encode() + os.urandom(60_000).hex().encode())
    (tmp_path / "in.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    assert run("in.jsonl.gz", "out.jsonl") == 2
    assert any(name.endswith(".shard") for name in os.listdir(tmp_path / ".out.jsonl.job"))
    (tmp_path / "in.jsonl.gz").write_bytes(whole)
    assert run("in.jsonl.gz", "out.jsonl") == 3  # the last line is none
    assert (tmp_path / "out.jsonl").read_text().count('"result"') == 400


def test_an_input_that_grew_behind_the_answered_part_goes_on(unfinished, tmp_path, records):
    """The windows so far are the same."""
    (tmp_path / "in.jsonl").write_text("".join([*LINES, '{"id": "new", "text": "Ada"}\n']))
    assert unfinished() == 0
    assert records("out.jsonl")[-1]["id"] == "new" and len(records("out.jsonl")) == 401


def test_an_input_that_grew_after_its_end_was_answered(run, tmp_path, capsys, monkeypatch):
    """Stopped between the last answer and the join: a line that is new since then would change the last window."""
    from afterlogits.adapters.jobs import with_shards

    (tmp_path / "in.jsonl").write_text("".join(LINES))
    join = with_shards.join

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(with_shards, "join", stopped)
    assert run("in.jsonl", "out.jsonl") == 130
    monkeypatch.setattr(with_shards, "join", join)
    capsys.readouterr()
    (tmp_path / "in.jsonl").write_text("".join([*LINES, '"new"\n']))
    assert run("in.jsonl", "out.jsonl") == 2
    assert refusal(capsys) == "line 401 of in.jsonl is new since the unfinished job began; --restart drops that"
    (tmp_path / "in.jsonl").write_text("".join(LINES))
    assert run("in.jsonl", "out.jsonl") == 0


def test_a_finished_job_begins_anew(run, tmp_path, stop_at):
    (tmp_path / "in.jsonl").write_text("".join(LINES[:10]))
    assert run("in.jsonl", "out.jsonl") == 0
    seen = stop_at(None)
    (tmp_path / "in.jsonl").write_text("".join(LINES[:12]))
    assert run("in.jsonl", "out.jsonl") == 0
    assert seen == list(range(1, 13))


def test_a_second_job_at_once_is_refused(run, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text("".join(LINES[:3]))
    with WorkFolder(tmp_path / "out.jsonl"):
        assert run("in.jsonl", "out.jsonl") == 2
    assert refusal(capsys) == f"another job is writing {tmp_path / 'out.jsonl'} (process {os.getpid()})"
    assert run("in.jsonl", "out.jsonl") == 0


def test_a_full_disk_keeps_the_old_output(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "in.jsonl").write_text("".join(LINES[:3]))
    (tmp_path / "out.jsonl").write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run("in.jsonl", "out.jsonl") == 2
    assert refusal(capsys).endswith(": No space left on device")
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"


SAMPLING = ("--max-new-tokens", 6, "--temperature", 1.5, "--quiet")


def sample(tmp_path, target, *arguments):
    given = [str(each) for each in (*SAMPLING, *arguments)]
    return main(["run", "text-generation", "--input", str(tmp_path / "in.txt"), "--output", str(target), *given])


def test_draws_belong_to_the_line(tmp_path, stop_at):
    """Neither batches, nor an interruption, nor the lines before change what is drawn; the seed does."""
    lines = [f"{word} {n}\n" for n, word in enumerate(["The baker", "Last week", "Anna", "It rained"] * 12)]
    (tmp_path / "in.txt").write_text("".join(lines))
    for name, given in (
        ("a", ()),
        ("b", ("--seed", 0, "--batch-tokens", 64)),
        ("c", ("--seed", 0, "--batch-size", 5)),
        ("d", ("--seed", 1)),
    ):
        assert sample(tmp_path, tmp_path / name, *given) == 0
    stop_at(40)
    assert sample(tmp_path, tmp_path / "e") == 143
    stop_at(None)
    assert sample(tmp_path, tmp_path / "e") == 0
    found = {name: (tmp_path / name).read_bytes() for name in "abcde"}
    assert found["a"] == found["b"] == found["c"] == found["e"] != found["d"]
    texts = [json.loads(line)["result"][0]["generated_text"] for line in found["a"].splitlines()]
    assert len(set(texts)) > 40
    (tmp_path / "in.txt").write_text("".join(["Another line\n", *lines[1:]]))
    assert sample(tmp_path, tmp_path / "f") == 0
    assert (tmp_path / "f").read_bytes().splitlines()[1:] == found["a"].splitlines()[1:]


@pytest.mark.parametrize("task", ["summarization", "translation_en_to_fr"])
def test_draws_of_encoder_decoders_belong_to_the_line(tmp_path, task):
    (tmp_path / "in.txt").write_text("".join(f"The river near the old town {n}\n" for n in range(12)))
    found = {}
    for name, given in (("a", ()), ("b", ("--batch-size", 1)), ("c", ("--batch-tokens", 40)), ("d", ("--seed", 1))):
        head = ["run", task, "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / name)]
        sampling = ["--do-sample", "--num-beams", "1", "--max-new-tokens", "5"]
        assert main([*head, *sampling, *map(str, given)]) == 0
        found[name] = (tmp_path / name).read_bytes()
    assert found["a"] == found["b"] == found["c"] != found["d"]


def test_the_log_tells_what_happened(run, tmp_path, stop_at):
    (tmp_path / "in.jsonl").write_text("".join(["{bad\n", *LINES]))
    stop_at(300)
    assert run("in.jsonl", "out.jsonl", "--log", "log.jsonl") == 143
    stop_at(None)
    assert run("in.jsonl", "out.jsonl", "--log", "log.jsonl") == 3
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == [
        *("start", "failure", "commit", "end"),
        *("start", "resume", "commit", "join", "end"),
    ]
    assert events[1]["error"].startswith("line 1: invalid JSON") and events[5]["done"] == 224
    assert (events[3]["status"], events[8]["status"]) == ("stopped", "done")
    assert (events[8]["done"], events[8]["failed"]) == (401, 1)


def test_a_dry_run_answers_five_items_and_writes_nothing(run, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text("".join(LINES))
    assert run("in.jsonl", "out.parquet", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines[:5]] == ["n0", "n1", "n2", "n3", "n4"]
    plan = dict(line.split(maxsplit=1) for line in lines[5:])
    assert plan["input"] == "in.jsonl: jsonl, lines: 400" and plan["output"] == "out.parquet: parquet"
    assert plan["batches"] == "at most 2,048 tokens" and "BertForTokenClassification" in plan["model"]
    assert "MB" in plan["memory"] and plan["time"].startswith("about ")
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_a_signal_ends_a_job_that_waits_for_input(checkpoint):
    given, to_job = os.pipe()
    from_job, out = os.pipe()
    told, tell = os.pipe()
    head = ("run", "ner", "--input", "-", "--output", "-", "--model", checkpoint)
    job = command(*head, stdin=given, stdout=out, stderr=tell)
    for handle in (given, out, tell):
        os.close(handle)
    os.write(to_job, "".join(LINES[:40]).encode())
    with open(from_job, encoding="utf-8") as reader:
        assert json.loads(reader.readline())["id"] == "n0"  # the model runs, and more input may come
        os.kill(job.pid, signal.SIGTERM)
        assert job.wait() == 143
    with open(told, encoding="utf-8") as stream:
        assert stream.read() == "afterlogits: interrupted\n"
    os.close(to_job)


def test_standard_input_resumes_when_the_same_bytes_come_again(checkpoint, tmp_path):
    """A job fed from a pipe, killed outright, and fed again."""
    place = tmp_path / "out.jsonl"

    def feed(lines, log, kill):
        given, to_job = os.pipe()
        head = ("run", "ner", "--input", "-", "--output", place, "--model", checkpoint, "--log", tmp_path / log)
        job = command(*head, stdin=given)
        os.close(given)
        with open(to_job, "wb", buffering=0) as feeding:
            feeding.write("".join(lines).encode())
            while kill and not ((tmp_path / log).exists() and '"commit"' in (tmp_path / log).read_text()):
                feeding.write(LINES[0].encode() * 50)
                time.sleep(0.02)
            if kill:
                os.kill(job.pid, signal.SIGKILL)
        return job.wait()

    assert feed(LINES, "log", kill=True) == -9
    assert feed(LINES + LINES[:1] * 4000, "log2", kill=False) == 0
    assert '"resume"' in (tmp_path / "log2").read_text()
    assert len(place.read_text().splitlines()) == 4400
    assert os.listdir(tmp_path).count(".out.jsonl.job") == 0
